/**
 * The secrets of an appliance: made once, on the site, and never shown. What is there is never written
 * again, so an upgrade adds what its release needs and keeps the rest.
 *
 * Each file is mounted by itself, which the engine does as root. So the directories are root's alone, and
 * only the file belongs to the service that reads it.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import { lstatSync } from "node:fs";
import { dirname, join } from "node:path";
import type { SecretFiles, SecretRule } from "../../bundles/model/appliance-rules.ts";
import { type Disk, makeDirectory, readStateFile, syncNames, systemCode, unreadable, writeWhole } from "./disk.ts";
import { siteError } from "./error.ts";
import type { SecretFile } from "./identities.ts";

type IdentityRule = Extract<SecretRule, { readonly kind: "identity" }>;
type ServerCertificateRule = Extract<SecretRule, { readonly kind: "server-certificate" }>;
type SharedRule = Exclude<SecretRule, IdentityRule | ServerCertificateRule>;

/** What is made with keys of the site. Each returns exactly the files that `secretFiles` names. */
export interface SecretMakers {
  identity(rule: IdentityRule): readonly SecretFile[] | Promise<readonly SecretFile[]>;
  serverCertificate(rule: ServerCertificateRule): readonly SecretFile[] | Promise<readonly SecretFile[]>;
}

const SECRET_BYTES = 32;
const FILE_MAX_BYTES = 64 * 1024;

/** The files of `rule`, each with its one reader, in the order in which they are made. */
export function secretFiles(rule: SecretRule): SecretFiles {
  switch (rule.kind) {
    case "password":
    case "key":
      return rule.files;
    case "ed25519":
      return { ...rule.files, ...rule.publicFiles };
    case "identity":
      return { [`${rule.directory}/identity.pem`]: rule.uid };
    case "server-certificate":
      return { [`${rule.directory}/server.pem`]: rule.uid };
  }
}

/** The files, relative to `directory`, that `generateSecrets` would make. @throws STATE_UNREADABLE */
export function missingSecrets(directory: string, rules: readonly SecretRule[]): string[] {
  return rules.flatMap((rule) => Object.keys(secretFiles(rule)).filter((file) => !isThere(join(directory, file))));
}

/**
 * That files of one rule which share a value do, and that a key is one; only of rules of which no file is
 * missing. Nothing is written. @throws STATE_DAMAGED | STATE_UNREADABLE
 */
export function requireConsistentSecret(directory: string, rule: SecretRule): void {
  if (rule.kind === "identity" || rule.kind === "server-certificate") return;
  if (missingSecrets(directory, [rule]).length === 0) sharedValues(rule, directory, []);
}

/**
 * Makes what is missing and returns its names, relative to `directory`, which itself may be missing. A rule
 * of which a crash, or an older release, left only some files is completed with the value of those. Each
 * file is whole and on stable storage before its name appears. The owner is set by root only: others make
 * files of their own. @throws STATE_DAMAGED if a rule's files contradict each other | STATE_UNREADABLE |
 * STATE_WRITE_FAILED | STATE_DISK_FULL; what was made until then stays, and
 * is among what `missingSecrets` named before (`removeDurably` takes it away)
 */
export async function generateSecrets(
  disk: Disk,
  directory: string,
  rules: readonly SecretRule[],
  makers: SecretMakers,
): Promise<string[]> {
  const made: string[] = [];
  for (const rule of rules) {
    const missing = missingSecrets(directory, [rule]);
    const values = await valuesOf(rule, directory, missing, makers);
    for (const file of missing) {
      const value = values.get(file);
      const uid = secretFiles(rule)[file];
      if (!value || uid === undefined) throw new TypeError(`the maker of ${file} did not make it`);
      for (const path of directoriesOf(directory, file)) makeDirectory(disk, path);
      writeSecret(disk, join(directory, file), value, uid);
      made.push(file);
    }
  }
  // Of a run that was killed, names may be there that are not on stable storage yet.
  const all = rules.flatMap((rule) => Object.keys(secretFiles(rule)));
  for (const path of new Set(all.flatMap((file) => directoriesOf(directory, file)))) syncNames(disk, path);
  return made;
}

