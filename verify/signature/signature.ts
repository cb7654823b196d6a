/**
 * Whether a signature holds, and with which of the trusted keys: pure functions over bytes, for key-made
 * signatures in cosign's two forms. What the statement says, and whether the key's role may say it, is
 * for verify/checks/signatures.ts to judge.
 *
 * A bundle's key hint is the attacker's word; it only decides which trusted key is tried first. Log
 * entries and timestamps that cosign may add to a key-made bundle are ignored: they prove nothing here.
 */
import { type Digest, isDigest } from "../../bundles/model/digest.ts";
import type { TrustKey } from "../trust/trust.ts";
import { signatureError } from "./error.ts";
import { holdsOver } from "./message.ts";
import { parseKeyBundle, parseSigstoreBundle } from "./sigstore-bundle.ts";
import {
  member,
  parsePayload,
  parseStatement,
  requireOneSubject,
  signedPayload,
  unknownKey,
  type VerifiedSignature,
  verifyStatement,
} from "./statement.ts";

const SIMPLE_SIGNING_TYPE = "cosign container image signature";

/**
 * Verifies a Sigstore bundle with an in-toto statement about one digest in DSSE, signed by one of `keys`.
 * At most one verification per key; the caller bounds `json`.
 * @throws SIGNATURE_MALFORMED (not such a bundle) | SIGNATURE_UNKNOWN_KEY (no trusted key made it) |
 * SIGNATURE_STATEMENT_REFUSED (the signature holds, but what it covers is not one statement about one digest)
 */
export function verifySigstoreBundle(json: Buffer, keys: readonly TrustKey[]): VerifiedSignature {
  const { key, ...signed } = verifyStatement(parseKeyBundle(json), keys);
  return { keyFingerprint: key.fingerprint, holder: key.holder, statement: requireOneSubject(signed) };
}

/**
 * Verifies cosign 2's payload and base64 signature. The `docker-reference` binds nothing and is not read.
 * @throws SIGNATURE_MALFORMED | SIGNATURE_UNKNOWN_KEY | SIGNATURE_STATEMENT_REFUSED
 */
export function verifySimpleSigning(
  payload: Buffer,
  signature: string,
  keys: readonly TrustKey[],
): { readonly digest: Digest; readonly keyFingerprint: string; readonly holder: string } {
  const bytes = Buffer.from(signature, "base64");
  // Node skips what is not base64; only one spelling of a signature is accepted.
  if (bytes.length === 0 || bytes.toString("base64") !== signature) {
    throw signatureError("SIGNATURE_MALFORMED", "cosign signature: not base64");
  }
  const key = keys.find((candidate) => holdsOver(payload, bytes, candidate));
  if (!key) throw unknownKey("cosign signature", keys);
  const critical = member(parsePayload(payload), "critical");
  const identity = member(critical, "identity");
  const digest = member(member(critical, "image"), "docker-manifest-digest");
  const named = typeof identity === "object" && identity !== null && !Array.isArray(identity);
  if (member(critical, "type") !== SIMPLE_SIGNING_TYPE || !named) {
    throw signatureError("SIGNATURE_STATEMENT_REFUSED", `signed payload: not a ${SIMPLE_SIGNING_TYPE}`);
  }
  if (!isDigest(digest)) throw signatureError("SIGNATURE_STATEMENT_REFUSED", "signed payload names no digest");
  return { digest, keyFingerprint: key.fingerprint, holder: key.holder };
}

/** What a Sigstore bundle says that it is about, unverified: only to tell kinds apart. Undefined if it says nothing. */
export function claimedPredicateType(json: Buffer): string | undefined {
  try {
    return parseStatement(signedPayload(parseSigstoreBundle(json)).payload).predicateType;
  } catch {
    return undefined;
  }
}
