/** Targets of the fuzzer (fuzz-targets.ts): signatures and signed statements, beyond what lies in a bundle. */
import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { isCertificateBundle, renderCertificateBundle } from "../../bundles/layout/certificate-bundle.ts";
import { readKeyBundle, renderKeyBundle } from "../../bundles/layout/signature-object.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { PREDICATE_SLSA_PROVENANCE, PREDICATE_VSA } from "../../bundles/model/media-types.ts";
import { signApproval } from "../../bundles/sign/approval.ts";
import { signBlob } from "../../bundles/sign/blob.ts";
import { statementOf } from "../../bundles/sign/detached-file.ts";
import { publicKeyPem } from "../../bundles/sign/key-file.ts";
import { signRebuild } from "../../bundles/sign/rebuild.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { checkApprovals } from "../../verify/checks/approvals.ts";
import { checkRebuilt } from "../../verify/checks/rebuilt.ts";
import { DEFAULT_POLICY, parsePolicy } from "../../verify/policy.ts";
import { policyLines } from "../../verify/policy-text.ts";
import { hashed, verifyKeyBlob } from "../../verify/signature/blob.ts";
import { plainKeyBundle } from "../../verify/signature/plain-bundle.ts";
import { claimedPredicateType } from "../../verify/signature/signature.ts";
import { parseKeyBundle } from "../../verify/signature/sigstore-bundle.ts";
import { loadTrust, readTrustClaim } from "../../verify/trust/trust.ts";
import { accepted, type FuzzTarget } from "./fuzz-target.ts";
import { makeSigner, makeSigners, SMALL_NOW, smallTrust } from "./signed-bundle.ts";
import { trustKeyOf } from "./test-trust.ts";

const reviewer = makeSigner("rita");
const holder = { holder: reviewer.holder, publicKey: publicKeyPem(createPublicKey(reviewer.key)) };
const trustFiles = smallTrust(makeSigners());
const trust = loadTrust(trustFiles, new Date(SMALL_NOW));
const release = digestOf("release");
const policyDigest = digestOf("policy");
const artifact = hashed(Buffer.from("artifact"));
const key = trustKeyOf(reviewer.key, reviewer.holder);

const approval = signApproval(reviewer.key, {
  ...{ release, appliance: "gateway", version: "1.0.0", policy: policyDigest, attestations: [] },
  trust: { rootFingerprint: "ab".repeat(32), rootVersion: 1, targetsVersion: 1 },
  ...{ timeVerified: SMALL_NOW, sealiftVersion: "0.1.0" },
});
const rebuild = signRebuild(reviewer.key, {
  ...{ release, appliance: "gateway", version: "1.0.0", platform: "linux/amd64", sealiftVersion: "0.1.0" },
  ...{
    applianceFile: digestOf("a"),
    lock: digestOf("l"),
    builderId: "https://example.invalid/b",
    finishedOn: SMALL_NOW,
  },
});
const predicateOf = (bundle: Buffer): Buffer => {
  const { payload } = JSON.parse(bundle.toString()).dsseEnvelope;
  return canonicalJson(JSON.parse(Buffer.from(payload, "base64").toString()).predicate);
};

/** `data` as what a reviewer signed, if it is JSON that can be signed. */
function signedPredicate(data: Buffer, type: string): Buffer | undefined {
  try {
    return signStatement(reviewer.key, statementFor(release, type, JSON.parse(data.toString("utf8"))));
  } catch {
    return undefined;
  }
}

export const verifyFuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  "signature over a file": {
    seeds: [
      signBlob(reviewer.key, artifact.bytes),
      signStatement(reviewer.key, statementFor(artifact.digest, "x", {})),
    ],
    run: (data) => {
      const [plain, whole] = [plainKeyBundle(data), accepted(() => parseKeyBundle(data))];
      if (plain) assert.deepEqual(canonicalJson(plain), canonicalJson(whole), "two readers read two things");
      if (whole) accepted(() => verifyKeyBlob(whole, artifact, key));
    },
  },
  "signature to be attached": {
    seeds: [approval, signBlob(reviewer.key, artifact.bytes)],
    run: (data) => {
      claimedPredicateType(data);
      statementOf(data);
      isCertificateBundle(data);
      const rendered = renderCertificateBundle(data);
      if (rendered) assert.deepEqual(renderCertificateBundle(rendered), rendered);
      const read = readKeyBundle(data);
      if (read) assert.deepEqual(readKeyBundle(renderKeyBundle(read))?.payload, read.payload);
    },
  },
  "reviewer's approval": {
    seeds: [approval, predicateOf(approval)],
    run: (data) => {
      const policy = { ...DEFAULT_POLICY, approvals: { threshold: 1, reviewers: [holder], maxAgeDays: 30 } };
      const signed = signedPredicate(data, PREDICATE_VSA);
      const approvals = signed ? [data, signed] : [data];
      const [finding] = checkApprovals({ release, policy, policies: [policyDigest], trust, at: SMALL_NOW, approvals });
      assert.ok(finding && ["pass", "fail"].includes(finding.status));
    },
  },
  "rebuilder's statement": {
    seeds: [rebuild, predicateOf(rebuild)],
    run: (data) => {
      const policy = { ...DEFAULT_POLICY, rebuilds: { threshold: 1, rebuilders: [holder] } };
      const signed = signedPredicate(data, PREDICATE_SLSA_PROVENANCE);
      const statements = signed ? [data, signed] : [data];
      const finding = checkRebuilt({ release, policy, trust, statements });
      assert.ok(["pass", "fail"].includes(finding.status));
    },
  },
  "policy in words": {
    seeds: [canonicalJson(DEFAULT_POLICY)],
    run: (data) => {
      if (accepted(() => parsePolicy(data))) assert.ok(policyLines(data).length > 0);
    },
  },
  "trust that nobody signed yet": {
    seeds: [...trustFiles.values()],
    run: (data) => {
      for (const name of trustFiles.keys()) accepted(() => readTrustClaim(new Map(trustFiles).set(name, data)));
    },
  },
};
