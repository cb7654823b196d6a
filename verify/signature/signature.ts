/**
 * Whether a signature holds, and with which of the trusted keys: pure functions over bytes, for key-made
 * signatures in cosign's two forms. What the statement says, and whether the key's role may say it, is
 * for verify/checks/signatures.ts to judge.
 *
 * A bundle's key hint is the attacker's word; it only decides which trusted key is tried first. Log
 * entries and timestamps that cosign may add to a key-made bundle are ignored: they prove nothing here.
 */
import { verify } from "node:crypto";
import { type Bundle, isBundleWithDsseEnvelope } from "@sigstore/bundle";
import { TrustedRoot } from "@sigstore/protobuf-specs";
import { toSignedEntity, toTrustMaterial, Verifier } from "@sigstore/verify";
import { type Digest, digestFromHex, isDigest } from "../../bundles/model/digest.ts";
import { duplicateMember } from "../../bundles/model/duplicate-member.ts";
import { IN_TOTO_PAYLOAD } from "../../bundles/model/media-types.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import type { TrustKey } from "../trust/trust.ts";
import { signatureError } from "./error.ts";
import { type KeyBundle, parseKeyBundle } from "./sigstore-bundle.ts";

/** Statement v1 is ours; cosign 2 and 3 still write v0.1 for attestations. The members used are the same. */
const STATEMENT_TYPES = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

const statementSchema: JsonSchema = {
  type: "object",
  required: ["_type", "subject", "predicateType"],
  properties: {
    _type: { enum: STATEMENT_TYPES },
    subject: {
      type: "array",
      minItems: 1,
      maxItems: 1024,
      items: {
        type: "object",
        required: ["digest"],
        properties: {
          digest: {
            type: "object",
            required: ["sha256"],
            properties: { sha256: { type: "string", pattern: "^[0-9a-f]{64}$" } },
          },
        },
      },
    },
    predicateType: { type: "string", minLength: 1, maxLength: 1024 },
  },
};

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
 * Verifies a Sigstore bundle with an in-toto statement about one digest in DSSE, signed by one of `keys`.
 * At most one verification per key; the caller bounds `json`.
 * @throws SIGNATURE_MALFORMED (not such a bundle) | SIGNATURE_UNKNOWN_KEY (no trusted key made it) |
 * SIGNATURE_STATEMENT_REFUSED (the signature holds, but what it covers is not one statement about one digest)
 */
export function verifySigstoreBundle(json: Buffer, keys: readonly TrustKey[]): VerifiedSignature {
  const { key, subjects, predicateType, predicate } = verifyStatement(parseKeyBundle(json), keys);
  const [subject, ...others] = subjects;
  // One statement speaks about one thing: with two subjects it would not be clear what was reviewed.
  if (subject === undefined || others.length > 0) {
    throw signatureError("SIGNATURE_STATEMENT_REFUSED", `signed statement: got ${subjects.length} subjects, want 1`);
  }
  return { keyFingerprint: key.fingerprint, holder: key.holder, statement: { subject, predicateType, predicate } };
}

/** @throws what `verifySigstoreBundle` throws; any number of subjects. */
export function verifyStatement(bundle: KeyBundle, keys: readonly TrustKey[]): SignedStatement<Digest> {
  const payload = statementPayload(bundle);
  const { hint } = bundle.verificationMaterial.content.publicKey;
  const ordered = [...keys.filter((key) => key.hint === hint), ...keys.filter((key) => key.hint !== hint)];
  const entity = toSignedEntity(withoutWitnesses(bundle));
  const key = ordered.find((candidate) => holds(() => verifierFor(candidate, NO_ROOT).verify(entity)));
  if (!key) throw unknownKey("Sigstore bundle", keys);
  return { key, ...parseStatement(payload) };
}

/** The bytes that DSSE signs, if they say that they are an in-toto statement. @throws SIGNATURE_MALFORMED */
export function statementPayload(bundle: Bundle): Buffer {
  if (!isBundleWithDsseEnvelope(bundle)) {
    throw signatureError("SIGNATURE_MALFORMED", "Sigstore bundle: want an in-toto statement in a DSSE envelope");
  }
  const { payloadType, payload, signatures } = bundle.content.dsseEnvelope;
  if (payloadType !== IN_TOTO_PAYLOAD) {
    throw signatureError(
      "SIGNATURE_MALFORMED",
      `Sigstore bundle: got payload type ${JSON.stringify(payloadType)}, want ${IN_TOTO_PAYLOAD}`,
    );
  }
  if (signatures.length !== 1) {
    throw signatureError("SIGNATURE_MALFORMED", `Sigstore bundle: got ${signatures.length} signatures, want 1`);
  }
  return payload;
}

