/**
 * Making release trust: TUF metadata in which the release roles are delegations (verify/trust reads it).
 *
 * Root, targets, snapshot and timestamp are all held by the root keys with the root threshold: across an
 * air gap there is no server that could hold an online key, so separate keys would be more to lose and
 * would protect nothing. Snapshot and timestamp are there because TUF clients expect them; they expire
 * first, so a site that gets no newer trust for a year says so.
 */
import { sign } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { canonicalize } from "@tufjs/canonical-json";
import { Key, Metadata, MetadataKind, MetaFile, Root, Signature, Snapshot, Targets, Timestamp } from "@tufjs/models";
import { Delegations } from "@tufjs/models/dist/delegations.js";
import { DelegatedRole, Role as TufRole } from "@tufjs/models/dist/role.js";
import { digestOf, hexOf } from "../model/digest.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { ROLES, type Role } from "../model/signing-roles.ts";
import { signError } from "./error.ts";
import { keyFingerprint, type PrivateKey, type PublicKey, publicKeyPem } from "./key-file.ts";

/** What verify/trust/trust.ts reads them by. */
const HOLDER_MEMBER = "x-sealift-holder";
const KEY_TYPE = "ecdsa";
const KEY_SCHEME = "ecdsa-sha2-nistp256";
const SPEC_VERSION = "1.0.31";
export const ROOT_LIFETIME_DAYS = 3 * 365;
export const SNAPSHOT_LIFETIME_DAYS = 365;

export interface KeyHolder {
  readonly publicKey: PublicKey;
  readonly holder: string;
}

export interface TrustPlan {
  readonly root: readonly KeyHolder[];
  readonly rootThreshold: number;
  readonly roles: ReadonlyMap<Role, { readonly keys: readonly KeyHolder[]; readonly threshold: number }>;
  /** The appliance that the roles may sign for, or `*`. */
  readonly appliance: string;
  readonly now: Date;
}

