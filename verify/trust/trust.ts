/**
 * Release trust: whose keys count for which role, from TUF metadata (spec 1.0.31, client workflow 5.2 to
 * 5.6). Pure over bytes. The roles of signing-roles.ts are delegations of the top-level targets role; a
 * key carries its holder in the member `x-sealift-holder`, which TUF keeps and signs.
 *
 * tuf-js does the workflow. What TUF leaves open is checked here: only P-256 keys; a key under two ids,
 * in two roles or also held by root, and a holder twice in a role, are refused, since each would let one
 * person count as two.
 */
import { createHash, type KeyObject } from "node:crypto";
import { type Key, Metadata, MetadataKind, type Root, type Targets } from "@tufjs/models";
import { TrustedMetadataStore } from "tuf-js/dist/store.js";
import {
  type CertificateIdentity,
  IDENTITY_KEY_SCHEME,
  IDENTITY_KEY_TYPE,
  identityFingerprint,
  identityProblem,
  TRUSTED_ROOT_TARGET,
} from "../../bundles/model/certificate-identity.ts";
import { keyNames, parsePublicKey } from "../../bundles/model/public-key.ts";
import {
  NO_REVOCATIONS,
  REVOKED_MEMBER,
  type Revocations,
  revocationOf,
  revocationsSchema,
} from "../../bundles/model/revocations.ts";
import { schemaProblem } from "../../bundles/model/schema.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { ROLES, type Role } from "../../bundles/model/signing-roles.ts";
import { trustError } from "./error.ts";

/** The member of a TUF key that names the person or machine who holds it. */
export const HOLDER_MEMBER = "x-sealift-holder";
/** The member of a TUF timestamp that says when it was made. */
export const MADE_MEMBER = "x-sealift-made";
/** The TUF key type and scheme of ECDSA P-256 with SHA-256. */
export const TUF_KEY_TYPE = "ecdsa";
export const TUF_KEY_SCHEME = "ecdsa-sha2-nistp256";

