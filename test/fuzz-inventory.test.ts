/**
 * Each exported function that makes something of bytes or of a text is fuzzed: by name in a target, or through
 * another one that is. A parser that no module exports is reached through the one that calls it, and not looked for.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { fuzzTargets } from "./support/fuzz-targets.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const AREAS = ["bundles", "compose", "installer", "sbom", "verify"];
const PARSER =
  /^export (?:async )?function ((?:parse|read|decode|check)[A-Z]\w*)\(\s*(?:\w+: (?:Buffer|Uint8Array|unknown)|(?:text|pem|json|line|paragraph|chain): string)\b/gm;

/** Parser → the target that reaches it. */
const THROUGH: Readonly<Record<string, string>> = {
  checkApplianceFile: "appliance file",
  checkApplianceLock: "appliance's lock",
  checkConfig: "another program's layout",
  parseDigest: "OCI manifest",
  parsePayload: "in-toto statement",
  parsePlatform: "another program's layout",
  readKeyBlob: "SSH signature",
  readQuoteSignature: "TPM quote's signature",
  readRecords: "journal",
  readTable: "OVMF",
};

/** Parser → why what it reads cannot be hostile. */
const OUR_OWN: Readonly<Record<string, string>> = {
  parseComposeFile: "rendered by this process from the release and the configuration that were checked",
  readConfigBytes: "compared with its digest in the ledger first",
};

function sources(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile() && one.name.endsWith(".ts") && !one.parentPath.includes("node_modules"))
    .map((one) => join(one.parentPath, one.name));
}

const parsers = AREAS.flatMap((area) => sources(join(ROOT, area))).flatMap((path) =>
  [...readFileSync(path, "utf8").matchAll(PARSER)].map(([, name = ""]) => ({ name, path: relative(ROOT, path) })),
);
const targets = sources(join(ROOT, "test/support"))
  .filter((path) => path.endsWith("fuzz-targets.ts"))
  .map((path) => readFileSync(path, "utf8"))
  .join("\n");

test("each exported parser has a target of the fuzzer", () => {
  assert.ok(parsers.length > 80, `${parsers.length} parsers, so their form is another now`);
  const without = parsers.filter(
    ({ name }) =>
      !new RegExp(`\\b${name}\\b`).test(targets) && !Object.hasOwn(THROUGH, name) && !Object.hasOwn(OUR_OWN, name),
  );
  assert.deepEqual(without, [], "add a target in test/support/*fuzz-targets.ts, or say here which one reaches it");
});

test("what is said of parsers without a target of their own is of parsers and of targets that there are", () => {
  const names = new Set(parsers.map(({ name }) => name));
  for (const name of [...Object.keys(THROUGH), ...Object.keys(OUR_OWN)]) assert.ok(names.has(name), name);
  for (const target of Object.values(THROUGH)) assert.ok(Object.hasOwn(fuzzTargets, target), target);
});
