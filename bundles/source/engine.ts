/**
 * The `engine` source: an image that the local Docker engine has, taken with `docker save`. The classic
 * store gives layers as plain tars, which are compressed here into a new manifest; the containerd store
 * gives what was pulled or built, which is carried byte for byte where it can be.
 *
 * The engine is one explicit socket; DOCKER_HOST and contexts are not looked at.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { blobFromFile } from "../layout/blob-source.ts";
import { blobName, INDEX_FILE } from "../layout/layout.ts";
import type { ImageLock } from "../model/appliance.ts";
import { canonicalJson } from "../model/canonical-json.ts";
import type { Descriptor } from "../model/descriptor.ts";
import { type Digest, digestFromHex, digestOf, hexOf, isDigest } from "../model/digest.ts";
import { OCI_IMAGE_CONFIG, OCI_LAYER_TAR, OCI_LAYER_ZSTD, OCI_MANIFEST } from "../model/media-types.ts";
import { CONFIG_MAX_BYTES, MANIFEST_MAX_BYTES } from "../model/oci.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { compressLayer } from "./compress-layer.ts";
import { sourceError } from "./error.ts";
import { carriedImage, checkConfig } from "./foreign-image.ts";
import { type LayoutFiles, openLayoutFiles, readLayoutBlob, resolveInLayout } from "./layout-files.ts";
import { LAYER_ZSTD_LEVEL } from "./recipe/layer.ts";
import type { ImageSource, SourceContext, SourcedImage } from "./source.ts";

/** SLSA buildType of images taken from an engine. */
export const ENGINE_BUILD_TYPE = "https://sealift.dev/buildtypes/engine/v1";
const DEFAULT_SOCKET = "/var/run/docker.sock";
/** dockerode puts the name into a path as it is. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9._:/@-]{0,1023}$/;
const PROGRESS_BYTES = 16 * 1024 * 1024;

export interface EngineOptions {
  /** `$SEALIFT_DOCKER_SOCKET`, else /var/run/docker.sock, if absent. */
  readonly socketPath?: string;
}

/**
 * `name` is what `docker image inspect` takes. The lock names the image's Id: of the configuration on
 * the classic store, of the manifest or index on the containerd store; `load` needs the same store.
 * @throws SOURCE_REFERENCE_MALFORMED
 */
export function engineSource(name: string, options: EngineOptions = {}): ImageSource {
  if (!NAME.test(name) || name.split("/").some((part) => part === "" || part === "." || part === "..")) {
    throw sourceError("SOURCE_REFERENCE_MALFORMED", `engine: got ${JSON.stringify(name)}, want an image's name`);
  }
  const socketPath = options.socketPath ?? process.env["SEALIFT_DOCKER_SOCKET"] ?? DEFAULT_SOCKET;
  return {
    lock: async (context) => {
      const imageId = await inspect(name, socketPath, context.platform);
      return { kind: "engine", reference: name, imageId };
    },
    load: async (lock: ImageLock, context) => {
      const hints = ["sealift bundle lock --appliance FILE"];
      if (lock.kind !== "engine" || lock.reference !== name) {
        const got = lock.kind === "engine" ? JSON.stringify(lock.reference) : `kind ${lock.kind}`;
        throw sourceError("SOURCE_LOCK_STALE", `lock of engine image ${JSON.stringify(name)}: got ${got}`, { hints });
      }
      const imageId = await inspect(name, socketPath, context.platform);
      if (imageId !== lock.imageId) {
        throw sourceError(
          "SOURCE_CHANGED",
          `engine image ${JSON.stringify(name)}: got ${imageId}, want ${lock.imageId}`,
          {
            hints,
          },
        );
      }
      return loadImage(name, imageId, socketPath, context);
    },
  };
}

