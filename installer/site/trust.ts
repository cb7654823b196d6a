/**
 * The site's release trust: whose signatures count for a release here. It lies in `trust/<hex>`, where
 * <hex> is the digest of all its files together, and the ledger says which one it is (TrustPin): to change
 * it is to write one ledger entry, and whoever edits the directory is found out.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { TRUSTED_ROOT_TARGET } from "../../bundles/model/certificate-identity.ts";
import { type Digest, digestOf, hexOf } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { REVOCATION_KINDS, type Revocations } from "../../bundles/model/revocations.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { trustError } from "../../verify/trust/error.ts";
import { isTrustKey, loadTrust, type TrustRole } from "../../verify/trust/trust.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { type Disk, makeDirectory, removeTree, renameDurably, writeWhole } from "./disk.ts";
import { siteError } from "./error.ts";

export type TrustFiles = ReadonlyMap<string, Buffer>;

/** What the ledger says about the trust in force. */
export interface TrustPin {
  /** Of all files (`trustDigest`). */
  readonly digest: Digest;
  /** SHA-256 of `1.root.json`, 64 hexadecimal digits: pinned by the first import, never changed. */
  readonly rootFingerprint: string;
  /** Of what is signed in `1.root.json`, `2.root.json` … : their number is the root's version. */
  readonly roots: readonly Digest[];
  readonly targetsVersion: number;
  /** Of what is signed in the targets file. */
  readonly targets: Digest;
  readonly timestampVersion: number;
}

const digestSchema = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const pinProperties = {
  digest: digestSchema,
  rootFingerprint: { type: "string", pattern: "^[0-9a-f]{64}$" },
  roots: { type: "array", minItems: 1, maxItems: 1024, items: digestSchema },
  targetsVersion: { type: "integer", minimum: 1 },
  targets: digestSchema,
  timestampVersion: { type: "integer", minimum: 1 },
};
const trustPinSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: Object.keys(pinProperties),
  properties: pinProperties,
};

/** @throws STATE_DAMAGED */
export function parseTrustPin(value: unknown): TrustPin {
  const problem = schemaProblem(trustPinSchema, value);
  if (problem) throw siteError("STATE_DAMAGED", `pinned release trust: ${problem}`);
  return value as TrustPin;
}

/** The digest of the canonical JSON object that gives each file's digest by its name. */
export function trustDigest(files: TrustFiles): Digest {
  return digestOf(canonicalJson(Object.fromEntries([...files].map(([name, bytes]) => [name, digestOf(bytes)]))));
}

export interface CheckedTrust {
  readonly pin: TrustPin;
  readonly files: TrustFiles;
  /** Who counts for what, a line for each role and key: for the person who signs. */
  readonly lines: readonly string[];
}

/** A trust that holds at `at`. @throws TRUST_… as `loadTrust` */
export function checkTrust(files: TrustFiles, at: Date): CheckedTrust {
  const { rootFingerprint, rootVersion, targetsVersion, roles, revoked, trustedRoot } = loadTrust(files, at);
  const rootNames = Array.from({ length: rootVersion }, (_, i) => `${i + 1}.root.json`);
  const pin = parseTrustPin({
    digest: trustDigest(files),
    rootFingerprint,
    roots: rootNames.map((name) => digestOf(canonicalJson(signedPart(files, name)))),
    targetsVersion,
    targets: digestOf(canonicalJson(signedPart(files, `${targetsVersion}.targets.json`))),
    timestampVersion: signedPart(files, "timestamp.json").version,
  });
  const lines = [...roles].flatMap(([name, role]) => roleLines(name, role));
  if (trustedRoot) lines.push(`identities count by ${TRUSTED_ROOT_TARGET} ${digestOf(trustedRoot)}`);
  return { pin, files, lines: [...lines, ...revocationLines(revoked)] };
}

function roleLines(name: string, { threshold, keys, paths }: TrustRole): string[] {
  return [
    `${name}: ${threshold} of ${keys.length}, for ${paths.join(", ")}`,
    ...keys.map((signer) =>
      isTrustKey(signer)
        ? `${name} key ${signer.fingerprint} of ${signer.holder}`
        : plain(`${name} identity ${signer.identity} of issuer ${signer.issuer}, ${signer.holder}`),
    ),
  ];
}

function revocationLines(revoked: Revocations): string[] {
  return REVOCATION_KINDS.flatMap((kind) =>
    revoked[kind].map(({ id, at, reason }) => plain(`revoked ${kind.slice(0, -1)} ${id} at ${at}: ${reason}`)),
  );
}

