/**
 * TLS for the appliance's clients until the customer brings a certificate: one of the site's own, from an
 * authority of the site's own. It has nothing to do with mTLS inside (identities.ts).
 *
 * Clients are asked to trust that authority, so it may vouch for this site's names only: whoever steals its
 * key cannot be another server. Other names therefore make another authority, and clients must be told.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { writeCertificate } from "../../compose/services/service-kit/src/certificate.ts";
import { type Disk, readStateFile, writeWhole } from "./disk.ts";
import { siteError } from "./error.ts";
import type { SecretFile } from "./identities.ts";

/** As in the state's file. */
interface AuthorityDocument {
  readonly schemaVersion: 1;
  readonly names: readonly string[];
  readonly privateKey: string;
  readonly certificate: string;
}

export interface ClientAuthority {
  readonly privateKey: KeyObject;
  /** PEM: what clients must trust. */
  readonly certificate: string;
  readonly names: readonly string[];
  /** Clients do not know it yet. */
  readonly isNew: boolean;
}

const DAY_MS = 24 * 60 * 60_000;
/** What clients accept at most, by the CA/Browser Forum's rules of 2020. */
const LEAF_DAYS = 397;
const AUTHORITY_DAYS = 10 * 365;
const BACKDATE_DAYS = 1;
const NAMES_MAX = 64;
const NAME_MAX_CHARACTERS = 253;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const FILE_MAX_BYTES = 64 * 1024;

const schema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "names", "privateKey", "certificate"],
  properties: {
    schemaVersion: { const: 1 },
    names: {
      type: "array",
      minItems: 1,
      maxItems: NAMES_MAX,
      items: { type: "string", maxLength: NAME_MAX_CHARACTERS },
    },
    privateKey: { type: "string" },
    certificate: { type: "string" },
  },
};

/**
 * The names of a server certificate, in order and once each: `configured`, or if that is empty this host's.
 * DNS names in their ASCII form without wildcard, IPv4 and IPv6 addresses; a host name that is none is left
 * out. Whether they lead here is not checked. @throws TLS_NAME_MALFORMED
 */
export function serverNames(configured: readonly string[], hostName: string, address: string): string[] {
  if (configured.length > NAMES_MAX) {
    throw siteError("TLS_NAME_MALFORMED", `names of the server: got ${configured.length}, want at most ${NAMES_MAX}`);
  }
  for (const name of configured) {
    if (isServerName(name)) continue;
    throw siteError(
      "TLS_NAME_MALFORMED",
      `name of the server: got ${JSON.stringify(name)}, want a DNS name or an address`,
      {
        hints: ["write a name with other letters in its ASCII form (xn--…); a wildcard needs a certificate of yours"],
      },
    );
  }
  const own = ["localhost", "127.0.0.1", address, hostName].filter((name) => isServerName(name) && name !== "0.0.0.0");
  const names = configured.length > 0 ? configured : own;
  return [...new Set(names.map((name) => name.toLowerCase()))];
}

function isServerName(name: string): boolean {
  // An IPv6 zone means something on one host only.
  if (isIP(name) !== 0) return !name.includes("%");
  const labels = name.toLowerCase().split(".");
  return (
    name.length <= NAME_MAX_CHARACTERS &&
    labels.every((label) => LABEL.test(label)) &&
    !/^\d+$/.test(labels.at(-1) ?? "")
  );
}

/**
 * The authority in the file `path` of the site's state. Makes another if there is none, if it may not vouch
 * for `names`, or if it ends before a certificate of today would. Mode 0400.
 * @throws STATE_DAMAGED | STATE_UNREADABLE | STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export function openClientAuthority(
  disk: Disk,
  path: string,
  { siteId, names, now }: { readonly siteId: string; readonly names: readonly string[]; readonly now: Date },
): ClientAuthority {
  const found = readClientAuthority(path);
  if (found && vouches(found, names, now)) return found;
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const subject = authoritySubject(siteId);
  const certificate = writeCertificate({
    subject,
    publicKey,
    issuer: { name: subject, privateKey },
    ...validity(now, AUTHORITY_DAYS),
    purposes: ["server"],
    authority: {
      pathLength: 0,
      limits: { dns: names.filter((name) => isIP(name) === 0), ip: names.filter((name) => isIP(name) !== 0) },
    },
  });
  const document: AuthorityDocument = { schemaVersion: 1, names, privateKey: pemOf(privateKey), certificate };
  writeWhole(disk, path, canonicalJson(document), 0o400);
  return { privateKey, certificate, names, isNew: true };
}

/** The authority that there is, fit or not. @throws STATE_DAMAGED | STATE_UNREADABLE */
export function readClientAuthority(path: string): ClientAuthority | undefined {
  const bytes = readStateFile(path, FILE_MAX_BYTES);
  return bytes && parseAuthority(path, bytes);
}

/** Whether it may vouch for `names` from now on for as long as a certificate lives. */
export function vouches(authority: ClientAuthority, names: readonly string[], now: Date): boolean {
  return names.every((name) => authority.names.includes(name)) && isFit(authority.certificate, now);
}

/**
 * The one file of a server certificate, `server.pem` in the rule's directory: private key (PKCS#8), leaf,
 * authority. One file, so that it is replaced in one step; it serves as certificate and as key.
 * New keys at each call. `names` are some of the authority's.
 */
export function makeServerCertificate(
  rule: { readonly directory: string; readonly uid: number },
  authority: ClientAuthority,
  { siteId, names, now }: { readonly siteId: string; readonly names: readonly string[]; readonly now: Date },
): SecretFile[] {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const leaf = writeCertificate({
    subject: `${authoritySubject(siteId)} server`,
    names,
    publicKey,
    issuer: { name: authoritySubject(siteId), privateKey: authority.privateKey },
    ...validity(now, LEAF_DAYS),
    purposes: ["server"],
  });
  const bytes = Buffer.from(pemOf(privateKey) + leaf + authority.certificate);
  return [{ path: `${rule.directory}/server.pem`, bytes, uid: rule.uid, mode: 0o400 }];
}

function authoritySubject(siteId: string): string {
  return `Sealift site ${siteId.slice(0, 8)}`;
}

function validity(now: Date, days: number): { readonly notBefore: Date; readonly notAfter: Date } {
  const start = now.getTime() - BACKDATE_DAYS * DAY_MS;
  return { notBefore: new Date(start), notAfter: new Date(start + days * DAY_MS) };
}

/** Also false if it begins in the future: it was made while the host's clock was wrong. */
function isFit(certificate: string, now: Date): boolean {
  const { validFromDate, validToDate } = new X509Certificate(certificate);
  return validFromDate <= now && validToDate.getTime() >= now.getTime() + LEAF_DAYS * DAY_MS;
}

function parseAuthority(path: string, bytes: Uint8Array): ClientAuthority {
  const value = parseCanonicalJson(bytes);
  if (schemaProblem(schema, value) === undefined) {
    const { names, certificate, privateKey: pem } = value as AuthorityDocument;
    try {
      const privateKey = createPrivateKey(pem);
      if (new X509Certificate(certificate).checkPrivateKey(privateKey)) {
        return { privateKey, certificate, names, isNew: false };
      }
    } catch {
      // OpenSSL's own words may hold bytes of the file.
    }
  }
  throw siteError("STATE_DAMAGED", `source ${JSON.stringify(path)}: want the authority of the server certificate`);
}

function pemOf(privateKey: KeyObject): string {
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}
