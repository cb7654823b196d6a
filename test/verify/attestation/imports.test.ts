import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join, relative } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** What the caged appraisal loads from outside, and why. */
const PACKAGES: Readonly<Record<string, string>> = {
  "@peculiar/asn1-schema": "reads ASN.1",
  "@peculiar/asn1-x509": "the ASN.1 of certificates and revocation lists",
  "@peculiar/utils": "of asn1-schema: bytes and text",
  asn1js: "of asn1-schema: the parser",
  pvtsutils: "of asn1js: bytes",
  pvutils: "of asn1js: numbers",
  tslib: "of asn1-schema",
  ajv: "JSON Schema for everything from outside",
  "fast-deep-equal": "of ajv",
  "fast-uri": "of ajv",
  "json-schema-traverse": "of ajv",
  canonicalize: "RFC 8785",
};
const BUILTINS = ["node:buffer", "node:crypto", "node:util"];

test("the caged appraisal loads only the verifier and the model, the packages on the list, and nothing of Node that connects, starts or opens", () => {
  const record = join(ROOT, "test/support/record-imports.mjs");
  const entry = `file://${join(ROOT, "verify/attestation/appraise-evidence.ts")}`;
  const run = spawnSync(process.execPath, [record, entry], { encoding: "utf8", env: {} });
  assert.equal(run.status, 0, run.stderr);
  const urls = run.stdout.split("\n");
  const paths = urls.filter((url) => url.startsWith("file:")).map((url) => relative(ROOT, fileURLToPath(url)));
  const ours = paths.filter((path) => !path.startsWith("node_modules/") && path !== "test/support/record-imports.mjs");
  assert.ok(ours.length > 10, "it was really loaded");
  assert.deepEqual(
    ours.filter((path) => !/^(?:verify\/attestation|bundles\/model)\//.test(path)),
    [],
  );
  for (const absent of ["simulator", "collect-evidence", "appraise-in-cage"]) {
    assert.ok(!ours.includes(`verify/attestation/${absent}.ts`), absent);
  }
  const packages = paths.flatMap(
    (path) => /node_modules\/((?:@[^/]+\/)?[^/]+)(?!.*node_modules)/.exec(path)?.[1] ?? [],
  );
  assert.deepEqual([...new Set(packages)].sort(), Object.keys(PACKAGES).sort());
  const builtins = [...new Set(urls.filter((url) => url.startsWith("node:")))];
  assert.deepEqual(
    builtins.filter((name) => !BUILTINS.includes(name)),
    [],
  );
});
