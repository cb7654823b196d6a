/**
 * An in-toto statement in a DSSE envelope that is parsed: what it says, and which of some keys signed it. Loads no
 * package, so that `verify-blob` starts fast.
 */
import type { Bundle, BundleWithPublicKey } from "@sigstore/bundle";
import { type Digest, isDigest } from "../../bundles/model/digest.ts";
import { duplicateMember } from "../../bundles/model/duplicate-member.ts";
import { unfitForCanonicalJson } from "../../bundles/model/json-limits.ts";
import { IN_TOTO_PAYLOAD } from "../../bundles/model/media-types.ts";
import type { TrustKey } from "../trust/trust.ts";
import { signatureError } from "./error.ts";
import { holdsOver } from "./message.ts";

/** Statement v1 is ours; cosign 2 and 3 still write v0.1 for attestations. The members used are the same. */
const STATEMENT_TYPES = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

const SUBJECTS_MAX = 1024;
const PREDICATE_TYPE_MAX_LENGTH = 1024;

export interface VerifiedSignature {
  readonly keyFingerprint: string;
  readonly holder: string;
  readonly statement: {
    readonly subject: Digest;
    readonly predicateType: string;
    /** `{}` if the statement has none. */
    readonly predicate: unknown;
  };
}

/** Who made a signature, and what is under it if it is a statement. */
export interface SignedStatement<Subject> {
  readonly key: TrustKey;
  readonly subjects: readonly Subject[];
  readonly predicateType: string;
  readonly predicate: unknown;
}

/**
 * One statement speaks about one thing: with two subjects it would not be clear what was reviewed.
 * @throws SIGNATURE_STATEMENT_REFUSED
 */
export function requireOneSubject({
  subjects,
  predicateType,
  predicate,
}: Omit<SignedStatement<Digest>, "key">): VerifiedSignature["statement"] {
  const [subject, ...others] = subjects;
  if (subject === undefined || others.length > 0) {
    throw signatureError("SIGNATURE_STATEMENT_REFUSED", `signed statement: got ${subjects.length} subjects, want 1`);
  }
  return { subject, predicateType, predicate };
}

/** @throws what `verifySigstoreBundle` throws; any number of subjects. */
export function verifyStatement(bundle: BundleWithPublicKey, keys: readonly TrustKey[]): SignedStatement<Digest> {
  const { payloadType, payload, signature } = signedPayload(bundle);
  const { hint } = bundle.verificationMaterial.content.publicKey;
  const ordered = [...keys.filter((key) => key.hint === hint), ...keys.filter((key) => key.hint !== hint)];
  const signed = preAuthEncoding(payloadType, payload);
  const key = ordered.find((candidate) => holdsOver(signed, signature, candidate));
  if (!key) throw unknownKey("Sigstore bundle", keys);
  return { key, ...parseStatement(payload) };
}

/** What a DSSE envelope's signature covers (DSSE v1.0.2, protocol.md "Signature Definition"). */
function preAuthEncoding(payloadType: string, payload: Buffer): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(payloadType)} ${payloadType} ${payload.length} `;
  return Buffer.concat([Buffer.from(head), payload]);
}

/** What is in an envelope with one in-toto statement and one signature, unverified. @throws SIGNATURE_MALFORMED */
export function signedPayload(bundle: Bundle): { payloadType: string; payload: Buffer; signature: Buffer } {
  const { content } = bundle;
  if (content.$case !== "dsseEnvelope") {
    throw signatureError("SIGNATURE_MALFORMED", "Sigstore bundle: want an in-toto statement in a DSSE envelope");
  }
  const { payloadType, payload, signatures } = content.dsseEnvelope;
  if (payloadType !== IN_TOTO_PAYLOAD) {
    throw signatureError(
      "SIGNATURE_MALFORMED",
      `Sigstore bundle: got payload type ${JSON.stringify(payloadType)}, want ${IN_TOTO_PAYLOAD}`,
    );
  }
  const [signature, ...others] = signatures;
  if (!signature || others.length > 0) {
    throw signatureError("SIGNATURE_MALFORMED", `Sigstore bundle: got ${signatures.length} signatures, want 1`);
  }
  return { payloadType, payload, signature: signature.sig };
}

export function parsePayload(payload: Buffer): unknown {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(payload);
    value = JSON.parse(text);
  } catch (cause) {
    throw signatureError("SIGNATURE_STATEMENT_REFUSED", "signed payload is not JSON in UTF-8", { cause });
  }
  const twice = duplicateMember(text);
  const unfit = twice === undefined ? unfitForCanonicalJson(value) : `member ${JSON.stringify(twice)} is there twice`;
  if (unfit !== undefined) throw signatureError("SIGNATURE_STATEMENT_REFUSED", `signed payload: ${unfit}`);
  return value;
}

/** The own member of an object from JSON, or undefined. */
export function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

function refused(what: string): Error {
  return signatureError("SIGNATURE_STATEMENT_REFUSED", `signed statement: ${what}`);
}

/** What a signed payload says. @throws SIGNATURE_STATEMENT_REFUSED */
export function parseStatement(payload: Buffer): Omit<SignedStatement<Digest>, "key"> {
  const value = parsePayload(payload);
  const type = member(value, "_type");
  if (!STATEMENT_TYPES.some((known) => known === type)) throw refused(`/_type: want ${STATEMENT_TYPES.join(" or ")}`);
  const subjects = member(value, "subject");
  if (!Array.isArray(subjects) || subjects.length === 0 || subjects.length > SUBJECTS_MAX) {
    throw refused(`/subject: want 1 to ${SUBJECTS_MAX} subjects`);
  }
  const predicateType = member(value, "predicateType");
  if (typeof predicateType !== "string" || predicateType === "" || predicateType.length > PREDICATE_TYPE_MAX_LENGTH) {
    throw refused(`/predicateType: want a text of 1 to ${PREDICATE_TYPE_MAX_LENGTH} characters`);
  }
  return { subjects: subjects.map(subjectDigest), predicateType, predicate: member(value, "predicate") ?? {} };
}

function subjectDigest(subject: unknown, i: number): Digest {
  const hex = member(member(subject, "digest"), "sha256");
  const digest = typeof hex === "string" ? `sha256:${hex}` : undefined;
  if (!isDigest(digest)) throw refused(`/subject/${i}/digest/sha256: want 64 lower-case hexadecimal digits`);
  return digest;
}

export function unknownKey(what: string, keys: readonly TrustKey[]): Error {
  return signatureError(
    "SIGNATURE_UNKNOWN_KEY",
    `${what}: none of the ${keys.length} trusted keys made this signature`,
  );
}
