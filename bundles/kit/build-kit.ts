/**
 * Builds the kit: Sealift itself as one tar for the other side of the gap, with everything that a site
 * needs to run it, and beside it what an operator needs to check it with coreutils and openssl alone:
 *
 * - FILE: an uncompressed tar of one directory, `sealift-VERSION-PLATFORM/`, everything owned by root;
 * - FILE.sha256: its digest, as `sha256sum --check` reads it;
 * - FILE.sig, FILE.pub: ECDSA P-256 over SHA-256 in DER, as `openssl dgst -verify` reads it, and the public
 *   key, whose fingerprint travels on paper. Only with a key.
 * - FILE.provenance.json: what it was made of, signed by the same key, as `cosign verify-blob-attestation` reads it.
 *
 * In the directory each of Sealift's Markdown files has its HTML page beside it, `SHA256SUMS` names every other file, so that an installed kit can be compared with what
 * was shipped, and `kit.cdx.json` is the kit's SBOM. The same commit gives the same bytes, whatever the
 * clock, the directory, the umask or the user.
 */
import { createHash, createSign } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, open, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, posix } from "node:path";
import { type Digest, digestFromHex, hexOf } from "../model/digest.ts";
import { PREDICATE_SLSA_PROVENANCE } from "../model/media-types.ts";
import type { ReleaseBuilder } from "../model/release-provenance.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { type PrivateKey, publicKeyPem } from "../sign/key-file.ts";
import { signStatement, statementFor } from "../sign/statement.ts";
import { type Content, readContent, type TreeEntry } from "../source/recipe/file-tree.ts";
import { tarBytes } from "../source/recipe/layer.ts";
import type { EngineHost, KitPlatform } from "./debian-packages.ts";
import { kitError } from "./error.ts";
import { gatherKitFiles, type KitFile } from "./kit-files.ts";
import { kitProvenance } from "./kit-provenance.ts";
import { kitSbom } from "./kit-sbom.ts";
import { runbookPages } from "./runbook-pages.ts";

export const KIT_SUMS = "SHA256SUMS";
export const KIT_SBOM = "kit.cdx.json";
const CHUNK_BYTES = 1024 * 1024;
const BESIDE = [".sha256", ".sig", ".pub", ".provenance.json"] as const;

export interface KitOptions {
  /** The checkout that the kit is made from. */
  readonly root: string;
  readonly platform: KitPlatform;
  /** Replaced if it exists, with the files beside it. */
  readonly out: string;
  /** ECDSA P-256. Without it the kit is not signed. */
  readonly key: PrivateKey | undefined;
  /** This program, for the provenance. */
  readonly builder: ReleaseBuilder;
  readonly cacheDir: string;
  /** Hosts whose engine goes in. */
  readonly engines: readonly EngineHost[];
  readonly onProgress: (detail: string) => void;
}

export interface BuiltKit {
  readonly digest: Digest;
  readonly bytes: number;
  readonly files: number;
  /** Of the registry, Node among them. */
  readonly packages: number;
  /** Of Debian, for the hosts that were asked for. */
  readonly enginePackages: number;
  readonly version: string;
  readonly commit: string;
  /** Tracked files in the checkout differ from the commit; their changes are not in the kit. */
  readonly isDirty: boolean;
  /** What was written, FILE first. */
  readonly written: readonly string[];
}

/** @throws KIT_WRITE_FAILED, and what `gatherKitFiles` and `kitSbom` throw. Nothing unfinished is left at `out`. */
export async function buildKit(options: KitOptions): Promise<BuiltKit> {
  const spool = await mkdtemp(join(tmpdir(), "sealift-kit-"));
  try {
    const kit = await gatherKitFiles({ ...options, spool });
    options.onProgress("runbooks");
    for (const [path, text] of await pagesOf(kit.files)) addBytes(kit.files, path, Buffer.from(text));
    options.onProgress("SBOM");
    addBytes(kit.files, KIT_SBOM, await kitSbom(kit, options.platform));
    options.onProgress("checksums");
    addBytes(kit.files, KIT_SUMS, await checksums(kit.files));
    options.onProgress("writing");
    const top = `sealift-${kit.version}-${options.platform.replace("/", "-")}`;
    const provenance = kitProvenance(kit, options, options.builder);
    const { digest, bytes, written } = await writeKit(tarBytes(withDirectories(top, kit.files)), provenance, options);
    return {
      digest,
      bytes,
      files: kit.files.size,
      packages: kit.packages.size,
      enginePackages: kit.debian.filter(({ isLibrary }) => !isLibrary).length,
      version: kit.version,
      commit: kit.commit,
      isDirty: kit.isDirty,
      written,
    };
  } finally {
    await rm(spool, { recursive: true, force: true });
  }
}

/** Of Sealift's own Markdown; what packages bring stays as it is. */
async function pagesOf(files: ReadonlyMap<string, KitFile>): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const [path, file] of files) {
    if (file.type !== "file" || !path.endsWith(".md") || path.startsWith("node_modules/")) continue;
    texts.set(path, readContent(file.content).toString("utf8"));
  }
  return runbookPages(texts, new Set(files.keys()));
}

