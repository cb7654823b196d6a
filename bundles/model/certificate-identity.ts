/**
 * Somebody who signs without a key of their own: a certificate authority (Sigstore's Fulcio) vouches for a
 * minute that an OpenID Connect issuer knows them. In TUF metadata it stands in a key's place, as TAP 18 has it.
 */
import { createHash } from "node:crypto";
import { canonicalJson } from "./canonical-json.ts";
import { plain } from "./plain-text.ts";

/** Who must have signed: what the certificate says of its holder, and who vouched for it. Both exact. */
export interface CertificateIdentity {
  /** The subject alternative name: an e-mail address, or the URI of a workflow. */
  readonly identity: string;
  /** The OpenID Connect issuer's URL. */
  readonly issuer: string;
}

/** TUF key type and scheme of an identity (TAP 18). */
export const IDENTITY_KEY_TYPE = "sigstore-oidc";
export const IDENTITY_KEY_SCHEME = "Fulcio";
/** The name of the TUF target that holds the authorities and logs by which identities count. */
export const TRUSTED_ROOT_TARGET = "trusted_root.json";

const PART_MAX_LENGTH = 1024;

/** Stands for an identity where a key's fingerprint does: SHA-256 of its canonical JSON, 64 hexadecimal digits. */
export function identityFingerprint({ identity, issuer }: CertificateIdentity): string {
  return createHash("sha256").update(canonicalJson({ identity, issuer })).digest("hex");
}

/** What is wrong with it; undefined if nothing is. A pattern would be taken at its letters: it matches only itself. */
export function identityProblem({ identity, issuer }: CertificateIdentity): string | undefined {
  for (const [name, text] of [
    ["identity", identity],
    ["issuer", issuer],
  ] as const) {
    if (typeof text !== "string" || text === "" || text.length > PART_MAX_LENGTH || plain(text) !== text) {
      return `got ${name} ${JSON.stringify(text)}, want 1 to ${PART_MAX_LENGTH} printable characters`;
    }
  }
  return /^https?:\/\/\S+$/.test(issuer) ? undefined : `got issuer ${JSON.stringify(issuer)}, want a URL`;
}