async function inspect(name: string, socketPath: string, platform: string): Promise<Digest> {
  const what = `engine image ${JSON.stringify(name)}`;
  const found = await ask(what, socketPath, async (image) => image.inspect(), name);
  if (!isDigest(found.Id)) {
    throw sourceError("SOURCE_ENGINE_FAILED", `${what}: its Id is ${JSON.stringify(found.Id)}, want a digest`);
  }
  if (`${found.Os}/${found.Architecture}` !== platform) {
    throw sourceError(
      "SOURCE_PLATFORM_MISSING",
      `${what}: got an image for ${JSON.stringify(`${found.Os}/${found.Architecture}`)}, want ${platform}`,
    );
  }
  return found.Id;
}

type EngineImage = ReturnType<InstanceType<typeof import("dockerode")>["getImage"]>;

async function ask<T>(
  what: string,
  socketPath: string,
  question: (image: EngineImage) => Promise<T>,
  name: string,
): Promise<T> {
  // dockerode brings an SSH client with it; only builds that use this source pay for loading it.
  const { default: Docker } = await import("dockerode");
  try {
    return await question(clientAt(() => new Docker({ socketPath })).getImage(name));
  } catch (cause) {
    const { code, statusCode } = cause as { readonly code?: string; readonly statusCode?: number };
    if (statusCode === 404) {
      throw sourceError("SOURCE_NOT_FOUND", `${what}: the engine at ${JSON.stringify(socketPath)} does not have it`, {
        cause,
        hints: ["docker image ls shows what it has"],
      });
    }
    if (statusCode === undefined && (code === "ENOENT" || code === "ECONNREFUSED" || code === "EACCES")) {
      throw sourceError("SOURCE_ENGINE_UNREACHABLE", `${what}: socket ${JSON.stringify(socketPath)}: ${code}`, {
        cause,
        hints: [
          "start Docker, or name its socket: SEALIFT_DOCKER_SOCKET=PATH",
          "reading it needs root or the group docker",
        ],
      });
    }
    throw sourceError("SOURCE_ENGINE_FAILED", `${what}: ${reasonOf(cause)}`, { cause });
  }
}

/** Makes a client while there is no DOCKER_HOST, which docker-modem 5 prefers to the socket it is told. */
function clientAt<T>(make: () => T): T {
  const { DOCKER_HOST } = process.env;
  delete process.env["DOCKER_HOST"];
  try {
    return make();
  } finally {
    if (DOCKER_HOST !== undefined) process.env["DOCKER_HOST"] = DOCKER_HOST;
  }
}

async function loadImage(
  name: string,
  imageId: Digest,
  socketPath: string,
  context: SourceContext,
): Promise<SourcedImage> {
  const what = `engine image ${JSON.stringify(name)}`;
  const directory = join(context.cacheDir, "engine");
  await mkdir(directory, { recursive: true });
  const archive = join(directory, `${randomUUID()}.partial`);
  try {
    await save(name, what, socketPath, archive, context.onProgress);
    const files = openLayoutFiles(archive);
    const found = readExport(files, context.platform, what);
    if (!found.identities.includes(imageId)) {
      throw sourceError("SOURCE_CHANGED", `${what}: the export holds ${found.identities.join(", ")}, want ${imageId}`);
    }
    const config = checkConfig(found.config, found.layers.length, context.platform, what);
    const layers: { descriptor: Descriptor; blob: ReturnType<typeof blobFromFile> }[] = [];
    for (const [i, layer] of found.layers.entries()) {
      context.onProgress(`layer ${i + 1} of ${found.layers.length}`);
      const diffId = config.rootfs.diff_ids[i] as Digest;
      const kept =
        layer.mediaType === OCI_LAYER_TAR
          ? await packedLayer(files, layer.name, diffId, directory, context.ignoreBuiltLayers, what)
          : await copiedLayer(files, layer, directory, what);
      layers.push(kept);
    }
    const manifest =
      found.manifest ??
      canonicalJson({
        schemaVersion: 2,
        mediaType: OCI_MANIFEST,
        config: { mediaType: OCI_IMAGE_CONFIG, digest: digestOf(found.config), size: found.config.length },
        layers: layers.map((layer) => layer.descriptor),
      });
    return {
      manifest,
      config: found.config,
      layers,
      buildType: ENGINE_BUILD_TYPE,
      externalParameters: { engine: name, platform: context.platform },
      materials: [{ uri: `docker-daemon:${name}`, digest: { sha256: hexOf(imageId) } }],
    };
  } finally {
    await rm(archive, { force: true });
  }
}

