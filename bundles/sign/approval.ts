/**
 * An approval: a SLSA verification summary (VSA v1) about a release, signed by a reviewer. It says that this
 * person's verifier allowed these inputs, each by digest, under this policy; not that the release is good.
 */
import { type Digest, hexOf } from "../model/digest.ts";
import { PREDICATE_VSA } from "../model/media-types.ts";
import type { SigningKey } from "./signing-key.ts";
import { signStatement, statementFor } from "./statement.ts";

export const VERIFIER_ID = "https://sealift.invalid/verifier/v1";

export interface ApprovalInputs {
  readonly release: Digest;
  readonly appliance: string;
  readonly version: string;
  readonly policy: Digest;
  /** SHA-256 of the first root of the release trust, 64 hexadecimal digits, and the versions in force. */
  readonly trust: { readonly rootFingerprint: string; readonly rootVersion: number; readonly targetsVersion: number };
  /** The signature objects that the verdict rests on. */
  readonly attestations: readonly Digest[];
  /** RFC 3339. */
  readonly timeVerified: string;
  readonly sealiftVersion: string;
  /** In the reviewer's words; left out if undefined. */
  readonly reason?: string;
}

/** The Sigstore bundle, canonical JSON, in the form that cosign verifies with `verify-blob-attestation`. */
export function signApproval(key: SigningKey, inputs: ApprovalInputs): Buffer {
  const { release, appliance, version, policy, trust, attestations, timeVerified, sealiftVersion, reason } = inputs;
  const predicate = {
    verifier: { id: VERIFIER_ID, version: { sealift: sealiftVersion } },
    timeVerified,
    resourceUri: `pkg:oci/${appliance}@${encodeURIComponent(release)}?tag=${encodeURIComponent(version)}`,
    policy: { digest: { sha256: hexOf(policy) } },
    inputAttestations: attestations.map((digest) => ({ digest: { sha256: hexOf(digest) } })),
    verificationResult: "PASSED",
    // `verify` demands signed provenance of every image, and cannot see how well the build machine is guarded.
    verifiedLevels: ["SLSA_BUILD_LEVEL_1"],
    slsaVersion: "1.1",
    sealift_trust: trust,
    ...(reason !== undefined && { sealift_reason: reason }),
  };
  return signStatement(key, statementFor(release, PREDICATE_VSA, predicate));
}
