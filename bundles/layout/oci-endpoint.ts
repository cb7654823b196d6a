/**
 * A read-only OCI registry (distribution-spec v1.1, "Pull" and "Referrers") over one bundle: what cosign,
 * oras, skopeo and an engine ask when they are pointed at it.
 *
 * It answers GET and HEAD, and only for what the bundle's index reaches. Any repository name finds a
 * digest; the names a person would use are `<appliance>/release` and `<appliance>/<image>`. Every byte
 * is held against its digest: an answer about damaged content is an error or breaks off, it never
 * completes. It checks no signature; who asks does that.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { REF_NAME_ANNOTATION } from "../model/annotations.ts";
import { canonicalJson } from "../model/canonical-json.ts";
import type { Descriptor } from "../model/descriptor.ts";
import { type Digest, isDigest, parseDigest } from "../model/digest.ts";
import { OCI_INDEX } from "../model/media-types.ts";
import { MANIFEST_MAX_BYTES, type Manifest, parseIndex, parseManifest } from "../model/oci.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { readLayoutIndex, readRelease } from "./contents.ts";
import { layoutError } from "./error.ts";
import type { Layout } from "./layout.ts";

const CONNECTIONS_MAX = 64;
const NAME = /^[a-z0-9]+(?:[._/-]+[a-z0-9]+)*$/;
const FALLBACK_TAG = /^sha256-([0-9a-f]{64})$/;

export interface EndpointOptions {
  /** Address and port to listen on; port 0 takes a free one. */
  readonly host: string;
  readonly port: number;
  /** Only these repository names are answered; any name if absent. */
  readonly repositories?: readonly string[];
  /** Small manifests and blobs beside the bundle's, by digest, under any repository name that is answered. */
  readonly extra?: ReadonlyMap<Digest, { readonly mediaType: string; readonly bytes: Buffer }>;
  /** Told about damaged content, which the asking side sees as a broken answer only. */
  readonly onProblem?: (message: string) => void;
}

export interface Endpoint {
  readonly address: string;
  /** Breaks off what is being sent. */
  close(): Promise<void>;
}

/**
 * Serves `layout` until it is closed; the caller keeps its store open for so long. Reads the bundle's
 * manifests first.
 * @throws LAYOUT_ENDPOINT_UNAVAILABLE if the address cannot be had, and what `readRelease` throws.
 */
