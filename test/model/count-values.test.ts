import assert from "node:assert/strict";
import test from "node:test";
import { hasMoreValues } from "../../bundles/model/count-values.ts";
import { parseIndex } from "../../bundles/model/oci.ts";
import { coded } from "../support/test-trust.ts";

test("counts what opens and separates values, and stops when there are too many", () => {
  const json = Buffer.from('{"a":[1,2,3],"b":{}}');
  assert.equal(hasMoreValues(json, 6), false);
  assert.equal(hasMoreValues(json, 5), true);
  assert.equal(hasMoreValues(Buffer.from("7"), 0), false);
  assert.equal(hasMoreValues(json.subarray(5), 4), true);
});

test("an index of many small things is refused before it becomes a gigabyte of objects", () => {
  const many = Buffer.from(`{"manifests":[${"{},".repeat(700_000)}{}]}`);
  assert.throws(() => parseIndex(many), coded("OCI_MALFORMED"));
});
