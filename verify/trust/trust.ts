/**
 * Release trust: whose keys count for which role, from TUF metadata (spec 1.0.31, client workflow 5.2 to
 * 5.6). Pure over bytes. The roles of signing-roles.ts are delegations of the top-level targets role; a
 * key carries its holder in the member `x-sealift-holder`, which TUF keeps and signs.
 *
 * tuf-js does the workflow. What TUF leaves open is checked here: only P-256 keys; a key under two ids,
 * in two roles or also held by root, and a holder twice in a role, are refused, since each would let one
 * person count as two.
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import type { Key, Metadata, Root, Targets } from "@tufjs/models";
import { TrustedMetadataStore } from "tuf-js/dist/store.js";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { ROLES, type Role } from "../../bundles/model/signing-roles.ts";
import { trustError } from "./error.ts";

/** The member of a TUF key that names the person or machine who holds it. */
export const HOLDER_MEMBER = "x-sealift-holder";
/** The TUF key type and scheme of ECDSA P-256 with SHA-256. */
export const TUF_KEY_TYPE = "ecdsa";
export const TUF_KEY_SCHEME = "ecdsa-sha2-nistp256";

export interface TrustKey {
  /** SHA-256 of the SubjectPublicKeyInfo in DER, 64 hexadecimal digits. */
  readonly fingerprint: string;
  /** The same in base64: the hint of a Sigstore bundle. */
  readonly hint: string;
  readonly holder: string;
  readonly publicKey: KeyObject;
}

export interface TrustRole {
  /** Distinct keys, and distinct holders, that must have signed. */
  readonly threshold: number;
  readonly keys: readonly TrustKey[];
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
}

/**
 * The trust that `files` (name → bytes, as in the directory) give at time `at`. `1.root.json` is trusted
 * as it stands: the caller has it from the site, or a person named it.
 * @throws TRUST_MALFORMED | TRUST_THRESHOLD | TRUST_EXPIRED | TRUST_ROLLBACK | TRUST_KEY_REUSED |
 * TRUST_HOLDER_TWICE | TRUST_ROLE_MISSING
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
  const file = (name: string): Buffer => {
    const bytes = files.get(name);
    if (!bytes) throw trustError("TRUST_MALFORMED", `release trust: ${name} is missing`);
    return bytes;
  };
  const first = file("1.root.json");
  const store = new TrustedMetadataStore(first);
  if (store.root.signed.version !== 1) {
    throw trustError("TRUST_MALFORMED", `release trust: 1.root.json has version ${store.root.signed.version}`);
  }
  lintRoot(store.root);
  // The workflow's "fixed update start time": ours is the time at which the verdict is asked for.
  // TypeScript calls the member private; there is no public way, and package.json pins tuf-js exactly.
  Reflect.set(store, "referenceTime", at);
  for (let version = 2; files.has(`${version}.root.json`); version += 1) {
    lintRoot(store.updateRoot(file(`${version}.root.json`)));
  }
  const rootVersion = store.root.signed.version;
  const beyond = [...files.keys()].find(
    (name) => name.endsWith(".root.json") && Number.parseInt(name, 10) > rootVersion,
  );
  if (beyond !== undefined) {
    throw trustError(
      "TRUST_ROLLBACK",
      `release trust: ${beyond} is there, but ${rootVersion + 1}.root.json is missing`,
    );
  }
  const timestamp = store.updateTimestamp(file("timestamp.json"));
  const snapshot = store.updateSnapshot(file(`${timestamp.signed.snapshotMeta.version}.snapshot.json`));
  const targetsVersion = snapshot.signed.meta["targets.json"]?.version;
  store.updateDelegatedTargets(file(`${targetsVersion}.targets.json`), "targets", "root");
  const targets = store.targets as Metadata<Targets>;
  const expiries = [store.root.signed, timestamp.signed, snapshot.signed, targets.signed].map(({ expires }) => expires);
  return {
    rootVersion,
    targetsVersion: targets.signed.version,
    rootFingerprint: createHash("sha256").update(first).digest("hex"),
    roles: readRoles(targets, store.root),
    expires: expiries.sort()[0] as string,
  };
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
  const publicKey = createPublicKey(key.keyVal["public"] ?? "");
  if (publicKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") refuse("not an ECDSA P-256 key");
  const hash = createHash("sha256")
    .update(publicKey.export({ format: "der", type: "spki" }))
    .digest();
  return { fingerprint: hash.toString("hex"), hint: hash.toString("base64"), holder: holder as string, publicKey };
}

/** Root's keys must be distinct keys of distinct holders, or its threshold counts one person twice. */
function lintRoot(root: Metadata<Root>): void {
  for (const [name, { keyIDs }] of Object.entries(root.signed.roles)) {
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

function lintDistinct(role: string, keys: readonly TrustKey[]): void {
  if (new Set(keys.map((key) => key.fingerprint)).size !== keys.length) {
    throw trustError("TRUST_KEY_REUSED", `release trust: role ${role} has one key twice`);
  }
  if (new Set(keys.map((key) => key.holder)).size !== keys.length) {
    throw trustError("TRUST_HOLDER_TWICE", `release trust: role ${role} has two keys of one holder`);
  }
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
    const keys = role.keyIDs.map((id) => trustKey(keyOf(delegations.keys, id)));
    lintDistinct(name, keys);
    for (const { fingerprint } of keys) {
      const other = rootKeys.has(fingerprint) ? "root" : usedBy.get(fingerprint);
      if (other !== undefined) {
        throw trustError("TRUST_KEY_REUSED", `release trust: key ${fingerprint} serves ${other} and ${name}`);
      }
      usedBy.set(fingerprint, name);
    }
    if (!Number.isSafeInteger(role.threshold) || role.threshold < 1 || role.threshold > keys.length) {
      throw trustError(
        "TRUST_THRESHOLD",
        `release trust: role ${name} asks for ${role.threshold} of ${keys.length} keys`,
      );
    }
    roles.set(name, {
      threshold: role.threshold,
      keys,
      paths: role.paths ?? [],
      covers: (appliance, version) => role.isDelegatedPath(`${appliance}/${version}`),
    });
  }
  return roles;
}
