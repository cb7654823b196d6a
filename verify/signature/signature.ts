/**
 * Whether a signature holds, and with which of the trusted keys: pure functions over bytes, for key-made
 * signatures in cosign's two forms. What the statement says, and whether the key's role may say it, is
 * for verify/checks/signatures.ts to judge.
 *
 * A bundle's key hint is the attacker's word; it only decides which trusted key is tried first. Log
 * entries and timestamps that cosign may add to a key-made bundle are ignored: they prove nothing here.
 */
import { verify } from "node:crypto";
import {
  bundleFromJSON,
  isBundleWithDsseEnvelope,
  isBundleWithPublicKey,
  type SerializedBundle,
} from "@sigstore/bundle";
import { toSignedEntity, toTrustMaterial, Verifier } from "@sigstore/verify";
import { type Digest, isDigest, parseDigest } from "../../bundles/model/digest.ts";
import { IN_TOTO_PAYLOAD } from "../../bundles/model/media-types.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { TrustKey } from "../trust/trust.ts";
import { signatureError } from "./error.ts";

/** Statement v1 is ours; cosign 2 and 3 still write v0.1 for attestations. The members used are the same. */
const STATEMENT_TYPES = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

const statementSchema: JsonSchema = {
  type: "object",
  required: ["_type", "subject", "predicateType"],
  properties: {
    _type: { enum: STATEMENT_TYPES },
    // One statement speaks about one thing: with two subjects it would not be clear what was reviewed.
    subject: {
      type: "array",
      minItems: 1,
      maxItems: 1,
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

/**
 * Verifies a Sigstore bundle with an in-toto statement in DSSE, signed by one of `keys`.
 * @throws SIGNATURE_MALFORMED (not such a bundle) | SIGNATURE_UNKNOWN_KEY (no trusted key made it) |
 * SIGNATURE_STATEMENT_REFUSED (the signature holds, but what it covers is not one statement about one digest)
 */
export function verifySigstoreBundle(json: Buffer, keys: readonly TrustKey[]): VerifiedSignature {
  const bundle = parseBundle(json);
  const { dsseEnvelope } = bundle.content;
  if (dsseEnvelope.payloadType !== IN_TOTO_PAYLOAD) {
    throw signatureError(
      "SIGNATURE_MALFORMED",
      `Sigstore bundle: got payload type ${JSON.stringify(dsseEnvelope.payloadType)}, want ${IN_TOTO_PAYLOAD}`,
    );
  }
  if (dsseEnvelope.signatures.length !== 1) {
    throw signatureError(
      "SIGNATURE_MALFORMED",
      `Sigstore bundle: got ${dsseEnvelope.signatures.length} signatures, want 1`,
    );
  }
  const { hint } = bundle.verificationMaterial.content.publicKey;
  const ordered = [...keys.filter((key) => key.hint === hint), ...keys.filter((key) => key.hint !== hint)];
  // Without its log entries: sigstore-js would try to verify them and has no keys of logs here.
  const bare = {
    ...bundle,
    verificationMaterial: { ...bundle.verificationMaterial, tlogEntries: [], timestampVerificationData: undefined },
  };
  const key = ordered.find((candidate) => holds(() => verifierFor(candidate).verify(toSignedEntity(bare as never))));
  if (!key) throw unknownKey("Sigstore bundle", keys);
  return { keyFingerprint: key.fingerprint, holder: key.holder, statement: parseStatement(dsseEnvelope.payload) };
}

function parseBundle(json: Buffer) {
  try {
    const bundle = bundleFromJSON(JSON.parse(json.toString("utf8")) as SerializedBundle);
    if (isBundleWithDsseEnvelope(bundle) && isBundleWithPublicKey(bundle)) return bundle;
  } catch (cause) {
    throw signatureError("SIGNATURE_MALFORMED", `not a Sigstore bundle: ${reasonOf(cause)}`, { cause });
  }
  throw signatureError("SIGNATURE_MALFORMED", "Sigstore bundle: want a DSSE envelope signed with a key");
}

/** Accepts any time: whether a key may be used is said by the release trust, whose expiry is checked there. */
function verifierFor(key: TrustKey): Verifier {
  const empty = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const material = toTrustMaterial(empty as never, () => ({ publicKey: key.publicKey, validFor: () => true }));
  return new Verifier(material, { tlogThreshold: 0, timestampThreshold: 0, ctlogThreshold: 0 });
}

/** sigstore-js throws many kinds of error for a signature that does not hold. */
function holds(check: () => unknown): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

function parseStatement(payload: Buffer): VerifiedSignature["statement"] {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString("utf8"));
  } catch (cause) {
    throw signatureError("SIGNATURE_STATEMENT_REFUSED", "signed payload is not JSON", { cause });
  }
  const problem = schemaProblem(statementSchema, value);
  if (problem !== undefined) throw signatureError("SIGNATURE_STATEMENT_REFUSED", `signed statement: ${problem}`);
  const statement = value as { subject: [{ digest: { sha256: string } }]; predicateType: string; predicate?: unknown };
  const subject = parseDigest(`sha256:${statement.subject[0].digest.sha256}`) as Digest;
  return { subject, predicateType: statement.predicateType, predicate: statement.predicate ?? {} };
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
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) {
    throw signatureError("SIGNATURE_MALFORMED", "cosign signature: not base64");
  }
  const bytes = Buffer.from(signature, "base64");
  const key = keys.find((candidate) =>
    holds(() => {
      if (!verify("sha256", payload, candidate.publicKey, bytes)) throw new Error("does not hold");
    }),
  );
  if (!key) throw unknownKey("cosign signature", keys);
  let value: unknown;
  try {
    value = JSON.parse(payload.toString("utf8"));
  } catch (cause) {
    throw signatureError("SIGNATURE_STATEMENT_REFUSED", "signed payload is not JSON", { cause });
  }
  const problem = schemaProblem(simpleSigningSchema, value);
  if (problem !== undefined) throw signatureError("SIGNATURE_STATEMENT_REFUSED", `signed payload: ${problem}`);
  const digest = (value as { critical: { image: { "docker-manifest-digest": unknown } } }).critical.image[
    "docker-manifest-digest"
  ];
  if (!isDigest(digest)) throw signatureError("SIGNATURE_STATEMENT_REFUSED", "signed payload names no digest");
  return { digest, keyFingerprint: key.fingerprint, holder: key.holder };
}

function unknownKey(what: string, keys: readonly TrustKey[]): Error {
  return signatureError(
    "SIGNATURE_UNKNOWN_KEY",
    `${what}: none of the ${keys.length} trusted keys made this signature`,
  );
}