/** What TUF signs in a file that `loadTrust` has accepted, whoever signed it. */
function signedPart(files: TrustFiles, name: string): { readonly version: unknown } {
  return (JSON.parse((files.get(name) as Buffer).toString("utf8")) as { signed: { version: unknown } }).signed;
}

/**
 * That `after` may follow `before`: the same first root, no version lower, and each version that the site
 * has says the same there. Without the last, a root key that was rotated away could sign another second
 * root. @throws TRUST_FINGERPRINT_MISMATCH | TRUST_ROLLBACK | TRUST_REWRITTEN
 */
export function requireSuccessor(before: TrustPin, after: TrustPin): void {
  requireFingerprint(after.rootFingerprint, before.rootFingerprint);
  for (const [what, got, want] of [
    ["root", after.roots.length, before.roots.length],
    ["targets", after.targetsVersion, before.targetsVersion],
    ["timestamp", after.timestampVersion, before.timestampVersion],
  ] satisfies [string, number, number][]) {
    if (got >= want) continue;
    throw trustError("TRUST_ROLLBACK", `release trust: got ${what} version ${got}, the site has ${want}`, {
      hints: ["this is an older trust than the site's; ask the publisher for the newest"],
    });
  }
  const other = before.roots.findIndex((root, i) => root !== after.roots[i]);
  if (other >= 0) throw rewritten(`${other + 1}.root.json`);
  if (after.targetsVersion === before.targetsVersion && after.targets !== before.targets) {
    throw rewritten(`${after.targetsVersion}.targets.json`);
  }
}

function rewritten(name: string): Error {
  return trustError("TRUST_REWRITTEN", `release trust: ${name} is not the one that the site has`, {
    hints: ["two histories of one trust: treat it as an attack until the publisher has explained it"],
  });
}

/** @throws TRUST_FINGERPRINT_MISMATCH */
export function requireFingerprint(got: string, want: string): void {
  if (got === want) return;
  throw trustError("TRUST_FINGERPRINT_MISMATCH", `1.root.json: got fingerprint ${got}, want ${want}`, {
    hints: ["this is not the publisher's trust whose fingerprint you hold; do not go on with it"],
  });
}

function trustPath(directory: string, digest: Digest): string {
  return join(directory, "trust", hexOf(digest));
}

/** The files of the trust in force. @throws TRUST_CHANGED, also if they cannot be read */
export function readPinnedTrust(directory: string, { digest }: TrustPin): TrustFiles {
  const path = trustPath(directory, digest);
  const changed = (message: string, cause?: unknown): Error =>
    siteError("TRUST_CHANGED", message, {
      cause,
      hints: [
        "somebody edited or removed the site's trust directory; keep what is there as evidence",
        "sealift trust import DIR with the publisher's directory puts it right",
      ],
    });
  let files: TrustFiles;
  try {
    files = readTrustDirectory(path);
  } catch (cause) {
    // It says of what.
    throw changed(reasonOf(cause), cause);
  }
  const got = trustDigest(files);
  if (got === digest) return files;
  throw changed(`release trust ${JSON.stringify(path)}: got ${got}`);
}

export function isTrustPlaced(directory: string, digest: Digest): boolean {
  return existsSync(trustPath(directory, digest));
}

function incomingPath(directory: string): string {
  return join(directory, "trust", ".incoming");
}

/** Writes `files` where `placeTrust` finds them; they are nobody's trust there. @throws STATE_WRITE_FAILED | STATE_DISK_FULL */
export function stageTrust(disk: Disk, directory: string, files: TrustFiles): void {
  const path = incomingPath(directory);
  makeDirectory(disk, join(directory, "trust"));
  removeTree(disk, path);
  makeDirectory(disk, path);
  for (const [name, bytes] of files) writeWhole(disk, join(path, name), bytes);
}

/**
 * Gives the staged files the name of their digest, in place of whatever has it; nothing if none are staged.
 * @throws TRUST_CHANGED if other files are staged | STATE_WRITE_FAILED
 */
export function placeTrust(disk: Disk, directory: string, { digest }: TrustPin): void {
  const incoming = incomingPath(directory);
  if (!existsSync(incoming)) return;
  const got = trustDigest(readTrustDirectory(incoming));
  if (got !== digest) throw siteError("TRUST_CHANGED", `release trust: got ${got} staged, want ${digest}`);
  dropTrust(disk, directory, digest);
  renameDurably(disk, incoming, trustPath(directory, digest));
}

/** @throws STATE_WRITE_FAILED */
export function dropTrust(disk: Disk, directory: string, digest: Digest): void {
  removeTree(disk, trustPath(directory, digest));
}