function addBytes(files: Map<string, KitFile>, path: string, bytes: Buffer): void {
  if (files.has(path)) throw kitError("KIT_SOURCE_REFUSED", `${JSON.stringify(path)} is a name that the kit needs`);
  files.set(path, { type: "file", mode: 0o644, uid: 0, gid: 0, content: { bytes } });
}

/**
 * The lines of SHA256SUMS, sorted by path. A link stands under its own name with the hash of what it leads
 * to, as sha256sum sees it, so that a link that was turned elsewhere is noticed.
 */
async function checksums(files: ReadonlyMap<string, KitFile>): Promise<Buffer> {
  const lines: string[] = [];
  for (const path of [...files.keys()].sort()) {
    // coreutils would escape it, and then the line is not what is read back.
    if (/[\\\n\r]/.test(path)) throw kitError("KIT_SOURCE_REFUSED", `${JSON.stringify(path)} is not a plain path`);
    lines.push(`${await sha256(contentAt(files, path))}  ${path}\n`);
  }
  return Buffer.from(lines.join(""));
}

function contentAt(files: ReadonlyMap<string, KitFile>, path: string): Content {
  const entry = files.get(path);
  const target = entry?.type === "symlink" ? files.get(posix.join(posix.dirname(path), entry.target)) : entry;
  if (target?.type !== "file") throw kitError("KIT_SOURCE_REFUSED", `${JSON.stringify(path)} is a link to nothing`);
  return target.content;
}

async function sha256(content: Content): Promise<string> {
  const hash = createHash("sha256");
  if ("bytes" in content) return hash.update(content.bytes).digest("hex");
  const { file, position, size } = content;
  if (size > 0) {
    const range = { start: position, end: position + size - 1, highWaterMark: CHUNK_BYTES };
    for await (const chunk of createReadStream(file, range)) hash.update(chunk as Buffer);
  }
  return hash.digest("hex");
}

/** Everything below `top`, with each directory before what is in it: an unpacker's umask must not decide their modes. */
function withDirectories(top: string, files: ReadonlyMap<string, KitFile>): [string, TreeEntry][] {
  const entries = new Map<string, TreeEntry>();
  for (const [path, entry] of files) {
    entries.set(`${top}/${path}`, entry);
    for (let parent = posix.dirname(`${top}/${path}`); parent !== "."; parent = posix.dirname(parent)) {
      entries.set(parent, { type: "directory", mode: 0o755, uid: 0, gid: 0 });
    }
  }
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
}

interface WrittenKit {
  readonly digest: Digest;
  readonly bytes: number;
  readonly written: readonly string[];
}

/** FILE takes its name last: whoever sees it sees the right files beside it. */
async function writeKit(
  tar: AsyncIterable<Buffer>,
  provenance: object,
  { out, key }: Pick<KitOptions, "out" | "key">,
): Promise<WrittenKit> {
  const partial = `${out}.partial`;
  const written: string[] = [];
  const hash = createHash("sha256");
  const signer = key && createSign("sha256");
  try {
    const bytes = await writeAll(partial, tar, (chunk) => {
      hash.update(chunk);
      signer?.update(chunk);
    });
    // The files of an earlier kit of this name must not stand beside the new one.
    for (const suffix of ["", ...BESIDE]) await rm(`${out}${suffix}`, { force: true });
    const digest = digestFromHex(hash.digest("hex"));
    const signed = signer && key && { signature: signer.sign(key), key, provenance };
    const beside = besideFiles(basename(out), digest, signed);
    for (const [suffix, content] of beside) {
      written.push(`${out}${suffix}`);
      await writeFile(`${out}${suffix}`, content, { flush: true, mode: 0o644 });
    }
    await rename(partial, out);
    const directory = await open(dirname(out), "r");
    await directory.sync().finally(() => directory.close());
    return {
      digest,
      bytes,
      written: [out, ...written],
    };
  } catch (cause) {
    for (const path of [partial, ...written]) await rm(path, { force: true });
    if (cause instanceof Error && cause.name === "SealiftError") throw cause;
    const full = (cause as NodeJS.ErrnoException).code === "ENOSPC";
    throw kitError("KIT_WRITE_FAILED", `kit ${JSON.stringify(out)}: ${reasonOf(cause)}`, {
      cause,
      hints: full ? ["free space on the destination's disk or on the temporary directory's"] : [],
    });
  }
}

function besideFiles(
  name: string,
  digest: Digest,
  signed: { readonly signature: Buffer; readonly key: PrivateKey; readonly provenance: object } | undefined,
): [(typeof BESIDE)[number], string | Buffer][] {
  const sums = `${hexOf(digest)}  ${name}\n`;
  if (!signed) return [[".sha256", sums]];
  const { signature, key, provenance } = signed;
  return [
    [".sha256", sums],
    [".sig", signature],
    [".pub", publicKeyPem(key)],
    [".provenance.json", signStatement(key, statementFor(digest, PREDICATE_SLSA_PROVENANCE, provenance))],
  ];
}

async function writeAll(path: string, chunks: AsyncIterable<Buffer>, see: (chunk: Buffer) => void): Promise<number> {
  const file = await open(path, "w", 0o644);
  let position = 0;
  try {
    for await (const chunk of chunks) {
      see(chunk);
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await file.write(chunk, done, chunk.length - done, position);
        done += bytesWritten;
        position += bytesWritten;
      }
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return position;
}