export async function serveLayout(layout: Layout, options: EndpointOptions): Promise<Endpoint> {
  const contents = readContents(layout);
  const server = createServer((request, response) => {
    answer({ layout, contents, options }, request, response).catch((cause: unknown) => {
      options.onProblem?.(reasonOf(cause));
      if (response.headersSent) response.destroy();
      else sendError(response, request, 500, "UNKNOWN", "the bundle's content is damaged");
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      reject(
        layoutError("LAYOUT_ENDPOINT_UNAVAILABLE", `address ${options.host}:${options.port}: ${reasonOf(cause)}`, {
          cause,
          hints: ["another program may hold the address; choose another: --address 127.0.0.1:PORT"],
        }),
      );
    });
    server.listen(options.port, options.host, resolve);
  });
  const bound = server.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : options.port;
  return {
    address: `${options.host.includes(":") ? `[${options.host}]` : options.host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Contents {
  readonly manifests: ReadonlyMap<Digest, Descriptor>;
  readonly blobs: ReadonlyMap<Digest, Descriptor>;
  readonly tags: ReadonlyMap<string, Digest>;
  /** Repository → its own tags, which go before `tags`. */
  readonly repositoryTags: ReadonlyMap<string, ReadonlyMap<string, Digest>>;
  /** Subject → the manifests that refer to it, as the referrers API lists them. */
  readonly referrers: ReadonlyMap<Digest, readonly Descriptor[]>;
}

function readContents(layout: Layout): Contents {
  const index = readLayoutIndex(layout);
  const release = readRelease(layout, index.release);
  const manifests = new Map<Digest, Descriptor>();
  const blobs = new Map<Digest, Descriptor>();
  const tags = new Map<string, Digest>();
  const referrers = new Map<Digest, Descriptor[]>();
  const reach = (descriptor: Descriptor, manifest: Manifest): void => {
    manifests.set(descriptor.digest, descriptor);
    for (const blob of [manifest.config, ...manifest.layers]) blobs.set(blob.digest, blob);
    if (!isDigest(manifest.subject?.digest)) return;
    const { mediaType, digest, size } = descriptor;
    const entry: Descriptor = {
      mediaType,
      digest,
      size,
      artifactType: manifest.artifactType ?? manifest.config.mediaType,
      ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
    };
    const entries = referrers.get(manifest.subject.digest);
    if (entries) entries.push(entry);
    else referrers.set(manifest.subject.digest, [entry]);
  };
  const tag = (entry: Descriptor): void => {
    const name = entry.annotations?.[REF_NAME_ANNOTATION];
    if (name !== undefined) tags.set(name, entry.digest);
  };
  manifests.set(release.descriptor.digest, release.descriptor);
  for (const entry of [release.document, ...release.images.values(), ...release.files.values()]) {
    reach(entry.descriptor, entry.manifest);
  }
  tag(index.release);
  for (const entry of index.others) {
    tag(entry);
    if (manifests.has(entry.digest)) continue;
    const bytes = layout.readDescriptor(entry, MANIFEST_MAX_BYTES);
    if (entry.mediaType === OCI_INDEX) parseIndex(bytes);
    else reach(entry, parseManifest(bytes));
  }
  const { appliance, version, images } = release.manifest;
  const repositoryTags = new Map(
    images.map((image) => [`${appliance}/${image.name}`, new Map([[version, image.digest]])]),
  );
  return { manifests, blobs, tags, repositoryTags, referrers };
}

interface Serving {
  readonly layout: Layout;
  readonly contents: Contents;
  readonly options: EndpointOptions;
}

async function answer(serving: Serving, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { contents, options } = serving;
  response.setHeader("docker-distribution-api-version", "registry/2.0");
  response.setHeader("x-content-type-options", "nosniff");
  const refuse = (status: number, code: string, message: string): void =>
    sendError(response, request, status, code, message);
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    return refuse(405, "UNSUPPORTED", "this registry is read-only");
  }
  const url = URL.parse(request.url ?? "/", "http://localhost");
  const path = url === null ? undefined : decoded(url.pathname);
  if (url === null || path === undefined) return refuse(400, "UNSUPPORTED", "not an address of a registry");
  if (path === "/v2/" || path === "/v2") return sendJson(response, request, "application/json", Buffer.from("{}"));
  const found = /^\/v2\/(.+)\/(manifests|blobs|referrers|tags)\/([^/]+)$/.exec(path);
  if (!found) return refuse(404, "UNSUPPORTED", "not an address of a registry");
  const [, name, kind, reference] = found as unknown as [string, string, string, string];
  if (!NAME.test(name)) return refuse(400, "NAME_INVALID", "not a repository name");
  if (options.repositories !== undefined && !options.repositories.includes(name)) {
    return refuse(404, "NAME_UNKNOWN", "this bundle has no such repository");
  }
  if (kind === "tags") {
    if (reference !== "list") return refuse(404, "UNSUPPORTED", "not an address of a registry");
    const tags = [...new Set([...contents.tags.keys(), ...(contents.repositoryTags.get(name)?.keys() ?? [])])].sort();
    return sendJson(response, request, "application/json", canonicalJson({ name, tags }));
  }
  const digest = parseDigest(reference);
  const extra = digest === undefined || kind === "referrers" ? undefined : options.extra?.get(digest);
  if (extra && digest !== undefined) {
    response.setHeader("docker-content-digest", digest);
    return sendJson(response, request, extra.mediaType, extra.bytes);
  }
  if (kind === "manifests") return answerManifest(serving, name, reference, request, response);
  if (digest === undefined) return refuse(400, "DIGEST_INVALID", "want sha256: and 64 hexadecimal digits");
  if (kind === "referrers") {
    const type = url.searchParams.get("artifactType");
    if (type !== null) response.setHeader("oci-filters-applied", "artifactType");
    return sendJson(response, request, OCI_INDEX, referrersIndex(contents, digest, type));
  }
  const blob = contents.blobs.get(digest);
  if (!blob) return refuse(404, "BLOB_UNKNOWN", "this bundle has no such blob");
  await answerBlob(serving, blob, request, response);
}

function answerManifest(
  { layout, contents }: Serving,
  name: string,
  reference: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const tagged = contents.repositoryTags.get(name)?.get(reference) ?? contents.tags.get(reference);
  const descriptor = contents.manifests.get(parseDigest(reference) ?? tagged ?? ("" as Digest));
  if (descriptor) {
    const bytes = layout.readDescriptor(descriptor, MANIFEST_MAX_BYTES);
    response.setHeader("docker-content-digest", descriptor.digest);
    response.setHeader("etag", `"${descriptor.digest}"`);
    sendJson(response, request, descriptor.mediaType, bytes);
    return;
  }
  // The tag where clients without the referrers API look for the same list (distribution-spec v1.1,
  // "Referrers Tag Schema").
  const subject = FALLBACK_TAG.exec(reference)?.[1];
  const digest = subject === undefined ? undefined : parseDigest(`sha256:${subject}`);
  if (digest !== undefined && contents.referrers.has(digest)) {
    sendJson(response, request, OCI_INDEX, referrersIndex(contents, digest, null));
    return;
  }
  sendError(response, request, 404, "MANIFEST_UNKNOWN", "this bundle has no such manifest");
}

function referrersIndex(contents: Contents, subject: Digest, artifactType: string | null): Buffer {
  const all = contents.referrers.get(subject) ?? [];
  const manifests = artifactType === null ? all : all.filter((entry) => entry.artifactType === artifactType);
  return canonicalJson({ schemaVersion: 2, mediaType: OCI_INDEX, manifests });
}

async function answerBlob(
  { layout }: Serving,
  blob: Descriptor,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { digest, size } = blob;
  const actual = layout.blob(digest)?.size;
  if (actual !== size) {
    throw layoutError("LAYOUT_SIZE_MISMATCH", `blob ${digest}: got ${actual ?? "no"} bytes, want ${size}`);
  }
  response.setHeader("content-type", blob.mediaType);
  response.setHeader("docker-content-digest", digest);
  response.setHeader("etag", `"${digest}"`);
  response.setHeader("accept-ranges", "bytes");
  const range = parseRange(request.headers.range, size);
  if (range === "unsatisfiable") {
    response.writeHead(416, { "content-range": `bytes */${size}`, "content-length": 0 }).end();
    return;
  }
  const [start, end] = range ?? [0, size];
  response.statusCode = range ? 206 : 200;
  response.setHeader("content-length", end - start);
  if (range) response.setHeader("content-range", `bytes ${start}-${end - 1}/${size}`);
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  // The blob is always read whole, because a part has no digest of its own, and the last piece waits until
  // the whole has proved right: nobody gets a complete answer of wrong bytes.
  let held: Buffer | undefined;
  let position = 0;
  for await (const chunk of layout.stream(digest)) {
    const from = Math.max(start - position, 0);
    const piece = chunk.subarray(Math.min(from, chunk.length), Math.max(Math.min(end - position, chunk.length), 0));
    position += chunk.length;
    if (piece.length === 0) continue;
    if (held && !(await send(response, held))) return;
    held = piece;
  }
  response.end(held);
}

/** False once the asking side has gone away. */
async function send(response: ServerResponse, bytes: Buffer): Promise<boolean> {
  if (response.destroyed) return false;
  if (response.write(bytes)) {
    // Reading is synchronous; other connections get their turn here.
    await new Promise(setImmediate);
    return !response.destroyed;
  }
  return new Promise((resolve) => {
    const settle = (open: boolean) => (): void => {
      response.off("drain", drained);
      response.off("close", closed);
      resolve(open);
    };
    const drained = settle(true);
    const closed = settle(false);
    response.once("drain", drained);
    response.once("close", closed);
  });
}

/** First byte and the one after the last, for a single range; undefined for none or one that may be ignored (RFC 9110, 14.2). */
function parseRange(header: string | undefined, size: number): readonly [number, number] | "unsatisfiable" | undefined {
  const found = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!found || (found[1] === "" && found[2] === "")) return undefined;
  const [, first, last] = found as unknown as [string, string, string];
  if (first === "") {
    const length = Math.min(Number(last), size);
    return length === 0 ? "unsatisfiable" : [size - length, size];
  }
  const start = Number(first);
  if (last !== "" && Number(last) < start) return undefined;
  if (start >= size) return "unsatisfiable";
  return [start, last === "" ? size : Math.min(Number(last) + 1, size)];
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

function sendJson(response: ServerResponse, request: IncomingMessage, type: string, bytes: Buffer): void {
  response.writeHead(200, { "content-type": type, "content-length": bytes.length });
  response.end(request.method === "HEAD" ? undefined : bytes);
}

function sendError(
  response: ServerResponse,
  request: IncomingMessage,
  status: number,
  code: string,
  message: string,
): void {
  const bytes = canonicalJson({ errors: [{ code, message }] });
  for (const name of ["content-range", "docker-content-digest", "etag", "accept-ranges"]) response.removeHeader(name);
  response.writeHead(status, { "content-type": "application/json", "content-length": bytes.length });
  response.end(request.method === "HEAD" ? undefined : bytes);
}
