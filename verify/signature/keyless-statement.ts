/** A Sigstore bundle with an in-toto statement that one of some identities signed with a certificate. */
import type { Bundle } from "@sigstore/bundle";
import type { CertificateIdentity } from "../../bundles/model/certificate-identity.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { TrustIdentity } from "../trust/trust.ts";
import { signatureError } from "./error.ts";
import { verifyKeyless, type WitnessedTime } from "./keyless.ts";
import { parseStatement, requireOneSubject, signedPayload, type VerifiedSignature } from "./signature.ts";
import { parseSigstoreBundle } from "./sigstore-bundle.ts";
import { parseTrustedRoot } from "./trusted-root.ts";

export interface VerifiedKeyless extends VerifiedSignature {
  readonly certificate: CertificateIdentity;
  /** One at least. */
  readonly times: readonly WitnessedTime[];
}

const WITNESSES_MAX = 4;
const HASHES_MAX = 64;
const CHECKPOINT_MAX_LENGTH = 8 * 1024;
const TIMESTAMP_MAX_BYTES = 16 * 1024;

/**
 * A timestamp's frame and the further signatures of a checkpoint are signed by nobody whom we know. They decide
 * nothing, but they are bytes that anybody can change; so there may be few of them. @throws SIGNATURE_MALFORMED
 */
function requireBounded({ verificationMaterial }: Bundle): void {
  const { tlogEntries, timestampVerificationData } = verificationMaterial;
  const timestamps = timestampVerificationData?.rfc3161Timestamps ?? [];
  const isBounded =
    tlogEntries.length <= WITNESSES_MAX &&
    timestamps.length <= WITNESSES_MAX &&
    timestamps.every(({ signedTimestamp }) => signedTimestamp.length <= TIMESTAMP_MAX_BYTES) &&
    tlogEntries.every(
      ({ inclusionProof }) =>
        (inclusionProof?.hashes.length ?? 0) <= HASHES_MAX &&
        (inclusionProof?.checkpoint?.envelope.length ?? 0) <= CHECKPOINT_MAX_LENGTH,
    );
  if (!isBounded) {
    const what = "more witnesses, or larger ones, than one signature needs";
    throw signatureError("SIGNATURE_MALFORMED", `Sigstore bundle: ${what}`);
  }
  for (const entry of tlogEntries) requireProofOfCheckpoint(entry);
}

type LogEntry = Bundle["verificationMaterial"]["tlogEntries"][number];

/** A signed note (C2SP tlog-checkpoint): origin, tree size, root hash, more lines, and signatures. */
const CHECKPOINT =
  /^[^\n]+\n([0-9]{1,19})\n([A-Za-z0-9+/]{43}=)\n(?:[^\n]+\n)*\n((?:\u2014 \S+ [A-Za-z0-9+/]+={0,2}\n)+)$/u;

/**
 * @sigstore/verify takes size and root from the checkpoint alone, others from the members beside it: they must agree.
 * So must the entry's own index, which only a log of version 1 signs. And base64 has one spelling, which Node does
 * not insist on. @throws SIGNATURE_WITNESS_REFUSED
 */
function requireProofOfCheckpoint({ inclusionProof, inclusionPromise, logIndex }: LogEntry): void {
  if (!inclusionProof) return;
  const { checkpoint, rootHash, treeSize } = inclusionProof;
  const isPlaced = inclusionPromise !== undefined || logIndex === inclusionProof.logIndex;
  const [, size, root = "", signatures = ""] = CHECKPOINT.exec(checkpoint?.envelope ?? "") ?? [];
  const spelled = [root, ...signatures.split("\n").flatMap((line) => line.split(" ")[2] ?? [])];
  const isExact = spelled.every((text) => Buffer.from(text, "base64").toString("base64") === text);
  if (isExact && isPlaced && size === treeSize && root === rootHash.toString("base64")) return;
  throw signatureError("SIGNATURE_WITNESS_REFUSED", "Sigstore bundle: its inclusion proof and its checkpoint differ");
}

export type KeylessVerifier = (json: Buffer, identities: readonly TrustIdentity[]) => VerifiedKeyless;

/**
 * A verifier by the authorities and logs of `trustedRoot`. It throws SIGNATURE_IDENTITY_REFUSED if none of the
 * identities signed, SIGNATURE_CERTIFICATE_REFUSED | SIGNATURE_WITNESS_REFUSED | SIGNATURE_UNKNOWN_KEY |
 * SIGNATURE_MALFORMED | SIGNATURE_STATEMENT_REFUSED as `verifyKeyless` and `verifySigstoreBundle` do.
 * @throws SIGNATURE_ROOT_MALFORMED
 */
export function keylessVerifier(trustedRoot: Buffer): KeylessVerifier {
  const root = parseTrustedRoot(trustedRoot);
  return (json, identities) => {
    const bundle = parseSigstoreBundle(json);
    requireBounded(bundle);
    const { payload } = signedPayload(bundle);
    let refusal: unknown = signatureError(
      "SIGNATURE_IDENTITY_REFUSED",
      "Sigstore bundle: signed with a certificate, and the release trust names no identity",
    );
    for (const one of identities) {
      const certificate = { identity: one.identity, issuer: one.issuer };
      try {
        const times = verifyKeyless(bundle, digestOf(payload), certificate, root);
        const statement = requireOneSubject(parseStatement(payload));
        return { keyFingerprint: one.fingerprint, holder: one.holder, statement, certificate, times };
      } catch (cause) {
        if (!(cause instanceof SealiftError) || cause.code !== "SIGNATURE_IDENTITY_REFUSED") throw cause;
        refusal = cause;
      }
    }
    throw refusal;
  };
}
