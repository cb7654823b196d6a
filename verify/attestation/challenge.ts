/**
 * The question that a verifier's machine asks a confidential VM, as a file that is carried there: a nonce, for which
 * policy, until when, and about which release on which site. REPORT_DATA of the answer is made of all of it, so
 * evidence for one question is evidence for no other.
 *
 * It is not signed: nobody need believe it but the verifier who made it and keeps it. A VM that answers somebody
 * else's challenge gives away a report, which is no secret.
 */
import { createHash, randomBytes } from "node:crypto";
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { attestationError } from "./error.ts";
import type { BoundKeys } from "./evidence.ts";
import { boundReportData } from "./report-data.ts";

export const CHALLENGE_MAX_BYTES = 4096;
const NONCE_BYTES = 32;
const MINUTE_MS = 60_000;
/** An answer is carried by hand, and a courier needs days; not months. */
export const CHALLENGE_MAX_MINUTES = 30 * 24 * 60;
const LABEL = "sealift-attestation-challenge-v1";

/** Null: not asked. The VM answers without looking at these, so an answer does not say that they are so there. */
export interface ChallengeSubject {
  readonly release: Digest | null;
  readonly siteId: string | null;
  readonly ledgerHead: Digest | null;
}

export interface Challenge extends ChallengeSubject {
  readonly schemaVersion: 1;
  readonly kind: "sealift-attestation-challenge";
  /** 64 hexadecimal digits. */
  readonly nonce: string;
  /** The only policy under which the answer counts. */
  readonly policy: Digest;
  /** RFC 3339, UTC, by the verifier's own clock. */
  readonly created: string;
  readonly expires: string;
}

const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const nullable = (schema: object): object => ({ anyOf: [schema, { type: "null" }] });
const instant = { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$" };
const members = {
  schemaVersion: { const: 1 },
  kind: { const: "sealift-attestation-challenge" },
  nonce: { type: "string", pattern: `^[0-9a-f]{${2 * NONCE_BYTES}}$` },
  policy: digest,
  release: nullable(digest),
  siteId: nullable({ type: "string", pattern: "^[0-9a-f]{32}$" }),
  ledgerHead: nullable(digest),
  created: instant,
  expires: instant,
};

/** Published as `sealift schema attestation-challenge`. */
export const challengeSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift attestation challenge",
  type: "object",
  additionalProperties: false,
  required: Object.keys(members),
  properties: members,
};

/** A new challenge's bytes, canonical JSON. `minutes` is at most CHALLENGE_MAX_MINUTES. */
export function makeChallenge(policy: Digest, subject: ChallengeSubject, now: Date, minutes: number): Buffer {
  const challenge: Challenge = {
    schemaVersion: 1,
    kind: "sealift-attestation-challenge",
    nonce: randomBytes(NONCE_BYTES).toString("hex"),
    policy,
    ...subject,
    created: now.toISOString(),
    expires: new Date(now.getTime() + minutes * MINUTE_MS).toISOString(),
  };
  return canonicalJson(challenge);
}

/** @throws ATTEST_CHALLENGE_MALFORMED, also for other than canonical JSON: REPORT_DATA is made of these bytes. */
export function readChallenge(bytes: Buffer): Challenge {
  const malformed = (problem: string): Error => attestationError("ATTEST_CHALLENGE_MALFORMED", `challenge: ${problem}`);
  if (bytes.length > CHALLENGE_MAX_BYTES) {
    throw malformed(`got ${bytes.length} bytes, want at most ${CHALLENGE_MAX_BYTES}`);
  }
  const value = parseCanonicalJson(bytes);
  if (value === undefined) throw malformed("not canonical JSON; carry the file as it is");
  const problem = schemaProblem(challengeSchema, value);
  if (problem !== undefined) throw malformed(problem);
  const challenge = value as Challenge;
  const minutes = (Date.parse(challenge.expires) - Date.parse(challenge.created)) / MINUTE_MS;
  // NaN for a date that does not exist.
  if (!(minutes > 0 && minutes <= CHALLENGE_MAX_MINUTES))
    throw malformed("its times are in no order, or too far apart");
  return challenge;
}

/** What REPORT_DATA of the answer is, 64 bytes: SHA-512 of a label, the length of the challenge and the challenge. */
export function challengeReportData(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return createHash("sha512").update(`${LABEL}\0`).update(length).update(bytes).digest();
}

/** A challenge that asks for all that the release of a key needs. */
export type CompleteChallenge = Challenge & { readonly [Name in keyof ChallengeSubject]-?: string };

export function isComplete(challenge: Challenge): challenge is Challenge & CompleteChallenge {
  const { release, siteId, ledgerHead } = challenge;
  return release !== null && siteId !== null && ledgerHead !== null;
}

/** What REPORT_DATA of an answer with keys is, or undefined if the challenge does not ask for enough. */
export function keyedReportData(bytes: Buffer, keys: Omit<BoundKeys, "signature">): Buffer | undefined {
  const challenge = readChallenge(bytes);
  if (!isComplete(challenge)) return undefined;
  const { release, siteId, ledgerHead, policy } = challenge;
  const { hostKey, transportKey } = keys;
  const nonce = Buffer.from(challenge.nonce, "hex");
  return boundReportData({
    nonce,
    release,
    siteId,
    ledgerHead,
    hostKey,
    transportKey,
    policy,
    challenge: digestOf(bytes),
  });
}

/** The release that a challenge names. @throws ATTEST_CHALLENGE_MALFORMED */
export function releaseAsked(challenge: Buffer | null | undefined): Digest | null {
  return challenge ? readChallenge(challenge).release : null;
}
