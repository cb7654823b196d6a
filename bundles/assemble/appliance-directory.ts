/** The appliance file and what lies beside it: its lock, its Compose file, its configuration schema. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import { type BlobSource, blobFromFile } from "../layout/blob-source.ts";
import { type ApplianceFile, type ApplianceLock, checkApplianceFile, checkApplianceLock } from "../model/appliance.ts";
import { digestFromHex } from "../model/digest.ts";
import { modelError } from "../model/error.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { assembleError } from "./error.ts";

/** YAML aliases can make a small file huge; an appliance file needs hardly any. */
const YAML_ALIASES_MAX = 100;

export interface ApplianceDirectory {
  readonly path: string;
  readonly root: string;
  readonly appliance: ApplianceFile;
}

/** @throws APPLIANCE_NOT_FOUND | APPLIANCE_MALFORMED */
export async function readApplianceDirectory(path: string): Promise<ApplianceDirectory> {
  const full = resolve(path);
  const text = await readText(full, "APPLIANCE_NOT_FOUND");
  return { path: full, root: dirname(full), appliance: checkApplianceFile(parseYaml(text, path)) };
}

/** Where the lock of the appliance file `path` lies: `appliance.yaml` → `appliance.lock.json`. */
export function lockPath(path: string): string {
  return join(dirname(path), `${basename(path).replace(/\.ya?ml$/, "")}.lock.json`);
}

/** @throws LOCK_MISSING | LOCK_MALFORMED */
export async function readLock(directory: ApplianceDirectory): Promise<ApplianceLock> {
  const path = lockPath(directory.path);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    throw assembleError("LOCK_MISSING", `no lock at ${JSON.stringify(path)}`, {
      cause,
      hints: [`sealift bundle lock --appliance ${directory.path}`],
    });
  }
  try {
    return checkApplianceLock(JSON.parse(text));
  } catch (cause) {
    if (cause instanceof SyntaxError)
      throw modelError("LOCK_MALFORMED", `lock ${JSON.stringify(path)}: not JSON`, { cause });
    throw cause;
  }
}

/** Replaces the lock at once: a reader sees the old one or the new one. @throws LOCK_WRITE_FAILED, and the old one is there */
export async function writeLock(directory: ApplianceDirectory, lock: ApplianceLock): Promise<string> {
  const path = lockPath(directory.path);
  try {
    const file = await open(`${path}.new`, "w");
    try {
      await file.writeFile(`${JSON.stringify(lock, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.new`, path);
    return path;
  } catch (cause) {
    await rm(`${path}.new`, { force: true }).catch(() => undefined);
    throw assembleError("LOCK_WRITE_FAILED", `lock: destination ${JSON.stringify(path)}: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

export async function readComposeFile(directory: ApplianceDirectory): Promise<unknown> {
  const path = join(directory.root, directory.appliance.compose);
  return parseYaml(await readText(path, "APPLIANCE_FILE_MISSING"), path);
}

export async function readConfigSchema(directory: ApplianceDirectory): Promise<unknown> {
  const path = join(directory.root, directory.appliance.configSchema);
  return parseYaml(await readText(path, "APPLIANCE_FILE_MISSING"), path);
}

/** A file that the release carries, read once for its digest, in constant memory. @throws APPLIANCE_FILE_MISSING */
export async function carriedBlob(directory: ApplianceDirectory, path: string): Promise<BlobSource> {
  const full = resolve(directory.root, path);
  try {
    const { size } = await stat(full);
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(full, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
    return blobFromFile(full, digestFromHex(hash.digest("hex")), size);
  } catch (cause) {
    throw assembleError("APPLIANCE_FILE_MISSING", `${JSON.stringify(full)}: ${reasonOf(cause)}`, { cause });
  }
}

async function readText(path: string, code: "APPLIANCE_NOT_FOUND" | "APPLIANCE_FILE_MISSING"): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw assembleError(code, `${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}

function parseYaml(text: string, path: string): unknown {
  try {
    return parse(text, { maxAliasCount: YAML_ALIASES_MAX, uniqueKeys: true });
  } catch (cause) {
    throw modelError("APPLIANCE_MALFORMED", `${JSON.stringify(path)}: ${reasonOf(cause).split("\n")[0]}`, { cause });
  }
}