async function save(
  name: string,
  what: string,
  socketPath: string,
  path: string,
  onProgress: (detail: string) => void,
): Promise<void> {
  const stream = (await ask(what, socketPath, async (image) => image.get(), name)) as Readable;
  let size = 0;
  let shown = 0;
  try {
    await pipeline(
      stream,
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          size += chunk.length;
          if (size - shown >= PROGRESS_BYTES) {
            shown = size;
            onProgress(`${Math.round(size / 1e6)} MB from the engine`);
          }
          yield chunk;
        }
      },
      createWriteStream(path, { flags: "wx", mode: 0o600 }),
    );
  } catch (cause) {
    throw sourceError("SOURCE_ENGINE_FAILED", `${what}: export broke off after ${size} bytes: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

interface Export {
  /** Of the exported manifest if every layer can be carried as it is. */
  readonly manifest?: Buffer;
  readonly config: Buffer;
  readonly layers: readonly { readonly name: string; readonly mediaType: string; readonly descriptor?: Descriptor }[];
  /** Digests by which an engine may know this image. */
  readonly identities: readonly Digest[];
}

/** What `docker save` wrote: an OCI layout since Docker 25, and before that only its own `manifest.json`. */
function readExport(files: LayoutFiles, platform: string, what: string): Export {
  if (files.size(INDEX_FILE) === undefined) return readDockerArchive(files, what);
  const entry = resolveInLayout(files, undefined, platform);
  const bytes = readLayoutBlob(files, entry, MANIFEST_MAX_BYTES);
  const { parsed, carried } = carriedImage(bytes, what);
  const config = readLayoutBlob(files, parsed.config, CONFIG_MAX_BYTES);
  const index = JSON.parse(files.read(INDEX_FILE, MANIFEST_MAX_BYTES).toString("utf8")) as {
    manifests: { digest: Digest }[];
  };
  const identities = [entry.digest, parsed.config.digest, ...index.manifests.map((item) => item.digest)];
  const layers = carried.layers.map((descriptor) => ({
    name: blobName(descriptor.digest),
    mediaType: descriptor.mediaType,
    descriptor,
  }));
  const asIs = layers.every((layer) => layer.mediaType !== OCI_LAYER_TAR);
  return { ...(asIs ? { manifest: carried.manifest } : {}), config, layers, identities: [...new Set(identities)] };
}

function readDockerArchive(files: LayoutFiles, what: string): Export {
  const refuse = (problem: string, cause?: unknown): never => {
    throw sourceError("SOURCE_LAYOUT_MALFORMED", `${what}: manifest.json: ${problem}`, { cause });
  };
  let value: unknown;
  try {
    value = JSON.parse(files.read("manifest.json", MANIFEST_MAX_BYTES).toString("utf8"));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    refuse("not JSON", cause);
  }
  const [image, ...others] = Array.isArray(value) ? (value as unknown[]) : [];
  const { Config, Layers } = (image ?? {}) as { readonly Config?: unknown; readonly Layers?: unknown };
  if (others.length > 0 || typeof Config !== "string" || !Array.isArray(Layers)) return refuse("want one image");
  const names = Layers.filter((name): name is string => typeof name === "string");
  if (names.length !== Layers.length || names.length === 0 || names.length > 256) refuse("want 1 to 256 layers");
  const config = files.read(Config, CONFIG_MAX_BYTES);
  const layers = names.map((name) => ({ name, mediaType: OCI_LAYER_TAR }));
  return { config, layers, identities: [digestOf(config)] };
}

type KeptLayer = { descriptor: Descriptor; blob: ReturnType<typeof blobFromFile> };

function kept(path: string, digest: Digest, size: number, mediaType: string): KeptLayer {
  return { descriptor: { mediaType, digest, size }, blob: blobFromFile(path, digest, size) };
}

/** Compresses a plain layer, or finds the result of an earlier run and holds it against its digest. */
async function packedLayer(
  files: LayoutFiles,
  name: string,
  diffId: Digest,
  directory: string,
  ignoreBuilt: boolean,
  what: string,
): Promise<KeptLayer> {
  const note = join(directory, `${hexOf(diffId)}.zstd-${LAYER_ZSTD_LEVEL}-${process.versions["zstd"]}.json`);
  const known = ignoreBuilt ? undefined : await readNote(note);
  if (known) {
    const path = join(directory, hexOf(known.digest));
    if ((await fileDigest(path)) === known.digest) return kept(path, known.digest, known.size, OCI_LAYER_ZSTD);
  }
  const sizeBytes = files.size(name);
  if (sizeBytes === undefined) {
    throw sourceError("SOURCE_LAYOUT_MALFORMED", `${what}: ${JSON.stringify(name)} is not in the export`);
  }
  const temporary = join(directory, `${randomUUID()}.layer`);
  const made = await compressLayer(files.stream(name), sizeBytes, temporary);
  if (made.diffId !== diffId) {
    await rm(temporary, { force: true });
    throw sourceError(
      "SOURCE_DIGEST_MISMATCH",
      `${what}: layer ${JSON.stringify(name)}: got ${made.diffId}, want ${diffId}`,
    );
  }
  const path = join(directory, hexOf(made.digest));
  await rename(temporary, path);
  await writeFile(`${note}.new`, JSON.stringify({ digest: made.digest, size: made.size }));
  await rename(`${note}.new`, note);
  return kept(path, made.digest, made.size, OCI_LAYER_ZSTD);
}

/** Copies a compressed layer out of the export, which is removed when the image is loaded. */
async function copiedLayer(
  files: LayoutFiles,
  layer: Export["layers"][number],
  directory: string,
  what: string,
): Promise<KeptLayer> {
  const { digest, size, mediaType } = layer.descriptor as Descriptor;
  const path = join(directory, hexOf(digest));
  if ((await fileDigest(path)) === digest) return kept(path, digest, size, mediaType);
  const hash = createHash("sha256");
  const temporary = join(directory, `${randomUUID()}.layer`);
  await pipeline(
    files.stream(layer.name),
    async function* (chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(temporary, { flags: "wx" }),
  );
  const got = digestFromHex(hash.digest("hex"));
  if (got !== digest || files.size(layer.name) !== size) {
    await rm(temporary, { force: true });
    throw sourceError(
      "SOURCE_DIGEST_MISMATCH",
      `${what}: layer ${digest}: got ${got} of ${files.size(layer.name)} bytes`,
    );
  }
  await rename(temporary, path);
  return kept(path, digest, size, mediaType);
}

async function readNote(path: string): Promise<{ readonly digest: Digest; readonly size: number } | undefined> {
  try {
    const { digest, size } = JSON.parse(await readFile(path, "utf8")) as { digest?: unknown; size?: unknown };
    if (!isDigest(digest) || typeof size !== "number") return undefined;
    const { size: actual } = await stat(join(path, "..", hexOf(digest)));
    return actual === size ? { digest, size } : undefined;
  } catch {
    return undefined;
  }
}

async function fileDigest(path: string): Promise<Digest | undefined> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
  } catch {
    return undefined;
  }
  return digestFromHex(hash.digest("hex"));
}
