/** Targets of the fuzzer (fuzz-targets.ts): the files that go between a site and whoever attests it. */
import assert from "node:assert/strict";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { parseAttestationPolicy, uncheckedBy } from "../../verify/attestation/attestation-policy.ts";
import { keyedReportData, makeChallenge, readChallenge } from "../../verify/attestation/challenge.ts";
import {
  type Receipt,
  readReceipt,
  readReleaseFile,
  sealedDigest,
  sealedFor,
  writeReleaseFile,
} from "../../verify/attestation/release-file.ts";
import { makeTransportKey, openKey, sealKey } from "../../verify/attestation/sealed-key.ts";
import { LEAST_POLICY } from "../verify/attestation/evidence.ts";
import { LEAST_TDX_POLICY } from "../verify/attestation/tdx-evidence.ts";
import { accepted, acceptedLater, type FuzzTarget } from "./fuzz-target.ts";

const NOW = new Date("2026-11-21T08:00:00.000Z");
const [release, ledgerHead, policy] = ["release", "ledger", "policy"].map((one) => digestOf(one));
const siteId = "5".repeat(32);
const complete = makeChallenge(
  policy as never,
  { release: release as never, siteId, ledgerHead: ledgerHead as never },
  NOW,
  60,
);
const plain = makeChallenge(policy as never, { release: null, siteId: null, ledgerHead: null }, NOW, 60);

const transport = await makeTransportKey();
const boundKeys = { hostKey: Buffer.alloc(44, 1), transportKey: transport.publicKey };
const SECRET = Buffer.from("the site's key, 32 bytes long...");
const digest = digestOf("x");
const later = (days: number): string => new Date(NOW.getTime() + days * 86_400_000).toISOString();
const unsealed: Omit<Receipt, "sealed"> = {
  ...{ schemaVersion: 1, kind: "sealift-attestation-receipt", decision: "allow" },
  ...{ siteId, release: digest, ledgerHead: digest, challenge: digest, policy: digest, evidence: digest },
  ...{ report: digest, collateral: [{ name: "a.crl", digest }], verdict: digest },
  assurance: { bootMeasured: true, rootfsMeasured: true, releaseAsserted: null, boundBy: ["chip"] },
  ...{ canaries: ["wrong-nonce"], hostKey: digest, transportKey: digest },
  ...{ time: later(0), openUntil: later(1), validUntil: later(2) },
};
const sealed = await sealKey(SECRET, transport.publicKey, sealedFor(unsealed as Receipt));
const receipt = canonicalJson({ ...unsealed, sealed: sealedDigest(sealed) });
const releaseFile = writeReleaseFile({ receiptBytes: receipt, signature: Buffer.from("signature"), sealed });

export const attestationFuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  "attestation challenge": {
    seeds: [complete, plain],
    run: (data) => {
      const challenge = accepted(() => readChallenge(data));
      if (!challenge) return;
      // REPORT_DATA is made of the bytes.
      assert.deepEqual(canonicalJson(challenge), data);
      assert.equal(keyedReportData(data, boundKeys)?.length ?? 64, 64);
    },
  },
  "key-release file": {
    isAsync: true,
    seeds: [releaseFile],
    run: async (data) => {
      const read = accepted(() => readReleaseFile(data));
      if (!read) return;
      assert.deepEqual(writeReleaseFile(read), data, "two files that say the same");
      const opened = await acceptedLater(() => openKey(read.sealed, transport.privateKey, sealedFor(read.receipt)));
      if (opened) assert.deepEqual(opened, SECRET, "what nobody has sealed");
    },
  },
  "signed receipt": {
    seeds: [receipt],
    run: (data) => {
      const read = accepted(() => readReceipt(data));
      if (read) assert.deepEqual(canonicalJson(read), data);
    },
  },
  "attestation policy": {
    seeds: [canonicalJson(LEAST_POLICY), canonicalJson(LEAST_TDX_POLICY)],
    run: (data) => {
      const read = accepted(() => parseAttestationPolicy(data));
      if (read) uncheckedBy(read.policy);
    },
  },
};
