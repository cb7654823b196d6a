import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { attestationFindings, attestationRuleOf, requireAttested } from "../../installer/lifecycle/attested.ts";
import { appendEntry } from "../../installer/lifecycle/ledger.ts";
import { auditLedger } from "../../installer/lifecycle/ledger-audit.ts";
import { verifyForSite } from "../../installer/lifecycle/site-verify.ts";
import { unseal } from "../../installer/lifecycle/unseal.ts";
import { signerLineFor } from "../../installer/site/allowed-signers.ts";
import { DEFAULT_POLICY, type Policy, parsePolicy } from "../../verify/policy.ts";
import {
  challengeFor,
  collectFor,
  enrolMode,
  makeVerifier,
  NEXT_RELEASE,
  requiringSite,
  unlockFor,
} from "../support/attested-site.ts";
import { importPolicy, importTrust } from "../support/enrolled-site.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { makeTestSite } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";

const SKIP = existsSync("/dev/shm") ? false : "this machine has no /dev/shm";
const policy = digestOf("an attestation policy");
const vera = makeVerifier();
const line = signerLineFor("sealift-attestation", { principal: "vera", key: vera.signer.key });
const sitePolicy = (attestation: object, version = 1): Buffer =>
  canonicalJson({ ...DEFAULT_POLICY, name: "site", version, attestation });

test("a policy says which attestation it asks for, completely, and nothing that would not count", () => {
  const good: readonly Policy["attestation"][] = [
    { mode: "required", policy, verifiers: [line] },
    { mode: "self-check", policy },
    { mode: "not-required" },
  ];
  for (const attestation of good) parsePolicy(sitePolicy(attestation as object));
  for (const attestation of [
    { mode: "required", policy },
    { mode: "required", verifiers: [line] },
    { mode: "required", policy, verifiers: [] },
    { mode: "required" },
    { mode: "self-check" },
    { mode: "self-check", policy, verifiers: [line] },
    { mode: "not-required", policy },
    { mode: "on", policy },
    { mode: "required", policy: "sha256:0", verifiers: [line] },
    { mode: "required", policy, verifiers: [line, line] },
    { mode: "required", policy, verifiers: [line], grace: 1 },
    {},
  ]) {
    assert.throws(() => parsePolicy(sitePolicy(attestation)), coded("POLICY_MALFORMED"), JSON.stringify(attestation));
  }
});

test("verifiers are enrolled who can be read and are none of the site's own", async (t) => {
  const { open, alice, recovery } = makeTestSite(await scratch(t));
  const enrol = (one: string) =>
    importPolicy(open(), sitePolicy({ mode: "required", policy, verifiers: [one] }), alice);
  const of = (key: typeof alice.key, namespace = "sealift-attestation") =>
    signerLineFor(namespace, { principal: "vera", key });
  for (const bad of ["vera", of(vera.signer.key, "sealift-authorization"), of(alice.key), of(recovery.key)]) {
    await assert.rejects(enrol(bad), coded("AUTHORITY_MALFORMED"), bad);
  }
  assert.equal(attestationRuleOf(open()).mode, "not-required", "nothing came into force");
  await enrol(line);
  assert.equal(attestationRuleOf(open()).mode, "required");
});

test("a site whose policy says nothing asks for nothing, and its verdicts are as before", async (t) => {
  const { open } = makeTestSite(await scratch(t));
  assert.deepEqual(attestationFindings(open(), NEXT_RELEASE), []);
  requireAttested(open(), NEXT_RELEASE);
});

test("where it is required a good bundle is denied until a verifier has allowed the host for this very release", {
  skip: SKIP,
}, async (t) => {
  const parent = await scratch(t);
  const bundle = signedBundle();
  const path = join(parent, "bundle");
  await writeSignedBundle(path, bundle);
  const plain = makeTestSite(parent);
  await importTrust(plain.open(), bundle.trustFiles, plain.alice);
  const judge = async () => {
    const { verdict, allowed, close } = await verifyForSite(plain.open(), path, () => {});
    close();
    assert.equal(allowed !== undefined, verdict.decision === "allow");
    const own = verdict.findings.filter(({ check, subject }) => check === "attestation" && subject.startsWith("site "));
    return [verdict.decision, ...own.map(({ code, message }) => code || message)];
  };
  assert.deepEqual(await judge(), ["allow"]);
  const site = await requiringSite(plain, t);
  assert.deepEqual(await judge(), ["deny", "ATTEST_REQUIRED"]);
  const attest = async (release: typeof NEXT_RELEASE): Promise<void> => {
    const challenge = challengeFor(site.open(), { release });
    const answer = await collectFor(site.open(), site.run, challenge);
    await unseal(site.open(), site.run, await unlockFor(site.open(), site.verifier, challenge, answer), site.keyOut);
  };
  await attest(NEXT_RELEASE);
  assert.deepEqual(await judge(), ["deny", "ATTEST_OTHER_RELEASE"]);
  await attest(bundle.small.release.descriptor.digest);
  const [decision, message] = await judge();
  assert.equal(decision, "allow");
  assert.match(message ?? "", /^verifier vera allowed this boot of the host/);
  await enrolMode(site.open(), site.alice, "self-check", site.verifier);
  assert.deepEqual(await judge(), ["deny", "ATTEST_REQUIRED"], "a verifier's word is no self-check");
  await enrolMode(site.open(), site.alice, "not-required", site.verifier);
  assert.deepEqual(await judge(), ["allow"]);
});

test("an attestation that somebody wrote into the ledger without a verifier is found by its audit", {
  skip: SKIP,
}, async (t) => {
  const site = await requiringSite(makeTestSite(await scratch(t)), t);
  const challenge = challengeFor(site.open());
  const answer = await collectFor(site.open(), site.run, challenge);
  const file = await unlockFor(site.open(), makeVerifier("mallory"), challenge, answer);
  const { paths, disk, clock } = site.open();
  const { receipt, signature } = JSON.parse(file.toString("utf8")) as Record<string, string>;
  const data = { by: "verifier", result: "allow", receipt, signature, validUntil: "2027-01-01T00:00:00.000Z" };
  appendEntry(disk, paths.ledger, "attested", data, clock());
  const codes = async () => (await auditLedger(site.open().ledger)).findings.map(({ code }) => code);
  assert.deepEqual(await codes(), ["ATTEST_VERIFIER_UNKNOWN"]);
  appendEntry(disk, paths.ledger, "attested", { ...data, receipt: "{}" }, clock());
  assert.deepEqual(await codes(), ["ATTEST_VERIFIER_UNKNOWN", "ATTEST_RELEASE_MALFORMED"]);
});
