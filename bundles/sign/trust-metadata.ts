/**
 * Making release trust: TUF metadata in which the release roles are delegations (verify/trust reads it).
 *
 * Root, targets, snapshot and timestamp are all held by the root keys with the root threshold: across an
 * air gap there is no server that could hold an online key, so separate keys would be more to lose and
 * would protect nothing. Snapshot and timestamp are there because TUF clients expect them; they expire
 * first, so a site that gets no newer trust for a year says so.
 */
import { open, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { canonicalize } from "@tufjs/canonical-json";
import {
  Key,
  Metadata,
  MetadataKind,
  MetaFile,
  Root,
  Signature,
  Snapshot,
  TargetFile,
  Targets,
  Timestamp,
} from "@tufjs/models";
import { Delegations } from "@tufjs/models/dist/delegations.js";
import { DelegatedRole, Role as TufRole } from "@tufjs/models/dist/role.js";
import type { JSONValue } from "@tufjs/models/dist/utils/index.js";
import { makeDirectories } from "../layout/new-directory.ts";
import {
  type CertificateIdentity,
  IDENTITY_KEY_SCHEME,
  IDENTITY_KEY_TYPE,
  identityFingerprint,
  identityProblem,
  TRUSTED_ROOT_TARGET,
} from "../model/certificate-identity.ts";
import { digestOf, hexOf } from "../model/digest.ts";
import { plain } from "../model/plain-text.ts";
import { keyFingerprint, parsePublicKey } from "../model/public-key.ts";
import { NAME_PATTERN } from "../model/release-manifest.ts";
import { NO_REVOCATIONS, REVOKED_MEMBER, type Revocations } from "../model/revocations.ts";
import { reasonOf, SealiftError } from "../model/sealift-error.ts";
import { ROLES, type Role } from "../model/signing-roles.ts";
import { signError } from "./error.ts";
import { publicKeyPem } from "./key-file.ts";
import type { PublicKey } from "./public-key-file.ts";
import { hintedKey, type SigningKey, signBytes } from "./signing-key.ts";

/** What verify/trust/trust.ts reads them by. */
export const HOLDER_MEMBER = "x-sealift-holder";
/** When the timestamp was made: the root keys' word for the time, and by it the age of a trust is known. */
export const MADE_MEMBER = "x-sealift-made";
const KEY_TYPE = "ecdsa";
const KEY_SCHEME = "ecdsa-sha2-nistp256";
const SPEC_VERSION = "1.0.31";
export const ROOT_LIFETIME_DAYS = 3 * 365;
export const SNAPSHOT_LIFETIME_DAYS = 365;
const DAY_MS = 86_400_000;

export interface KeyHolder {
  readonly publicKey: PublicKey;
  readonly holder: string;
}

/** Who signs with a certificate instead of a key. */
export interface IdentityHolder extends CertificateIdentity {
  readonly holder: string;
}

export type RoleHolder = KeyHolder | IdentityHolder;

/** Stands for the holder's key or identity wherever two must be told apart. */
export function fingerprintOf(one: RoleHolder): string {
  return "publicKey" in one ? keyFingerprint(one.publicKey) : identityFingerprint(one);
}

/** Of Sigstore's trusted_root.json, by which identities count. */
export interface TrustedRootTarget {
  readonly length: number;
  /** 64 hexadecimal digits. */
  readonly sha256: string;
}

export interface TrustPlan {
  readonly root: readonly KeyHolder[];
  readonly rootThreshold: number;
  readonly roles: ReadonlyMap<Role, { readonly keys: readonly RoleHolder[]; readonly threshold: number }>;
  readonly trustedRoot?: TrustedRootTarget;
  /** The appliance that the roles may sign for, or `*`. */
  readonly appliance: string;
  readonly now: Date;
}

const HOLDER_MAX_LENGTH = 128;

/** @throws TRUST_LINT: what would let one person count as two, could never be signed, or could not be read aloud. */
export function lintTrustPlan(plan: TrustPlan): void {
  const used = new Map<string, string>();
  const refuse = (what: string): never => {
    throw signError("TRUST_LINT", `release trust: ${what}`);
  };
  if (plan.appliance !== "*" && !new RegExp(NAME_PATTERN).test(plan.appliance)) {
    refuse(`got appliance ${JSON.stringify(plan.appliance)}, want a name such as "gateway", or "*"`);
  }
  const groups: [string, readonly RoleHolder[], number][] = [["root", plan.root, plan.rootThreshold]];
  for (const role of ROLES) {
    const group = plan.roles.get(role) ?? refuse(`no --role ${role}=PUB; every role needs a key`);
    groups.push([role, group.keys, group.threshold]);
  }
  for (const [name, keys, threshold] of groups) {
    const holders = new Set(keys.map(({ holder }) => holder));
    if (holders.size !== keys.length) {
      refuse(`role ${name} has two keys of one holder; name different holders as PUB@HOLDER`);
    }
    for (const one of keys) {
      const { holder } = one;
      const problem = "publicKey" in one ? undefined : identityProblem(one);
      if (problem !== undefined) refuse(`role ${name}: ${problem}`);
      if (!("publicKey" in one) && !plan.trustedRoot) {
        refuse(`role ${name} names an identity: give the --trusted-root by which it counts`);
      }
      if (holder === "" || holder.length > HOLDER_MAX_LENGTH || plain(holder) !== holder) {
        refuse(`got holder ${JSON.stringify(holder)}, want 1 to ${HOLDER_MAX_LENGTH} printable characters`);
      }
      const fingerprint = fingerprintOf(one);
      const other = used.get(fingerprint);
      if (other !== undefined)
        refuse(other === name ? `role ${name} has one key twice` : `one key serves ${other} and ${name}`);
      used.set(fingerprint, name);
    }
    if (!Number.isSafeInteger(threshold) || threshold < 1 || threshold > keys.length) {
      refuse(`role ${name} asks for ${threshold} of ${keys.length} keys`);
    }
  }
}

function tufKey(one: RoleHolder): Key {
  const { holder } = one;
  const isKey = "publicKey" in one;
  const keyval: Record<string, string> = isKey
    ? { public: publicKeyPem(one.publicKey) }
    : { identity: one.identity, issuer: one.issuer };
  const content = {
    keytype: isKey ? KEY_TYPE : IDENTITY_KEY_TYPE,
    scheme: isKey ? KEY_SCHEME : IDENTITY_KEY_SCHEME,
    keyval,
    [HOLDER_MEMBER]: holder,
  };
  // The id covers the holder too: a key cannot be given another holder under the same id.
  const keyID = hexOf(digestOf(canonicalize(content)));
  return new Key({
    keyID,
    keyType: content.keytype,
    scheme: content.scheme,
    keyVal: keyval,
    unrecognizedFields: { [HOLDER_MEMBER]: holder },
  });
}

export type AnyMetadata = Metadata<Root> | Metadata<Targets> | Metadata<Snapshot> | Metadata<Timestamp>;

/** Name → unsigned metadata of version 1. @throws TRUST_LINT */
export function planTrust(plan: TrustPlan): Map<string, AnyMetadata> {
  lintTrustPlan(plan);
  return new Map<string, AnyMetadata>([
    ["1.root.json", renderRoot(plan, 1)],
    ["1.targets.json", renderTargets(plan, 1, NO_REVOCATIONS)],
    ...renderFreshness(plan, { snapshot: 1, timestamp: 1, targets: 1 }),
  ]);
}

/** Version and expiry of a file. */
function signedOptions({ now }: TrustPlan, version: number, days: number) {
  const expires = `${new Date(now.getTime() + days * DAY_MS).toISOString().slice(0, 19)}Z`;
  return { version, specVersion: SPEC_VERSION, expires };
}

export function renderRoot(plan: TrustPlan, version: number): Metadata<Root> {
  const rootKeys = plan.root.map(tufKey);
  const rootRole = { keyIDs: rootKeys.map((key) => key.keyID), threshold: plan.rootThreshold };
  const root = new Root({
    ...signedOptions(plan, version, ROOT_LIFETIME_DAYS),
    consistentSnapshot: true,
    keys: Object.fromEntries(rootKeys.map((key) => [key.keyID, key])),
    roles: Object.fromEntries(
      ["root", "targets", "snapshot", "timestamp"].map((name) => [name, new TufRole(rootRole)]),
    ),
  });
  return new Metadata(root);
}

/** Without the member for revocations as long as there are none: it would tell nothing. */
export function renderTargets(plan: TrustPlan, version: number, revoked: Revocations): Metadata<Targets> {
  const roles = ROLES.map((name) => {
    const group = plan.roles.get(name) as { keys: readonly RoleHolder[]; threshold: number };
    const keys = group.keys.map(tufKey);
    const paths = [`${plan.appliance}/*`];
    const keyIDs = keys.map((key) => key.keyID);
    return { keys, role: new DelegatedRole({ name, keyIDs, threshold: group.threshold, terminating: true, paths }) };
  });
  const isEmpty = Object.values(revoked).every((list) => list.length === 0);
  const targets = new Targets({
    ...signedOptions(plan, version, ROOT_LIFETIME_DAYS),
    unrecognizedFields: isEmpty ? {} : { [REVOKED_MEMBER]: structuredClone(revoked) as unknown as JSONValue },
    targets: trustedRootTargets(plan),
    delegations: new Delegations({
      keys: Object.fromEntries(roles.flatMap(({ keys }) => keys.map((key) => [key.keyID, key]))),
      roles: Object.fromEntries(roles.map(({ role }) => [role.name, role])),
    }),
  });
  return new Metadata(targets);
}

function trustedRootTargets({ trustedRoot }: TrustPlan): Record<string, TargetFile> {
  if (!trustedRoot) return {};
  const { length, sha256 } = trustedRoot;
  return { [TRUSTED_ROOT_TARGET]: new TargetFile({ length, path: TRUSTED_ROOT_TARGET, hashes: { sha256 } }) };
}

/** What a trust says of the file that `bytes` are, and the name under which it lies beside the metadata. */
export function trustedRootTarget(bytes: Buffer): { readonly target: TrustedRootTarget; readonly name: string } {
  const sha256 = hexOf(digestOf(bytes));
  return { target: { length: bytes.length, sha256 }, name: `${sha256}.${TRUSTED_ROOT_TARGET}` };
}

/** Snapshot and timestamp, by their names: which targets are in force, and until when one may believe that. */
export function renderFreshness(
  plan: TrustPlan,
  versions: { readonly snapshot: number; readonly timestamp: number; readonly targets: number },
): [string, AnyMetadata][] {
  const snapshot = new Snapshot({
    ...signedOptions(plan, versions.snapshot, SNAPSHOT_LIFETIME_DAYS),
    meta: { "targets.json": new MetaFile({ version: versions.targets }) },
  });
  const timestamp = new Timestamp({
    ...signedOptions(plan, versions.timestamp, SNAPSHOT_LIFETIME_DAYS),
    snapshotMeta: new MetaFile({ version: versions.snapshot }),
    unrecognizedFields: { [MADE_MEMBER]: `${plan.now.toISOString().slice(0, 19)}Z` },
  });
  return [
    [`${versions.snapshot}.snapshot.json`, new Metadata(snapshot)],
    ["timestamp.json", new Metadata(timestamp)],
  ];
}

/** The id of `key` among the keys of `root`, by its fingerprint: another tool may write the same PEM otherwise. */
function rootKeyId(root: Root, key: SigningKey): string | undefined {
  const fingerprint = keyFingerprint(hintedKey(key));
  const { keyIDs } = root.roles["root"] as TufRole;
  return keyIDs.find((id) => {
    const publicKey = parsePublicKey(root.keys[id]?.keyVal["public"] ?? "", `root key ${id}`);
    return keyFingerprint(publicKey) === fingerprint;
  });
}

/**
 * Signs with a root key every file that still lacks signatures which this key can give, and returns the
 * names of these files. A file that has enough stays as it is, byte for byte: a further signature in
 * `1.root.json` would change the fingerprint that is already on paper.
 * @throws TRUST_KEY_FOREIGN | SIGNER_FAILED
 */
export function signTrust(files: ReadonlyMap<string, AnyMetadata>, key: SigningKey): string[] {
  const demands = signatureDemands(files);
  if (demands.every(({ root }) => rootKeyId(root, key) === undefined)) {
    throw signError(
      "TRUST_KEY_FOREIGN",
      `key ${keyFingerprint(hintedKey(key))} is not a root key of this release trust`,
    );
  }
  const names = new Set<string>();
  for (const { file, root } of demands) {
    const metadata = files.get(file) as AnyMetadata;
    const keyID = rootKeyId(root, key);
    const { keyIDs, threshold } = root.roles["root"] as TufRole;
    const signed = keyIDs.filter((id) => holds(root, id, metadata)).length;
    if (keyID === undefined || signed >= threshold || holds(root, keyID, metadata)) continue;
    metadata.sign((bytes) => new Signature({ keyID, sig: signBytes(key, bytes).toString("hex") }), true);
    names.add(file);
  }
  return [...names];
}

/** Whether root key `id` has signed `metadata`. */
function holds(root: Root, id: string, metadata: AnyMetadata): boolean {
  try {
    root.keys[id]?.verifySignature(metadata);
    return root.keys[id] !== undefined;
  } catch {
    return false;
  }
}

/** The root metadata of `version`; of the highest if not said. @throws TRUST_LINT if there is none */
function rootOf(files: ReadonlyMap<string, AnyMetadata>, version?: number): Root {
  const roots = [...files.values()].flatMap(({ signed }) =>
    signed.type === MetadataKind.Root ? [signed as Root] : [],
  );
  const newest = roots.sort((a, b) => b.version - a.version).find((root) => root.version === (version ?? root.version));
  if (newest === undefined) throw signError("TRUST_LINT", `release trust: no root metadata ${version ?? ""}`.trimEnd());
  return newest;
}

/** The newest file of each kind, with a root whose keys must sign it: for a later root the one before it too. */
function signatureDemands(files: ReadonlyMap<string, AnyMetadata>): { readonly file: string; readonly root: Root }[] {
  const root = rootOf(files);
  const newest = new Map<MetadataKind, number>();
  for (const { signed } of files.values()) {
    newest.set(signed.type, Math.max(signed.version, newest.get(signed.type) ?? 0));
  }
  const current = [...files].filter(([, { signed }]) => signed.version === newest.get(signed.type));
  return current.flatMap(([file, { signed }]) => {
    const isLater = signed.type === MetadataKind.Root && signed.version > 1;
    return isLater
      ? [
          { file, root: rootOf(files, signed.version - 1) },
          { file, root },
        ]
      : [{ file, root }];
  });
}

export interface SigningState {
  readonly file: string;
  /** Distinct keys of root `root` that signed the file, verified, and how many it needs. */
  readonly signed: number;
  readonly threshold: number;
  /** The version of the root whose keys count: a later root is there twice, for the old keys and for its own. */
  readonly root: number;
}

/** How far the newest file of each kind is signed. */
export function signingState(files: ReadonlyMap<string, AnyMetadata>): SigningState[] {
  return signatureDemands(files).map(({ file, root }) => {
    const { keyIDs, threshold } = root.roles["root"] as TufRole;
    const signed = keyIDs.filter((id) => holds(root, id, files.get(file) as AnyMetadata)).length;
    return { file, signed, threshold, root: root.version };
  });
}

/**
 * The metadata in the files of a trust directory (verify/trust/trust-directory.ts), for signing and for
 * saying what is missing; verify/trust/trust.ts does the judging. @throws TRUST_UNPARSABLE
 */
export function parseTrustMetadata(files: ReadonlyMap<string, Buffer>): Map<string, AnyMetadata> {
  const parsed = new Map<string, AnyMetadata>();
  for (const [name, bytes] of files) {
    if (name.endsWith(`.${TRUSTED_ROOT_TARGET}`)) continue;
    try {
      const json = JSON.parse(bytes.toString("utf8")) as { signed: { _type: MetadataKind } };
      parsed.set(name, Metadata.fromJSON(json.signed._type as MetadataKind.Root, json as never));
    } catch (cause) {
      throw signError("TRUST_UNPARSABLE", `release trust: ${name}: ${reasonOf(cause)}`, { cause });
    }
  }
  return parsed;
}

async function writeWhole(path: string, content: string | Buffer): Promise<void> {
  try {
    const file = await open(`${path}.new`, "w", 0o644);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
  } catch (cause) {
    await rm(`${path}.new`, { force: true }).catch(() => undefined);
    throw cause;
  }
}

/**
 * Writes the files, each whole or not at all. With `isNew` the directory must hold no metadata yet, and
 * the root comes last, so that an interrupted `trust init` leaves nothing that looks like a trust. `targets`
 * are other files, by their names, that the metadata speaks of. A new one that cannot be written whole is not there.
 * @throws TRUST_EXISTS | TRUST_WRITE_FAILED
 */
export async function writeTrustMetadata(
  directory: string,
  files: ReadonlyMap<string, AnyMetadata>,
  isNew: boolean,
  targets: ReadonlyMap<string, Buffer> = new Map(),
): Promise<void> {
  const written: string[] = [];
  let takeBack = (): void => {};
  try {
    takeBack = makeDirectories(directory);
    if (isNew && (await readdir(directory)).some((name) => name.endsWith(".json"))) {
      throw signError("TRUST_EXISTS", `${JSON.stringify(directory)} holds metadata already`, {
        hints: ["choose another --out; a root is never overwritten"],
      });
    }
    const isRoot = (name: string): number => Number(name.endsWith(".root.json"));
    const sorted = [...files].sort(([a], [b]) => isRoot(a) - isRoot(b));
    const texts = sorted.map(([name, metadata]) => [name, `${JSON.stringify(metadata.toJSON(), null, 2)}\n`] as const);
    for (const [name, content] of [...targets, ...texts]) {
      const path = join(directory, name);
      await writeWhole(path, content);
      written.push(path);
    }
    const handle = await open(directory, "r");
    await handle.sync().finally(() => handle.close());
  } catch (cause) {
    // Without its root it is none, and would keep the same command from being run again.
    if (isNew) for (const path of written) await rm(path, { force: true });
    takeBack();
    if (cause instanceof SealiftError) throw cause;
    throw signError("TRUST_WRITE_FAILED", `release trust ${JSON.stringify(directory)}: ${reasonOf(cause)}`, { cause });
  }
}
