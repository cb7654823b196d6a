/**
 * What a verifier's machine gives back when it allows a site: a receipt, that is, what it looked at and found; an
 * OpenSSH signature over exactly its bytes; and the site's unlock key, sealed for the VM that answered. The receipt
 * stands by itself: who has the files that it names by digest makes the same verdict again (`attest recheck`).
 *
 * Read here, believed elsewhere: whether a signer may sign for a site is for the site to say.
 */
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import type { AttestationVerdict } from "./attestation-verdict.ts";
import { attestationError } from "./error.ts";
import { type SealedFor, type SealedKey, UNLOCK_KEY_MAX_BYTES } from "./sealed-key.ts";

export const RELEASE_FILE_MAX_BYTES = 128 * 1024;
/** The namespace of the signature: none made for anything else counts. */
export const ATTESTATION_NAMESPACE = "sealift-attestation";

export interface Receipt {
  readonly schemaVersion: 1;
  readonly kind: "sealift-attestation-receipt";
  /** `simulated` unlocks nothing. A denial has no receipt. */
  readonly decision: "allow" | "simulated";
  readonly siteId: string;
  readonly release: Digest;
  readonly ledgerHead: Digest;
  readonly challenge: Digest;
  readonly policy: Digest;
  readonly evidence: Digest;
  /** Of the report's signed part: the same for each file in which the report may come. */
  readonly report: Digest;
  readonly collateral: AttestationVerdict["collateral"];
  /** `verdictDigest` of the whole verdict. */
  readonly verdict: Digest;
  readonly assurance: AttestationVerdict["assurance"];
  /** Known-bad evidence that the verifier refused just before, by name. */
  readonly canaries: readonly string[];
  /** SHA-256 of the host key (SubjectPublicKeyInfo) and of the transport key. */
  readonly hostKey: Digest;
  readonly transportKey: Digest;
  /** RFC 3339, by the verifier's clock: of the appraisal. */
  readonly time: string;
  /** Until when the host may open it, and until when it counts as attested after that. */
  readonly openUntil: string;
  readonly validUntil: string;
  /** SHA-256 of the sealed key: encapsulated and ciphertext. */
  readonly sealed: Digest;
}

export interface ReleaseFile {
  readonly receipt: Receipt;
  /** What is signed, byte for byte. */
  readonly receiptBytes: Buffer;
  /** PEM-like, as ssh-keygen writes it. */
  readonly signature: Buffer;
  readonly sealed: SealedKey;
}

const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const instant = { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$" };
const boolean = { type: "boolean" };
const closed = (properties: Record<string, object>): JsonSchema => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});

/** Published as `sealift schema attestation-receipt`. */
export const receiptSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift attestation receipt",
  ...closed({
    schemaVersion: { const: 1 },
    kind: { const: "sealift-attestation-receipt" },
    decision: { enum: ["allow", "simulated"] },
    siteId: { type: "string", pattern: "^[0-9a-f]{32}$" },
    release: digest,
    ledgerHead: digest,
    challenge: digest,
    policy: digest,
    evidence: digest,
    report: digest,
    collateral: {
      type: "array",
      maxItems: 64,
      items: closed({ name: { type: "string", maxLength: 4096 }, digest }),
    },
    verdict: digest,
    assurance: closed({
      bootMeasured: boolean,
      rootfsMeasured: boolean,
      releaseAsserted: { anyOf: [digest, { type: "null" }] },
      boundBy: { type: "array", uniqueItems: true, items: { enum: ["chip", "host-data", "id-key"] } },
    }),
    canaries: { type: "array", minItems: 1, maxItems: 64, items: { type: "string", pattern: "^[a-z-]{1,64}$" } },
    hostKey: digest,
    transportKey: digest,
    time: instant,
    openUntil: instant,
    validUntil: instant,
    sealed: digest,
  }),
};