/** Without log entries and timestamps: sigstore-js verifies every one that is there, and has no keys for it here. */
function withoutWitnesses(bundle: KeyBundle): KeyBundle {
  const { timestampVerificationData: _, ...material } = bundle.verificationMaterial;
  return { ...bundle, verificationMaterial: { ...material, tlogEntries: [] } } as unknown as KeyBundle;
}

const NO_ROOT: TrustedRoot = TrustedRoot.fromJSON({
  mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
});

/**
 * Thresholds 0 are for keys only: with a certificate sigstore-js would then accept it at any time. Any
 * time is valid for the key, because the release trust says whether it counts, and has an expiry itself.
 */
export function verifierFor(key: TrustKey, root: TrustedRoot): Verifier {
  const material = toTrustMaterial(root, () => ({ publicKey: key.publicKey, validFor: () => true }));
  return new Verifier(material, { tlogThreshold: 0, timestampThreshold: 0, ctlogThreshold: 0 });
}

/** sigstore-js throws many kinds of error for a signature that does not hold, raw TypeErrors among them. */
function holds(check: () => unknown): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

function parsePayload(payload: Buffer): unknown {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(payload);
    value = JSON.parse(text);
  } catch (cause) {
    throw signatureError("SIGNATURE_STATEMENT_REFUSED", "signed payload is not JSON in UTF-8", { cause });
  }
  const twice = duplicateMember(text);
  if (twice === undefined) return value;
  throw signatureError("SIGNATURE_STATEMENT_REFUSED", `signed payload: member ${JSON.stringify(twice)} is there twice`);
}

/** What a signed payload says. @throws SIGNATURE_STATEMENT_REFUSED */
export function parseStatement(payload: Buffer): Omit<SignedStatement<Digest>, "key"> {
  const value = parsePayload(payload);
  const problem = schemaProblem(statementSchema, value);
  if (problem !== undefined) throw signatureError("SIGNATURE_STATEMENT_REFUSED", `signed statement: ${problem}`);
  const { subject, predicateType, predicate } = value as {
    subject: { digest: { sha256: string } }[];
    predicateType: string;
    predicate?: unknown;
  };
  const subjects = subject.map(({ digest }) => digestFromHex(digest.sha256));
  return { subjects, predicateType, predicate: predicate ?? {} };
}

const simpleSigningSchema: JsonSchema = {
  type: "object",
  required: ["critical"],
  properties: {
    critical: {
      type: "object",
      required: ["identity", "image", "type"],
      properties: {
        identity: { type: "object" },
        image: {
          type: "object",
          required: ["docker-manifest-digest"],
          properties: { "docker-manifest-digest": { type: "string", pattern: "^sha256:[0-9a-f]{64}$" } },
        },
        type: { const: "cosign container image signature" },
      },
    },
  },
};

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
  const value = parsePayload(payload);
  const problem = schemaProblem(simpleSigningSchema, value);
  if (problem !== undefined) throw signatureError("SIGNATURE_STATEMENT_REFUSED", `signed payload: ${problem}`);
  const digest = (value as { critical: { image: { "docker-manifest-digest": unknown } } }).critical.image[
    "docker-manifest-digest"
  ];
  if (!isDigest(digest)) throw signatureError("SIGNATURE_STATEMENT_REFUSED", "signed payload names no digest");
  return { digest, keyFingerprint: key.fingerprint, holder: key.holder };
}

function holdsOver(payload: Buffer, signature: Buffer, key: TrustKey): boolean {
  try {
    return verify("sha256", payload, key.publicKey, signature);
  } catch {
    return false;
  }
}

function unknownKey(what: string, keys: readonly TrustKey[]): Error {
  return signatureError(
    "SIGNATURE_UNKNOWN_KEY",
    `${what}: none of the ${keys.length} trusted keys made this signature`,
  );
}
