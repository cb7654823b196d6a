/** Keys and release trusts for tests, made in memory; and a way to make one that no publisher would. */
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { canonicalize } from "@tufjs/canonical-json";
import { keyNames } from "../../bundles/model/public-key.ts";
import { ROLES, type Role } from "../../bundles/model/signing-roles.ts";
import { publicKeyPem } from "../../bundles/sign/key-file.ts";
import { planTrust, signTrust } from "../../bundles/sign/trust-metadata.ts";
import type { TrustKey } from "../../verify/trust/trust.ts";

export function makeKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

export function trustKeyOf(privateKey: KeyObject, holder: string): TrustKey {
  const publicKey = createPublicKey(privateKey);
  return { ...keyNames(publicKey), holder, publicKey };
}

export const NOW = new Date("2026-06-01T00:00:00Z");

export interface TestTrust {
  readonly rootKeys: readonly KeyObject[];
  readonly roleKeys: Readonly<Record<Role, readonly KeyObject[]>>;
  /** As in a trust directory. */
  readonly files: Map<string, Buffer>;
}

/** A whole release trust: two root keys of which both sign, one key a role, or as many as `perRole` says. */
export function testTrust(perRole: Partial<Record<Role, number>> = {}, appliance = "*"): TestTrust {
  const rootKeys = [makeKey(), makeKey()];
  const roleKeys = Object.fromEntries(
    ROLES.map((role) => [role, Array.from({ length: perRole[role] ?? 1 }, makeKey)]),
  ) as Record<Role, KeyObject[]>;
  const held = (name: string, keys: readonly KeyObject[]) =>
    keys.map((key, i) => ({ publicKey: createPublicKey(key), holder: `${name}-${i + 1}` }));
  const metadata = planTrust({
    root: held("root", rootKeys),
    rootThreshold: 2,
    roles: new Map(ROLES.map((role) => [role, { keys: held(role, roleKeys[role]), threshold: roleKeys[role].length }])),
    appliance,
    now: NOW,
  });
  for (const key of rootKeys) signTrust(metadata, key);
  const files = new Map([...metadata].map(([name, value]) => [name, Buffer.from(JSON.stringify(value.toJSON()))]));
  return { rootKeys, roleKeys, files };
}

export interface TufKeyJson {
  keytype: string;
  scheme: string;
  keyval: { public: string };
  "x-sealift-holder"?: string;
}

export interface TufRoleJson {
  name?: string;
  keyids: string[];
  threshold: number;
  paths?: string[];
  path_hash_prefixes?: string[];
  terminating?: boolean;
}

/** The `signed` part of any of the four files, open to be broken. */
export interface SignedJson {
  version: number;
  expires: string;
  keys: Record<string, TufKeyJson>;
  roles: Record<string, TufRoleJson>;
  meta: Record<string, { version: number }>;
  delegations: { keys: Record<string, TufKeyJson>; roles: TufRoleJson[] };
}

export function tufKeyJson(key: KeyObject, holder: string): TufKeyJson {
  return {
    keytype: "ecdsa",
    scheme: "ecdsa-sha2-nistp256",
    keyval: { public: publicKeyPem(key) },
    "x-sealift-holder": holder,
  };
}

export function readSigned(files: ReadonlyMap<string, Buffer>, name: string): SignedJson {
  return (JSON.parse((files.get(name) as Buffer).toString()) as { signed: SignedJson }).signed;
}

/** Replaces or adds a file, signed with `signers` under the key ids that it is told. */
export function writeSigned(
  files: Map<string, Buffer>,
  name: string,
  signed: SignedJson,
  signers: readonly (readonly [string, KeyObject])[],
): void {
  const bytes = Buffer.from(canonicalize(signed));
  const signatures = signers.map(([keyid, key]) => ({ keyid, sig: sign("sha256", bytes, key).toString("hex") }));
  files.set(name, Buffer.from(JSON.stringify({ signatures, signed })));
}

/** The id under which `key` stands in `keys`. */
export function keyIdOf(keys: Readonly<Record<string, TufKeyJson>>, key: KeyObject): string {
  const pem = publicKeyPem(key);
  return Object.entries(keys).find(([, value]) => value.keyval.public === pem)?.[0] ?? "";
}

/** Changes one file's `signed` part and signs it anew with all root keys. */
export function resign(trust: TestTrust, name: string, change: (signed: SignedJson) => void): void {
  const { keys } = readSigned(trust.files, "1.root.json");
  const signed = readSigned(trust.files, name);
  change(signed);
  writeSigned(
    trust.files,
    name,
    signed,
    trust.rootKeys.map((key) => [keyIdOf(keys, key), key]),
  );
}

export function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** For `assert.throws` and `assert.rejects`: an error of Sealift's with this code. */
export const coded = (code: string) => (error: { code?: string }) => {
  if (error.code === code) return true;
  throw new Error(`got ${error.code}: ${String(error)}, want ${code}`);
};
