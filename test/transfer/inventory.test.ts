import assert from "node:assert/strict";
import test from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { parseInventory, renderInventory } from "../../bundles/transfer/inventory.ts";

const coded = (error: { code?: string }) => error.code === "INVENTORY_MALFORMED";

test("an inventory is read as it was written, sorted, each blob once, and holds nothing else", () => {
  const blobs = ["b", "a", "c", "a"].map((text) => digestOf(text));
  const bytes = renderInventory(blobs);
  assert.deepEqual([...parseInventory(bytes, "x")], [...new Set(blobs)].sort());
  assert.deepEqual(Object.keys(JSON.parse(bytes.toString("utf8"))), ["schemaVersion", "blobs"]);
  assert.deepEqual(renderInventory([...blobs].reverse()), bytes);
  assert.equal(parseInventory(renderInventory([]), "x").size, 0);
});

test("what is no inventory is refused", () => {
  const digest = digestOf("a");
  for (const text of [
    "",
    "[]",
    "null",
    '{"schemaVersion":1}',
    '{"schemaVersion":2,"blobs":[]}',
    `{"schemaVersion":1,"blobs":["${digest.slice(0, -1)}"]}`,
    `{"schemaVersion":1,"blobs":["${digest.toUpperCase()}"]}`,
    `{"schemaVersion":1,"blobs":["${digest}"],"site":"x"}`,
    `{"schemaVersion":1,"blobs":{"0":"${digest}"}}`,
  ]) {
    assert.throws(() => parseInventory(Buffer.from(text), "x"), coded, text);
  }
});
