/**
 * The VM's side of one challenge: the private half of the key to which the answer is sealed. It lives in memory, in
 * a file of a tmpfs, until the answer is opened, another challenge comes, or the machine goes down. The host key is
 * the site's own and stays: it tells the verifier that the same site answers.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { existsSync, statfsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { CHALLENGE_MAX_BYTES } from "../../verify/attestation/challenge.ts";
import { type Disk, makeDirectory, readStateFile, removeDurably, writeWhole } from "../site/disk.ts";
import { siteError } from "../site/error.ts";
import { readStateDocument, type StatePaths, writeStateDocument } from "../site/state.ts";
import { lifecycleError } from "./error.ts";

/** Systemd keeps /run in memory. */
export const DEFAULT_RUN = "/run/sealift";
const TMPFS_MAGIC = 0x01021994;
const RAMFS_MAGIC = 0x858458f6;
const KEY_FILE_MAX_BYTES = 4096;

export interface PendingAnswer {
  /** The bytes of the one challenge that was answered with this key. */
  readonly challenge: Buffer;
  readonly privateKey: Buffer;
  readonly publicKey: Buffer;
}

const base64 = (bytes: number): object => ({ type: "string", maxLength: Math.ceil(bytes / 3) * 4 });
const pendingSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "challenge", "privateKey", "publicKey"],
  properties: {
    schemaVersion: { const: 1 },
    challenge: base64(CHALLENGE_MAX_BYTES),
    privateKey: base64(32),
    publicKey: base64(32),
  },
};

/** Where files in memory lie: `directory`, or its nearest ancestor that is there. @throws ATTEST_RUN_NOT_MEMORY */
export function requireInMemory(directory: string): void {
  let at = directory;
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  const { type } = statfsSync(at);
  if (type === TMPFS_MAGIC || type === RAMFS_MAGIC) return;
  throw lifecycleError("ATTEST_RUN_NOT_MEMORY", `${JSON.stringify(directory)} does not lie in memory`, {
    hints: ["name a directory on a tmpfs with --run, e.g. --run /dev/shm/sealift; see `stat -f -c %T DIR`"],
  });
}

function pendingPath(run: string, siteId: string): string {
  return join(run, siteId, "answer.json");
}

/** Keeps it instead of an older one. @throws ATTEST_RUN_NOT_MEMORY | STATE_WRITE_FAILED | STATE_DISK_FULL */
export function keepAnswer(disk: Disk, run: string, siteId: string, answer: PendingAnswer): void {
  requireInMemory(run);
  for (const directory of [run, join(run, siteId)]) makeDirectory(disk, directory);
  writeStateDocument(disk, pendingPath(run, siteId), {
    schemaVersion: 1,
    challenge: answer.challenge.toString("base64"),
    privateKey: answer.privateKey.toString("base64"),
    publicKey: answer.publicKey.toString("base64"),
  });
}

/** @throws ATTEST_TRANSPORT_GONE if there is none | STATE_DAMAGED | STATE_UNREADABLE */
export function readAnswer(run: string, siteId: string): PendingAnswer {
  const value = readStateDocument(pendingPath(run, siteId), pendingSchema);
  if (value === undefined) {
    throw lifecycleError("ATTEST_TRANSPORT_GONE", "there is no transport key: nothing was asked, or it was used", {
      hints: [
        "it also goes with a reboot, and with a newer challenge; make a new challenge and go the three ways again",
      ],
    });
  }
  const { challenge, privateKey, publicKey } = value as Record<keyof PendingAnswer, string>;
  return {
    challenge: Buffer.from(challenge, "base64"),
    privateKey: Buffer.from(privateKey, "base64"),
    publicKey: Buffer.from(publicKey, "base64"),
  };
}

/** @throws STATE_WRITE_FAILED */
export function forgetAnswer(disk: Disk, run: string, siteId: string): void {
  removeDurably(disk, pendingPath(run, siteId));
}

export interface HostKey {
  readonly privateKey: KeyObject;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer;
}

/** Where the key lies by which verifiers know the site. */
export function hostKeyPath({ directory }: StatePaths): string {
  return join(directory, "site", "host-key.pem");
}

/** The site's host key, undefined if it was never asked for. @throws STATE_DAMAGED | STATE_UNREADABLE */
export function readHostKey(paths: StatePaths): HostKey | undefined {
  const path = hostKeyPath(paths);
  const pem = readStateFile(path, KEY_FILE_MAX_BYTES);
  if (pem === undefined) return undefined;
  let privateKey: KeyObject | undefined;
  try {
    privateKey = createPrivateKey(pem);
  } catch {
    // OpenSSL's own words may hold bytes of it.
  }
  if (privateKey?.asymmetricKeyType !== "ed25519") {
    throw siteError("STATE_DAMAGED", `${JSON.stringify(path)} is no Ed25519 key`, {
      hints: ["take it away for a new one; verifiers must then be told the new host key"],
    });
  }
  return { privateKey, spki: createPublicKey(privateKey).export({ type: "spki", format: "der" }) };
}

/** Made once. MUST be called under the site's lock. @throws STATE_DAMAGED | STATE_WRITE_FAILED | STATE_DISK_FULL */
export function makeHostKey(disk: Disk, paths: StatePaths): HostKey {
  const known = readHostKey(paths);
  if (known) return known;
  const { privateKey } = generateKeyPairSync("ed25519");
  writeWhole(disk, hostKeyPath(paths), Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })));
  return readHostKey(paths) as HostKey;
}
