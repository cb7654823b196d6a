/**
 * What a publisher takes back: keys, holders, releases and confidential-VM chips. The list is a member of
 * the release trust's targets metadata, so it is signed, versioned and expires with it. It only grows.
 */
import type { JsonSchema } from "./schema.ts";

/** The member of TUF targets that holds the list. TUF clients keep and sign what they do not know. */
export const REVOKED_MEMBER = "x-sealift-revoked";

export const REVOCATION_KINDS = ["keys", "holders", "releases", "chips"] as const;

export type RevocationKind = (typeof REVOCATION_KINDS)[number];

export interface Revocation {
  /** A key's fingerprint; a holder's name; a release's digest; a chip's id in lower-case hexadecimal digits. */
  readonly id: string;
  /** In the publisher's words, for people. */
  readonly reason: string;
  /** When it was taken back, RFC 3339 in UTC. It counts for what was signed before, too. */
  readonly at: string;
}

export type Revocations = Readonly<Record<RevocationKind, readonly Revocation[]>>;

export const NO_REVOCATIONS: Revocations = { keys: [], holders: [], releases: [], chips: [] };

export const REVOCATION_PATTERNS: Readonly<Record<RevocationKind, string>> = {
  keys: "^[0-9a-f]{64}$",
  holders: "^[^\\p{Cc}]{1,128}$",
  releases: "^sha256:[0-9a-f]{64}$",
  // 64 bytes on AMD SEV-SNP, 16 or more elsewhere.
  chips: "^[0-9a-f]{32,256}$",
};

/** Of each kind: ten thousand would still be read in milliseconds, and nobody takes back so much. */
const REVOCATIONS_MAX = 10_000;
export const REVOCATION_REASON_MAX_LENGTH = 512;

const listSchema = (kind: RevocationKind): JsonSchema => ({
  type: "array",
  maxItems: REVOCATIONS_MAX,
  items: {
    type: "object",
    additionalProperties: false,
    required: ["id", "reason", "at"],
    properties: {
      id: { type: "string", pattern: REVOCATION_PATTERNS[kind] },
      reason: { type: "string", minLength: 1, maxLength: REVOCATION_REASON_MAX_LENGTH },
      at: { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$" },
    },
  },
});

export const revocationsSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: [...REVOCATION_KINDS],
  properties: Object.fromEntries(REVOCATION_KINDS.map((kind) => [kind, listSchema(kind)])),
};

/** The entry that takes `id` back, if there is one. */
export function revocationOf(revoked: Revocations, kind: RevocationKind, id: string): Revocation | undefined {
  return revoked[kind].find((entry) => entry.id === id);
}
