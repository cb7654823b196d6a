/**
 * Fetches what a lock names into the cache. A file has a name there only when its hash was right, and the
 * hash is computed again each time it is used, because the cache may have been written by anyone.
 */
import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf } from "../../model/sealift-error.ts";
import { recipeError } from "./error.ts";

export interface Download {
  /** For messages: what it is, e.g. `libc6 2.41-12`. */
  readonly what: string;
  /** Where it may be, tried in turn; asked for only when it is not in the cache. */
  readonly urls: () => Promise<readonly string[]>;
  readonly algorithm: "sha256" | "sha512";
  readonly hex: string;
  /** Exact where the lock says so, and else the most that is accepted. */
  readonly size?: number;
  readonly maxBytes: number;
}

const ATTEMPTS = 3;
const BACKOFF_MS = 500;
/** Of silence, not in all: a slow line is no failure. */
const IDLE_TIMEOUT_MS = 60_000;

/**
 * The path of the downloaded file, whose hash has just been checked.
 * @throws SOURCE_PACKAGE_GONE if no URL has it; SOURCE_DOWNLOAD_FAILED after three attempts;
 * SOURCE_INTEGRITY_MISMATCH if other bytes came.
 */
export async function fetchToCache(download: Download, cacheDir: string): Promise<string> {
  const directory = join(cacheDir, "downloads");
  const path = join(directory, `${download.algorithm}-${download.hex}`);
  if (await hasHash(path, download)) return path;
  await mkdir(directory, { recursive: true });
  const urls = await download.urls();
  for (const url of urls) {
    const temporary = join(directory, `partial-${randomUUID()}`);
    try {
      if (await withRetries(url, download, temporary)) {
        await rename(temporary, path);
        return path;
      }
    } finally {
      await rm(temporary, { force: true });
    }
  }
  throw recipeError("SOURCE_PACKAGE_GONE", `${download.what}: none of ${urls.length} sources has it any more`, {
    hints: ["sealift bundle lock --appliance FILE   takes the versions that there are now"],
  });
}

async function hasHash(path: string, { algorithm, hex }: Download): Promise<boolean> {
  const hash = createHash(algorithm);
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw recipeError("RECIPE_BUILD_FAILED", `cache: ${reasonOf(cause)}`, { cause });
  }
  return hash.digest("hex") === hex;
}

/** Whether `url` had it. */
async function withRetries(url: string, download: Download, path: string): Promise<boolean> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await attemptDownload(url, download, path);
    } catch (cause) {
      if (cause instanceof Error && cause.name === "SealiftError") throw cause;
      if (attempt === ATTEMPTS || (cause as NodeJS.ErrnoException).code === "ENOSPC") {
        throw recipeError(
          "SOURCE_DOWNLOAD_FAILED",
          `${download.what} from ${JSON.stringify(withoutSecrets(url))}: ${causesOf(cause)}`,
          {
            cause,
          },
        );
      }
      await sleep(BACKOFF_MS * 4 ** (attempt - 1));
    }
  }
}

async function attemptDownload(url: string, download: Download, path: string): Promise<boolean> {
  const hash = createHash(download.algorithm);
  const limit = download.size ?? download.maxBytes;
  let size = 0;
  const body = httpBody(url);
  const first = await body.next();
  if (first.done) return false;
  const file = createWriteStream(path, { mode: 0o644 });
  const written = pipeline(async function* () {
    for await (const chunk of body) {
      size += chunk.byteLength;
      if (size > limit) throw mismatch(download, `more than ${limit} bytes`);
      hash.update(chunk);
      yield chunk;
    }
  }, file);
  // A pipeline that fails early ends before the file was opened; it would appear after the caller cleaned up.
  await written.finally(async () => file.closed || (await once(file, "close")));
  // A short answer is a broken line, and another attempt may do.
  if (download.size !== undefined && size < download.size) throw new Error(`got ${size} bytes, want ${download.size}`);
  const got = hash.digest("hex");
  if (got !== download.hex) throw mismatch(download, `${download.algorithm} ${got}`);
  return true;
}

function mismatch(download: Download, got: string): Error {
  return recipeError(
    "SOURCE_INTEGRITY_MISMATCH",
    `${download.what}: got ${got}, want ${download.algorithm} ${download.hex}`,
  );
}

/**
 * GET `url`. Ends at once, without a chunk, if there is no such thing (404 or 410); else gives an empty
 * chunk first and then the body. Any other status throws. Proxies only as Node itself is told of them.
 */
export async function* httpBody(url: string): AsyncGenerator<Uint8Array, void, void> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error(`silent for ${IDLE_TIMEOUT_MS} ms`)), IDLE_TIMEOUT_MS);
  try {
    const response = await fetch(url, { signal: controller.signal, headers: { "accept-encoding": "identity" } });
    if (!response.ok) await response.body?.cancel();
    if (response.status === 404 || response.status === 410) return;
    if (!response.ok) throw new Error(`status ${response.status}`);
    yield new Uint8Array(0);
    for await (const chunk of response.body ?? []) {
      timer.refresh();
      yield chunk as Uint8Array;
    }
  } finally {
    clearTimeout(timer);
    controller.abort();
  }
}

/** The whole body of a small answer, or undefined if there is no such thing. @throws SOURCE_DOWNLOAD_FAILED */
export async function fetchSmall(url: string, what: string, maxBytes: number): Promise<Buffer | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const chunks: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of httpBody(url)) {
        size += chunk.byteLength;
        if (size > maxBytes) throw new Error(`got more than ${maxBytes} bytes`);
        chunks.push(chunk);
      }
      return chunks.length === 0 ? undefined : Buffer.concat(chunks);
    } catch (cause) {
      if (attempt === ATTEMPTS) {
        const from = JSON.stringify(withoutSecrets(url));
        throw recipeError("SOURCE_DOWNLOAD_FAILED", `${what} from ${from}: ${causesOf(cause)}`, { cause });
      }
      await sleep(BACKOFF_MS * 4 ** (attempt - 1));
    }
  }
}

/** fetch says only "fetch failed"; what failed is in its cause. */
function causesOf(cause: unknown): string {
  const inner = cause instanceof Error ? cause.cause : undefined;
  return inner === undefined ? reasonOf(cause) : `${reasonOf(cause)}: ${reasonOf(inner)}`;
}

/** A mirror's address may hold a password; messages must not. */
export function withoutSecrets(url: string): string {
  const parsed = URL.parse(url);
  if (!parsed) return "an address that is none";
  parsed.username = "";
  parsed.password = "";
  parsed.search = "";
  return parsed.href;
}
