import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { authorize } from "../../installer/commands/authorize.ts";
import type { Command, OptionValue } from "../../installer/commands/command.ts";
import { ledgerVerify } from "../../installer/commands/ledger.ts";
import { recover } from "../../installer/commands/recover.ts";
import { siteInit } from "../../installer/commands/site-init.ts";
import { trustImport } from "../../installer/commands/trust-import.ts";
import { verify } from "../../installer/commands/verify.ts";
import { freshTrust } from "../support/enrolled-site.ts";
import { runVerb, type VerbResult } from "../support/run-verb.ts";
import { scratch } from "../support/scratch.ts";
import { writeTrustFiles } from "../support/signed-bundle.ts";
import { coded, sha256, testTrust } from "../support/test-trust.ts";

const publisher = testTrust();
const fingerprint = sha256(publisher.files.get("1.root.json") as Buffer);

/** A site of alice and bob, and the publisher's trust in `trust`, all in a directory of the test's own. */
async function place(t: Parameters<typeof scratch>[0]): Promise<{
  readonly at: (name: string) => string;
  readonly run: (
    command: Command,
    args?: readonly string[],
    options?: Record<string, OptionValue>,
  ) => Promise<VerbResult>;
}> {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const lines = ["alice", "bob"].map((name) => {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", at(name)]);
    return `${name} namespaces="sealift-authorization" ${readFileSync(at(`${name}.pub`), "utf8")}`;
  });
  writeFileSync(at("operators"), lines.join(""));
  await writeTrustFiles(at("trust"), publisher.files);
  const run = (command: Command, args: readonly string[] = [], options: Record<string, OptionValue> = {}) =>
    runVerb(command, args, { state: at("state"), ...options });
  await run(siteInit, [], { operators: at("operators"), threshold: ["trust=2"] });
  return { at, run };
}

test("the first import wants the paper's fingerprint and the operators, and says what it would do before", async (t) => {
  const { at, run } = await place(t);
  const key = ["alice", "bob"].map(at);
  const ledger = readFileSync(at("state/ledger"));
  const planned = await run(trustImport, [at("trust")], { plan: true });
  assert.ok(planned.lines.includes(`  - pin root fingerprint ${fingerprint}`), planned.lines.join("\n"));
  assert.ok(planned.lines.includes("needs 2 of 2 operators"));
  await assert.rejects(run(trustImport, [at("trust")], { key }), coded("TRUST_FINGERPRINT_MISSING"));
  await assert.rejects(run(trustImport, [at("trust")], { key, fingerprint: "12" }), coded("USAGE"));
  const wrong = "0".repeat(64);
  await assert.rejects(
    run(trustImport, [at("trust")], { key, fingerprint: wrong }),
    coded("TRUST_FINGERPRINT_MISMATCH"),
  );
  await assert.rejects(run(trustImport, [at("trust")], { fingerprint }), coded("AUTHORIZATION_MISSING"));
  const one = { key: [at("alice")], fingerprint };
  await assert.rejects(run(trustImport, [at("trust")], one), coded("AUTHORIZATION_THRESHOLD_NOT_MET"));
  await assert.rejects(run(trustImport, [at("nothing")], { key, fingerprint }), coded("TRUST_NOT_FOUND"));
  assert.ok(readFileSync(at("state/ledger")).equals(ledger));
  assert.deepEqual(readdirSync(at("state/trust")), []);

  const groups = ` ${(fingerprint.toUpperCase().match(/.{8}/g) ?? []).join(" ")} `;
  const { exit, lines, document } = await run(trustImport, [at("trust")], { key, fingerprint: groups });
  assert.equal(exit, 0);
  assert.ok(lines.includes("authorized by alice, bob"));
  assert.equal(document["rootFingerprint"], fingerprint);
  const verified = await run(ledgerVerify);
  assert.deepEqual([verified.exit, verified.document["findings"]], [0, []]);
  assert.deepEqual((await run(recover)).lines, ["nothing to recover"]);
});

test("a newer trust comes with a request that two people signed elsewhere, and an older one does not", async (t) => {
  const { at, run } = await place(t);
  const key = ["alice", "bob"].map(at);
  await run(trustImport, [at("trust")], { key, fingerprint });
  await writeTrustFiles(at("newer"), freshTrust(publisher).files);
  const out = at("trust.request");
  await assert.rejects(run(authorize, ["trust"], { out }), coded("USAGE"));
  await assert.rejects(run(authorize, ["trust", at("newer"), "more"], { out }), coded("USAGE"));
  await run(authorize, ["trust", at("newer")], { out, key });
  const signed = { request: out, authorization: [`${out}.sig`, `${out}.2.sig`] };
  await writeTrustFiles(at("newest"), freshTrust(publisher, 3).files);
  await assert.rejects(run(trustImport, [at("newest")], signed), coded("AUTHORIZATION_OTHER_PLAN"));
  const { exit, lines } = await run(trustImport, [at("newer")], signed);
  assert.equal(exit, 0);
  assert.ok(lines.includes(`root fingerprint ${fingerprint}`));
  await assert.rejects(run(trustImport, [at("trust")], { key }), coded("TRUST_ROLLBACK"));
});

test("files of the trust in force that were edited are put right by importing it once more", async (t) => {
  const { at, run } = await place(t);
  await run(trustImport, [at("trust")], { key: ["alice", "bob"].map(at), fingerprint });
  const ledger = readFileSync(at("state/ledger"));
  const [name = ""] = readdirSync(at("state/trust"));
  writeFileSync(join(at("state/trust"), name, "timestamp.json"), "{}");
  await assert.rejects(run(verify, [at("bundle")]), coded("TRUST_CHANGED"));
  await assert.rejects(run(ledgerVerify), coded("TRUST_CHANGED"));
  assert.equal((await run(trustImport, [at("trust")])).exit, 0);
  await assert.rejects(run(verify, [at("bundle")]), coded("LAYOUT_NOT_FOUND"));
  assert.ok(readFileSync(at("state/ledger")).equals(ledger), "and nothing had to be authorized");
});

test("verify without a trust of its own or of the site says how to get one", async (t) => {
  const { at, run } = await place(t);
  await assert.rejects(run(verify, [at("bundle")]), coded("TRUST_NOT_ENROLLED"));
  await assert.rejects(run(verify, [at("bundle")], { state: at("nowhere") }), (error: { hints: string[] }) => {
    assert.ok(coded("TRUST_NOT_ENROLLED")(error as { code?: string }));
    return error.hints.some((hint) => hint.includes("--trust DIR"));
  });
  await assert.rejects(run(verify, [at("bundle")], { trust: at("trust") }), coded("LAYOUT_NOT_FOUND"));
});
