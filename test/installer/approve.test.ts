import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { PREDICATE_VSA } from "../../bundles/model/media-types.ts";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { encryptPrivateKey } from "../../bundles/sign/key-file.ts";
import { approve } from "../../installer/commands/approve.ts";
import type { Command, OptionValue } from "../../installer/commands/command.ts";
import { siteInit } from "../../installer/commands/site-init.ts";
import { trustImport } from "../../installer/commands/trust-import.ts";
import { verifySigstoreBundle } from "../../verify/signature/signature.ts";
import { runVerb } from "../support/run-verb.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigner, signedBundle, writeSignedBundle, writeTrustFiles } from "../support/signed-bundle.ts";
import { coded, sha256, trustKeyOf } from "../support/test-trust.ts";

const VARIABLE = "SEALIFT_APPROVE_PASSWORD";
const rita = makeSigner("rita");

test("approve verifies by the site's trust, then signs what was verified, once, and never what is denied", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const lines: string[] = [];
  const run = async (
    command: Command,
    args: readonly string[],
    options: Record<string, OptionValue>,
  ): Promise<number> => {
    const ran = await runVerb(command, args, { state: at("state"), ...options });
    lines.push(...ran.lines);
    return ran.exit;
  };
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f", at("alice")]);
  writeFileSync(at("operators"), `alice namespaces="sealift-authorization" ${readFileSync(at("alice.pub"), "utf8")}`);
  const bundle = signedBundle({ now: new Date(Date.now() - 60_000) });
  await writeTrustFiles(at("trust"), bundle.trustFiles);
  await writeSignedBundle(at("bundle"), bundle);
  await writeSignedBundle(at("foreign"), signedBundle());
  writeFileSync(at("rita.key"), encryptPrivateKey(rita.key, "pass"));
  await run(siteInit, [], { operators: at("operators") });
  const fingerprint = sha256(bundle.trustFiles.get("1.root.json") as Buffer);
  await run(trustImport, [at("trust")], { key: [at("alice")], fingerprint });
  process.env[VARIABLE] = "pass";
  t.after(() => delete process.env[VARIABLE]);
  const options = { key: at("rita.key"), "password-env": VARIABLE };
  for (const reason of ["", "a\u001b[2J", "x".repeat(2000)]) {
    await assert.rejects(run(approve, [at("bundle")], { ...options, reason }), coded("USAGE"));
  }
  assert.equal(await run(approve, [at("bundle")], { ...options, reason: "looked at the diff" }), 0);
  const written = `${at("bundle")}.approval-${keyFingerprint(createPublicKey(rita.key)).slice(0, 16)}.json`;
  const { holder, statement } = verifySigstoreBundle(readFileSync(written), [trustKeyOf(rita.key, "rita")]);
  assert.equal(holder, "rita");
  assert.equal(statement.subject, bundle.small.release.descriptor.digest);
  assert.equal(statement.predicateType, PREDICATE_VSA);
  const predicate = statement.predicate as { inputAttestations: { digest: { sha256: string } }[] };
  assert.partialDeepStrictEqual(predicate, {
    verificationResult: "PASSED",
    verifiedLevels: ["SLSA_BUILD_LEVEL_1"],
    sealift_reason: "looked at the diff",
    sealift_trust: { rootFingerprint: fingerprint, rootVersion: 1, targetsVersion: 1 },
  });
  assert.deepEqual(
    predicate.inputAttestations.map(({ digest }) => `sha256:${digest.sha256}`),
    bundle.objects.map(({ descriptor }) => descriptor.digest).sort(),
  );
  await assert.rejects(run(approve, [at("bundle")], options), coded("FILE_EXISTS"));
  await assert.rejects(run(approve, [at("foreign")], options), coded("APPROVE_DENIED"));
});