export const SECRET_MODE = 0o400;

/** Whole and on stable storage before its name appears. The owner is set by root only. @throws STATE_… */
export function writeSecret(disk: Disk, path: string, bytes: Uint8Array, uid: number): void {
  writeWhole(disk, path, bytes, SECRET_MODE, process.getuid?.() === 0 ? uid : undefined);
}

/** Each file's bytes; also of those that are there, for a rule whose files share a value. */
async function valuesOf(
  rule: SecretRule,
  directory: string,
  missing: readonly string[],
  makers: SecretMakers,
): Promise<ReadonlyMap<string, Buffer>> {
  if (rule.kind !== "identity" && rule.kind !== "server-certificate") return sharedValues(rule, directory, missing);
  if (missing.length === 0) return new Map();
  const files = await (rule.kind === "identity" ? makers.identity(rule) : makers.serverCertificate(rule));
  return new Map(files.map(({ path, bytes }) => [path, bytes]));
}

function sharedValues(rule: SharedRule, directory: string, missing: readonly string[]): ReadonlyMap<string, Buffer> {
  const present = Object.keys(rule.files).filter((file) => !missing.includes(file));
  const known = present.map((file) => readSecret(join(directory, file)));
  const [first] = known;
  if (known.some((value) => !value.equals(first as Buffer))) throw contradiction(directory, present);
  if (rule.kind !== "ed25519") {
    const value = first ?? randomValue(rule.kind);
    return new Map(Object.keys(rule.files).map((file) => [file, value]));
  }
  const publicPresent = Object.keys(rule.publicFiles).filter((file) => !missing.includes(file));
  // A new private key would leave everything that the lost one signed without a key that vouches for it.
  if (!first && publicPresent.length > 0) throw contradiction(directory, publicPresent);
  const { privateKey, publicKey } = keyPair(first, () => contradiction(directory, present));
  const publicBytes = Buffer.from(publicKey.export({ type: "spki", format: "pem" }).toString());
  const isOther = (file: string): boolean => !readSecret(join(directory, file)).equals(publicBytes);
  if (publicPresent.some(isOther)) throw contradiction(directory, [...present, ...publicPresent]);
  const privateBytes = first ?? Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  return new Map([
    ...Object.keys(rule.files).map((file) => [file, privateBytes] as const),
    ...Object.keys(rule.publicFiles).map((file) => [file, publicBytes] as const),
  ]);
}

/** As `SecretRule` says of the kind. */
export function randomValue(kind: "password" | "key"): Buffer {
  return Buffer.from(randomBytes(SECRET_BYTES).toString(kind === "key" ? "hex" : "base64url"));
}

/** A new pair, or the one of this PEM. OpenSSL's own words may hold bytes of it, so they are not passed on. */
function keyPair(pem: Buffer | undefined, otherwise: () => Error): { privateKey: KeyObject; publicKey: KeyObject } {
  if (!pem) return generateKeyPairSync("ed25519");
  let privateKey: KeyObject | undefined;
  try {
    privateKey = createPrivateKey(pem);
  } catch {}
  if (privateKey?.asymmetricKeyType !== "ed25519") throw otherwise();
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

/** @throws STATE_UNREADABLE | STATE_DAMAGED if it is empty */
function readSecret(path: string): Buffer {
  const bytes = readStateFile(path, FILE_MAX_BYTES);
  if (!bytes || bytes.length === 0) throw contradiction(dirname(path), [path]);
  return bytes;
}

function contradiction(directory: string, files: readonly string[]): Error {
  return siteError(
    "STATE_DAMAGED",
    `secrets in ${JSON.stringify(directory)}: ${files.map((file) => JSON.stringify(file)).join(", ")} do not fit together`,
    { hints: ["restore these files from a backup of the site; a new secret would not open what the old one protects"] },
  );
}

/** From the secrets directory itself down to the one that holds `file`. */
function directoriesOf(directory: string, file: string): string[] {
  const parent = dirname(file);
  return parent === "." ? [directory] : [...directoriesOf(directory, parent), join(directory, parent)];
}

function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (cause) {
    if (systemCode(cause) === "ENOTDIR") return false;
    throw unreadable(path, cause);
  }
}