const base64 = (maxBytes: number): object => ({
  type: "string",
  maxLength: Math.ceil(maxBytes / 3) * 4,
  pattern: "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
});
const SIGNATURE_MAX_BYTES = 32 * 1024;
const AEAD_TAG_BYTES = 16;
const releaseFileSchema: JsonSchema = closed({
  schemaVersion: { const: 1 },
  kind: { const: "sealift-attestation-release" },
  receipt: { type: "string", maxLength: RELEASE_FILE_MAX_BYTES },
  signature: { type: "string", maxLength: SIGNATURE_MAX_BYTES },
  encapsulated: base64(32),
  ciphertext: base64(UNLOCK_KEY_MAX_BYTES + AEAD_TAG_BYTES),
});

/** The same for the same question, files and time, on every machine; the cage and the clock's source are not in it. */
export function verdictDigest(verdict: AttestationVerdict): Digest {
  const { cage: _cage, time, ...judged } = verdict;
  return digestOf(canonicalJson({ ...judged, at: time.at }));
}

export function sealedDigest({ encapsulated, ciphertext }: SealedKey): Digest {
  return digestOf(Buffer.concat([encapsulated, ciphertext]));
}

export function sealedFor({ challenge, verdict, siteId }: Receipt): SealedFor {
  return { challenge, verdict, siteId };
}

export function writeReleaseFile({ receiptBytes, signature, sealed }: Omit<ReleaseFile, "receipt">): Buffer {
  return canonicalJson({
    schemaVersion: 1,
    kind: "sealift-attestation-release",
    receipt: receiptBytes.toString("utf8"),
    signature: signature.toString("latin1"),
    encapsulated: sealed.encapsulated.toString("base64"),
    ciphertext: sealed.ciphertext.toString("base64"),
  });
}

/** Checks form, order of the times and that the sealed key is the receipt's; no signature. @throws ATTEST_RELEASE_MALFORMED */
export function readReleaseFile(bytes: Buffer): ReleaseFile {
  const malformed = (problem: string): Error => attestationError("ATTEST_RELEASE_MALFORMED", `release: ${problem}`);
  if (bytes.length > RELEASE_FILE_MAX_BYTES) {
    throw malformed(`got ${bytes.length} bytes, want at most ${RELEASE_FILE_MAX_BYTES}`);
  }
  const value = parseCanonicalJson(bytes);
  if (value === undefined) throw malformed("not canonical JSON; carry the file as it is");
  const problem = schemaProblem(releaseFileSchema, value);
  if (problem !== undefined) throw malformed(problem);
  const file = value as Record<"receipt" | "signature" | "encapsulated" | "ciphertext", string>;
  const receiptBytes = Buffer.from(file.receipt, "utf8");
  const receipt = readReceipt(receiptBytes);
  const sealed = {
    encapsulated: Buffer.from(file.encapsulated, "base64"),
    ciphertext: Buffer.from(file.ciphertext, "base64"),
  };
  if (sealedDigest(sealed) !== receipt.sealed) throw malformed("the sealed key is not the one that the receipt names");
  const read = { receipt, receiptBytes, signature: Buffer.from(file.signature, "latin1"), sealed };
  // Base64 has spellings that its pattern does not tell apart, and a signature is ASCII.
  if (!writeReleaseFile(read).equals(bytes)) throw malformed("not as it was written; carry the file as it is");
  return read;
}

/** @throws ATTEST_RELEASE_MALFORMED */
export function readReceipt(bytes: Buffer): Receipt {
  const malformed = (problem: string): Error => attestationError("ATTEST_RELEASE_MALFORMED", `receipt: ${problem}`);
  const value = parseCanonicalJson(bytes);
  if (value === undefined) throw malformed("not canonical JSON");
  const problem = schemaProblem(receiptSchema, value);
  if (problem !== undefined) throw malformed(problem);
  const receipt = value as Receipt;
  const [time, openUntil, validUntil] = [receipt.time, receipt.openUntil, receipt.validUntil].map((text) =>
    Date.parse(text),
  ) as [number, number, number];
  // NaN for a date that does not exist.
  if (!(time <= openUntil && time <= validUntil)) throw malformed("its times are in no order");
  return receipt;
}