/** What a delegation's `paths` may be: TUF patterns over `<appliance>/<version>`, without the rest of glob syntax. */
const PATH = /^(?:\*|[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\/\*$/;

export interface TrustKey {
  /** SHA-256 of the SubjectPublicKeyInfo in DER, 64 hexadecimal digits. */
  readonly fingerprint: string;
  /** The same in base64: the hint of a Sigstore bundle. */
  readonly hint: string;
  readonly holder: string;
  readonly publicKey: KeyObject;
}

/** Who signs with a certificate instead of a key. */
export interface TrustIdentity extends CertificateIdentity {
  /** Of the identity (bundles/model/certificate-identity.ts). */
  readonly fingerprint: string;
  readonly holder: string;
}

export type TrustSigner = TrustKey | TrustIdentity;

export function isTrustKey(signer: TrustSigner): signer is TrustKey {
  return "publicKey" in signer;
}

export interface TrustRole {
  /** Distinct keys or identities, and distinct holders, that must have signed. */
  readonly threshold: number;
  readonly keys: readonly TrustSigner[];
  /** TUF path patterns over `<appliance>/<version>`. */
  readonly paths: readonly string[];
  /** Whether the role may speak about this release. */
  readonly covers: (appliance: string, version: string) => boolean;
}

export interface Trust {
  readonly rootVersion: number;
  readonly targetsVersion: number;
  /** SHA-256 of `1.root.json`, 64 hexadecimal digits: what an operator compares with paper. */
  readonly rootFingerprint: string;
  readonly roles: ReadonlyMap<Role, TrustRole>;
  /** The earliest expiry of the metadata in use, RFC 3339. */
  readonly expires: string;
  readonly revoked: Revocations;
  /** When the timestamp was made, RFC 3339; a trust of an earlier Sealift does not say. */
  readonly made?: string;
  /** Sigstore's trusted_root.json: the authorities and logs by which identities count; there if a role has one. */
  readonly trustedRoot?: Buffer;
}

/**
 * The trust that `files` (name → bytes, as in the directory) give at time `at`. `1.root.json` is trusted
 * as it stands: the caller has it from the site, or a person named it.
 * @throws TRUST_MALFORMED | TRUST_THRESHOLD | TRUST_EXPIRED | TRUST_ROLLBACK | TRUST_KEY_REUSED |
 * TRUST_HOLDER_TWICE | TRUST_ROLE_MISSING | TRUST_TARGET_CHANGED
 */
export function loadTrust(files: ReadonlyMap<string, Buffer>, at: Date): Trust {
  try {
    return load(files, at);
  } catch (cause) {
    if (cause instanceof SealiftError) throw cause;
    throw trustError(codeOf(cause), `release trust: ${reasonOf(cause)}`, { cause });
  }
}

/** The names of the errors of tuf-js and @tufjs/models that mean something other than "malformed". */
function codeOf(cause: unknown): "TRUST_THRESHOLD" | "TRUST_EXPIRED" | "TRUST_ROLLBACK" | "TRUST_MALFORMED" {
  const name = cause instanceof Error ? cause.constructor.name : "";
  if (name === "UnsignedMetadataError") return "TRUST_THRESHOLD";
  if (name === "ExpiredMetadataError") return "TRUST_EXPIRED";
  return name === "BadVersionError" || name === "EqualVersionError" ? "TRUST_ROLLBACK" : "TRUST_MALFORMED";
}

function load(files: ReadonlyMap<string, Buffer>, at: Date): Trust {
  // Every comparison with an invalid date is false, so nothing would ever be expired.
  if (Number.isNaN(at.getTime())) throw new RangeError("the time to judge by is not a time");
  const first = fileOf(files, "1.root.json");
  const store = new TrustedMetadataStore(first);
  if (store.root.signed.version !== 1) {
    throw trustError("TRUST_MALFORMED", `release trust: 1.root.json has version ${store.root.signed.version}`);
  }
  lintRoot(store.root);
  // The workflow's "fixed update start time": ours is the time at which the verdict is asked for.
  // TypeScript calls the member private; there is no public way, and package.json pins tuf-js exactly.
  if (!Reflect.has(store, "referenceTime")) throw new TypeError("tuf-js no longer keeps its reference time there");
  Reflect.set(store, "referenceTime", at);
  for (let version = 2; files.has(`${version}.root.json`); version += 1) {
    lintRoot(store.updateRoot(fileOf(files, `${version}.root.json`)));
  }
  const rootVersion = store.root.signed.version;
  const beyond = [...files.keys()].find((name) => rootVersionOf(name) > rootVersion);
  if (beyond !== undefined) {
    throw trustError(
      "TRUST_ROLLBACK",
      `release trust: ${beyond} is there, but ${rootVersion + 1}.root.json is missing`,
    );
  }
  const timestamp = store.updateTimestamp(fileOf(files, "timestamp.json"));
  const snapshot = store.updateSnapshot(fileOf(files, `${timestamp.signed.snapshotMeta.version}.snapshot.json`));
  const targetsVersion = snapshot.signed.meta["targets.json"]?.version;
  store.updateDelegatedTargets(fileOf(files, `${targetsVersion}.targets.json`), "targets", "root");
  const targets = store.targets as Metadata<Targets>;
  const expiries = [store.root.signed, timestamp.signed, snapshot.signed, targets.signed].map(expiryOf);
  return {
    rootVersion,
    targetsVersion: targets.signed.version,
    rootFingerprint: createHash("sha256").update(first).digest("hex"),
    roles: readRoles(targets, store.root),
    expires: expiries.sort()[0] as string,
    revoked: readRevocations(targets, store.root),
    ...madeAt(timestamp.signed.unrecognizedFields[MADE_MEMBER]),
    ...trustedRootOf(targets, files),
  };
}

function madeAt(made: unknown): Pick<Trust, "made"> {
  return made === undefined ? {} : { made: expiryOf({ expires: String(made) }) };
}

/** The target as its hash names it; nothing if there is none. @throws TRUST_TARGET_CHANGED | TRUST_MALFORMED */
function trustedRootOf({ signed }: Metadata<Targets>, files: ReadonlyMap<string, Buffer>): Pick<Trust, "trustedRoot"> {
  const target = signed.targets[TRUSTED_ROOT_TARGET];
  if (!target) return {};
  const sha256 = target.hashes["sha256"] ?? "";
  if (!/^[0-9a-f]{64}$/.test(sha256)) {
    throw trustError("TRUST_MALFORMED", `release trust: target ${TRUSTED_ROOT_TARGET} has no SHA-256`);
  }
  const name = `${sha256}.${TRUSTED_ROOT_TARGET}`;
  const bytes = fileOf(files, name);
  if (bytes.length === target.length && createHash("sha256").update(bytes).digest("hex") === sha256) {
    return { trustedRoot: bytes };
  }
  throw trustError("TRUST_TARGET_CHANGED", `release trust: ${name} is not the file that the root keys signed for`);
}

/** What a release trust says, whether or not anybody has signed it. Never a reason to trust a key. */
export interface TrustClaim {
  readonly rootVersion: number;
  readonly targetsVersion: number;
  readonly rootThreshold: number;
  readonly rootKeys: readonly TrustKey[];
  readonly roles: ReadonlyMap<Role, TrustRole>;
  readonly revoked: Revocations;
  /** File name → expiry, of the newest file of each kind. */
  readonly expires: ReadonlyMap<string, string>;
}

/**
 * What the newest files say, checked as `loadTrust` checks them except for signatures, expiry and the
 * chain from the first root: for people who are to sign it, and for `trust show`.
 * @throws TRUST_MALFORMED | TRUST_KEY_REUSED | TRUST_HOLDER_TWICE | TRUST_ROLE_MISSING | TRUST_THRESHOLD
 */
export function readTrustClaim(files: ReadonlyMap<string, Buffer>): TrustClaim {
  try {
    const parse = (name: string) => JSON.parse(fileOf(files, name).toString("utf8"));
    const rootName = newestFile(files, "root");
    const targetsName = newestFile(files, "targets");
    const snapshotName = newestFile(files, "snapshot");
    const root = Metadata.fromJSON(MetadataKind.Root, parse(rootName));
    const targets = Metadata.fromJSON(MetadataKind.Targets, parse(targetsName));
    const snapshot = Metadata.fromJSON(MetadataKind.Snapshot, parse(snapshotName));
    const timestamp = Metadata.fromJSON(MetadataKind.Timestamp, parse("timestamp.json"));
    lintRoot(root);
    const rootRole = root.signed.roles["root"] as { readonly keyIDs: readonly string[]; readonly threshold: number };
    return {
      rootVersion: root.signed.version,
      targetsVersion: targets.signed.version,
      rootThreshold: rootRole.threshold,
      rootKeys: rootRole.keyIDs.map((id) => trustKey(keyOf(root.signed.keys, id))),
      roles: readRoles(targets, root),
      revoked: readRevocations(targets, root),
      expires: new Map([
        [rootName, expiryOf(root.signed)],
        [targetsName, expiryOf(targets.signed)],
        [snapshotName, expiryOf(snapshot.signed)],
        ["timestamp.json", expiryOf(timestamp.signed)],
      ]),
    };
  } catch (cause) {
    if (cause instanceof SealiftError) throw cause;
    throw trustError("TRUST_MALFORMED", `release trust: ${reasonOf(cause)}`, { cause });
  }
}

function newestFile(files: ReadonlyMap<string, Buffer>, kind: string): string {
  const versions = [...files.keys()]
    .filter((name) => name.endsWith(`.${kind}.json`))
    .map((name) => Number.parseInt(name, 10));
  return versions.length === 0 ? `1.${kind}.json` : `${Math.max(...versions)}.${kind}.json`;
}

function fileOf(files: ReadonlyMap<string, Buffer>, name: string): Buffer {
  const bytes = files.get(name);
  if (!bytes) throw trustError("TRUST_MALFORMED", `release trust: ${name} is missing`);
  return bytes;
}

function rootVersionOf(name: string): number {
  return name.endsWith(".root.json") ? Number.parseInt(name, 10) : 0;
}

/** One spelling only: `Date` reads "2030" and "Jan 1 2030", each in its own way, and they do not sort. */
function expiryOf({ expires }: { readonly expires: string }): string {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(expires)) {
    throw trustError("TRUST_MALFORMED", `release trust: time ${JSON.stringify(expires)} is not RFC 3339 in UTC`);
  }
  return expires;
}

/** The key of a TUF key entry. @throws TRUST_MALFORMED for anything but P-256. */
export function trustKey(key: Key): TrustKey {
  const holder = key.unrecognizedFields?.[HOLDER_MEMBER];
  const refuse = (what: string): never => {
    throw trustError("TRUST_MALFORMED", `release trust: key ${key.keyID}: ${what}`);
  };
  if (key.keyType !== TUF_KEY_TYPE || key.scheme !== TUF_KEY_SCHEME)
    refuse(`got ${key.keyType} ${key.scheme}, want ${TUF_KEY_TYPE} ${TUF_KEY_SCHEME}`);
  if (typeof holder !== "string" || holder.length === 0 || holder.length > 128) refuse(`no ${HOLDER_MEMBER}`);
  const publicKey = publicKeyOf(key);
  return { ...keyNames(publicKey), holder: holder as string, publicKey };
}

/** The key or the identity of a role's TUF key entry. @throws TRUST_MALFORMED */
export function trustSigner(key: Key): TrustSigner {
  if (key.keyType !== IDENTITY_KEY_TYPE) return trustKey(key);
  const who = { identity: key.keyVal["identity"] ?? "", issuer: key.keyVal["issuer"] ?? "" };
  const holder = key.unrecognizedFields?.[HOLDER_MEMBER];
  const problem =
    key.scheme !== IDENTITY_KEY_SCHEME
      ? `got ${key.keyType} ${key.scheme}, want ${IDENTITY_KEY_SCHEME}`
      : typeof holder !== "string" || holder.length === 0 || holder.length > 128
        ? `no ${HOLDER_MEMBER}`
        : identityProblem(who);
  if (problem === undefined) return { ...who, holder: holder as string, fingerprint: identityFingerprint(who) };
  throw trustError("TRUST_MALFORMED", `release trust: identity ${key.keyID}: ${problem}`);
}

function publicKeyOf(key: Key): KeyObject {
  try {
    return parsePublicKey(key.keyVal["public"] ?? "", `key ${key.keyID}`);
  } catch (cause) {
    throw trustError("TRUST_MALFORMED", `release trust: ${reasonOf(cause)}`, { cause });
  }
}

/** Root's keys must be distinct keys of distinct holders, or its threshold counts one person twice. */
function lintRoot(root: Metadata<Root>): void {
  expiryOf(root.signed);
  for (const [name, { keyIDs, threshold }] of Object.entries(root.signed.roles)) {
    lintThreshold(name, threshold, keyIDs);
    lintDistinct(
      name,
      keyIDs.map((id) => trustKey(keyOf(root.signed.keys, id))),
    );
  }
}

function keyOf(keys: Readonly<Record<string, Key>>, id: string): Key {
  const key = keys[id];
  if (!key) throw trustError("TRUST_MALFORMED", `release trust: key ${id} is named, but not there`);
  return key;
}

function lintThreshold(role: string, threshold: number, keys: readonly unknown[]): void {
  if (!Number.isSafeInteger(threshold) || threshold < 1 || threshold > keys.length) {
    throw trustError("TRUST_THRESHOLD", `release trust: role ${role} asks for ${threshold} of ${keys.length} keys`);
  }
}

function lintDistinct(role: string, keys: readonly TrustSigner[]): void {
  if (new Set(keys.map((key) => key.fingerprint)).size !== keys.length) {
    throw trustError("TRUST_KEY_REUSED", `release trust: role ${role} has one key twice`);
  }
  if (new Set(keys.map((key) => key.holder)).size !== keys.length) {
    throw trustError("TRUST_HOLDER_TWICE", `release trust: role ${role} has two keys of one holder`);
  }
}

/** What was taken back. A key or holder on the list must not stand in a role, or the list would be for show. */
function readRevocations(targets: Metadata<Targets>, root: Metadata<Root>): Revocations {
  const value = targets.signed.unrecognizedFields[REVOKED_MEMBER];
  if (value === undefined) return NO_REVOCATIONS;
  const problem = schemaProblem(revocationsSchema, value);
  if (problem !== undefined) throw trustError("TRUST_MALFORMED", `release trust: revocations: ${problem}`);
  const revoked = value as unknown as Revocations;
  const inUse = [...Object.values(root.signed.keys), ...Object.values(targets.signed.delegations?.keys ?? {})];
  for (const { fingerprint, holder } of inUse.map(trustSigner)) {
    const entry = revocationOf(revoked, "keys", fingerprint) ?? revocationOf(revoked, "holders", holder);
    if (entry) throw trustError("TRUST_REVOKED_IN_USE", `release trust: ${entry.id} is revoked, and is in a role`);
  }
  return revoked;
}

function readRoles(targets: Metadata<Targets>, root: Metadata<Root>): Map<Role, TrustRole> {
  const { delegations } = targets.signed;
  const rootKeys = new Set(Object.values(root.signed.keys).map((key) => trustKey(key).fingerprint));
  const usedBy = new Map<string, string>();
  const roles = new Map<Role, TrustRole>();
  for (const name of Object.keys(delegations?.roles ?? {})) {
    if (!ROLES.some((role) => role === name)) {
      throw trustError("TRUST_MALFORMED", `release trust: unknown role ${JSON.stringify(name)}`);
    }
  }
  for (const name of ROLES) {
    const role = delegations?.roles?.[name];
    if (!delegations || !role) throw trustError("TRUST_ROLE_MISSING", `release trust: no role ${name}`);
    const keys = role.keyIDs.map((id) => trustSigner(keyOf(delegations.keys, id)));
    if (!keys.every(isTrustKey) && !targets.signed.targets[TRUSTED_ROOT_TARGET]) {
      throw trustError(
        "TRUST_MALFORMED",
        `release trust: role ${name} names an identity, and there is no ${TRUSTED_ROOT_TARGET} to judge it by`,
      );
    }
    lintDistinct(name, keys);
    for (const { fingerprint } of keys) {
      const other = rootKeys.has(fingerprint) ? "root" : usedBy.get(fingerprint);
      if (other !== undefined) {
        throw trustError("TRUST_KEY_REUSED", `release trust: key ${fingerprint} serves ${other} and ${name}`);
      }
      usedBy.set(fingerprint, name);
    }
    lintThreshold(name, role.threshold, keys);
    const { paths } = role;
    if (!paths || paths.length === 0 || !paths.every((path) => PATH.test(path))) {
      throw trustError("TRUST_MALFORMED", `release trust: role ${name} wants paths of the form "appliance/*" or "*/*"`);
    }
    roles.set(name, {
      threshold: role.threshold,
      keys,
      paths,
      covers: (appliance, version) => role.isDelegatedPath(`${appliance}/${version}`),
    });
  }
  return roles;
}