/** @throws TRUST_LINT: what would let one person count as two, or could never be signed. */
export function lintTrustPlan(plan: TrustPlan): void {
  const used = new Map<string, string>();
  const refuse = (what: string): never => {
    throw signError("TRUST_LINT", `release trust: ${what}`);
  };
  const groups: [string, readonly KeyHolder[], number][] = [["root", plan.root, plan.rootThreshold]];
  for (const role of ROLES) {
    const group = plan.roles.get(role) ?? refuse(`no --role ${role}=PUB; every role needs a key`);
    groups.push([role, group.keys, group.threshold]);
  }
  for (const [name, keys, threshold] of groups) {
    const holders = new Set(keys.map(({ holder }) => holder));
    if (holders.size !== keys.length) refuse(`role ${name} has two keys of one holder`);
    for (const { publicKey } of keys) {
      const fingerprint = keyFingerprint(publicKey);
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

function tufKey({ publicKey, holder }: KeyHolder): Key {
  const content = {
    keytype: KEY_TYPE,
    scheme: KEY_SCHEME,
    keyval: { public: publicKeyPem(publicKey) },
    [HOLDER_MEMBER]: holder,
  };
  // The id covers the holder too: a key cannot be given another holder under the same id.
  const keyID = hexOf(digestOf(canonicalize(content)));
  return new Key({
    keyID,
    keyType: KEY_TYPE,
    scheme: KEY_SCHEME,
    keyVal: content.keyval,
    unrecognizedFields: { [HOLDER_MEMBER]: holder },
  });
}

type AnyMetadata = Metadata<Root> | Metadata<Targets> | Metadata<Snapshot> | Metadata<Timestamp>;

/** Name → unsigned metadata of version 1. @throws TRUST_LINT */
export function planTrust(plan: TrustPlan): Map<string, AnyMetadata> {
  lintTrustPlan(plan);
  const expires = (days: number): string =>
    `${new Date(plan.now.getTime() + days * 86_400_000).toISOString().slice(0, 19)}Z`;
  const common = { version: 1, specVersion: SPEC_VERSION };
  const rootKeys = plan.root.map(tufKey);
  const rootRole = { keyIDs: rootKeys.map((key) => key.keyID), threshold: plan.rootThreshold };
  const root = new Root({
    ...common,
    expires: expires(ROOT_LIFETIME_DAYS),
    consistentSnapshot: true,
    keys: Object.fromEntries(rootKeys.map((key) => [key.keyID, key])),
    roles: Object.fromEntries(
      ["root", "targets", "snapshot", "timestamp"].map((name) => [name, new TufRole(rootRole)]),
    ),
  });
  const roles = ROLES.map((name) => {
    const group = plan.roles.get(name) as { keys: readonly KeyHolder[]; threshold: number };
    const keys = group.keys.map(tufKey);
    const paths = [`${plan.appliance}/*`];
    const keyIDs = keys.map((key) => key.keyID);
    return { keys, role: new DelegatedRole({ name, keyIDs, threshold: group.threshold, terminating: true, paths }) };
  });
  const targets = new Targets({
    ...common,
    expires: expires(ROOT_LIFETIME_DAYS),
    delegations: new Delegations({
      keys: Object.fromEntries(roles.flatMap(({ keys }) => keys.map((key) => [key.keyID, key]))),
      roles: Object.fromEntries(roles.map(({ role }) => [role.name, role])),
    }),
  });
  const snapshot = new Snapshot({
    ...common,
    expires: expires(SNAPSHOT_LIFETIME_DAYS),
    meta: { "targets.json": new MetaFile({ version: 1 }) },
  });
  const timestamp = new Timestamp({
    ...common,
    expires: expires(SNAPSHOT_LIFETIME_DAYS),
    snapshotMeta: new MetaFile({ version: 1 }),
  });
  return new Map<string, AnyMetadata>([
    ["1.root.json", new Metadata(root)],
    ["1.targets.json", new Metadata(targets)],
    ["1.snapshot.json", new Metadata(snapshot)],
    ["timestamp.json", new Metadata(timestamp)],
  ]);
}

/** The id of `key` among the root keys, by its fingerprint. */
function rootKeyId(root: Root, key: PrivateKey): string | undefined {
  const pem = publicKeyPem(key);
  return Object.values(root.keys).find((candidate) => candidate.keyVal["public"] === pem)?.keyID;
}

function addSignature(metadata: AnyMetadata, keyID: string, key: PrivateKey): void {
  metadata.sign((bytes) => new Signature({ keyID, sig: sign("sha256", bytes, key).toString("hex") }), true);
}

/** Signs all of `files` with a root key. @throws TRUST_KEY_FOREIGN */
export function signTrust(files: ReadonlyMap<string, AnyMetadata>, key: PrivateKey): void {
  const root = rootOf(files);
  const keyID = rootKeyId(root.signed, key);
  if (keyID === undefined) {
    throw signError("TRUST_KEY_FOREIGN", `key ${keyFingerprint(key)} is not a root key of this release trust`);
  }
  for (const metadata of files.values()) addSignature(metadata, keyID, key);
}

/** The root metadata of the highest version. */
function rootOf(files: ReadonlyMap<string, AnyMetadata>): Metadata<Root> {
  const names = [...files.keys()].filter((name) => name.endsWith(".root.json"));
  const newest = names.sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10))[0];
  const found = newest === undefined ? undefined : files.get(newest);
  if (found?.signed.type !== MetadataKind.Root) throw signError("TRUST_LINT", "release trust: no root metadata");
  return found as Metadata<Root>;
}

export interface SigningState {
  readonly file: string;
  /** Distinct root keys that signed the file, verified, and how many it needs. */
  readonly signed: number;
  readonly threshold: number;
}

/** How far each file is signed. */
export function signingState(files: ReadonlyMap<string, AnyMetadata>): SigningState[] {
  const root = rootOf(files).signed;
  const { keyIDs, threshold } = root.roles["root"] as TufRole;
  return [...files].map(([file, metadata]) => {
    const signed = keyIDs.filter((id) => {
      try {
        root.keys[id]?.verifySignature(metadata);
        return root.keys[id] !== undefined;
      } catch {
        return false;
      }
    }).length;
    return { file, signed, threshold };
  });
}

/** Reads the metadata of a trust directory for signing; verify/trust does the judging. @throws TRUST_LINT */
export async function readTrustMetadata(directory: string): Promise<Map<string, AnyMetadata>> {
  const files = new Map<string, AnyMetadata>();
  try {
    for (const name of (await readdir(directory)).filter((file) => file.endsWith(".json")).sort()) {
      const json = JSON.parse(await readFile(join(directory, name), "utf8")) as { signed: { _type: MetadataKind } };
      files.set(name, Metadata.fromJSON(json.signed._type as MetadataKind.Root, json as never));
    }
  } catch (cause) {
    throw signError("TRUST_LINT", `release trust ${JSON.stringify(directory)}: ${reasonOf(cause)}`, { cause });
  }
  return files;
}

/** Writes the files, each at once; with `isNew` the directory must not hold a trust yet. @throws TRUST_EXISTS | TRUST_WRITE_FAILED */
export async function writeTrustMetadata(
  directory: string,
  files: ReadonlyMap<string, AnyMetadata>,
  isNew: boolean,
): Promise<void> {
  if (isNew && (await stat(join(directory, "1.root.json")).catch(() => undefined))) {
    throw signError("TRUST_EXISTS", `${JSON.stringify(directory)} holds a release trust already`, {
      hints: ["choose another --out; a root is never overwritten"],
    });
  }
  try {
    await mkdir(directory, { recursive: true });
    for (const [name, metadata] of files) {
      const path = join(directory, name);
      const file = await open(`${path}.new`, "w", 0o644);
      try {
        await file.writeFile(`${JSON.stringify(metadata.toJSON(), null, 2)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(`${path}.new`, path);
    }
  } catch (cause) {
    throw signError("TRUST_WRITE_FAILED", `release trust ${JSON.stringify(directory)}: ${reasonOf(cause)}`, { cause });
  }
}
