/** A registry in this process, on 127.0.0.1, that can be told to misbehave. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";

export type Handler = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface FakeRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly blobs: Map<Digest, Buffer>;
  /** Manifests by digest and tag. */
  readonly manifests: Map<string, { readonly mediaType: string; readonly bytes: Buffer }>;
  /** `METHOD path` of each request, with its headers. */
  readonly requests: { readonly line: string; readonly headers: IncomingMessage["headers"] }[];
  /** Asked before anything else; true if it has answered. */
  before: Handler;
  putBlob(bytes: Buffer): Digest;
  putManifest(mediaType: string, bytes: Buffer, ...tags: string[]): Digest;
  close(): Promise<void>;
}

export async function fakeRegistry(context: { after(work: () => Promise<void>): void }): Promise<FakeRegistry> {
  const blobs: FakeRegistry["blobs"] = new Map();
  const manifests: FakeRegistry["manifests"] = new Map();
  const requests: { line: string; headers: IncomingMessage["headers"] }[] = [];
  const server = createServer((request, response) => {
    requests.push({ line: `${request.method} ${request.url}`, headers: request.headers });
    if (registry.before(request, response)) return;
    const found = /^\/v2\/.+\/(manifests|blobs)\/([^/?]+)$/.exec(request.url ?? "");
    const manifest = found?.[1] === "manifests" ? manifests.get(found[2] ?? "") : undefined;
    if (manifest) {
      response.writeHead(200, { "content-type": manifest.mediaType, "content-length": manifest.bytes.length });
      response.end(manifest.bytes);
      return;
    }
    const blob = found?.[1] === "blobs" ? blobs.get(found[2] as Digest) : undefined;
    if (!blob) {
      response.writeHead(404).end();
      return;
    }
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const headers = start > 0 ? { "content-range": `bytes ${start}-${blob.length - 1}/${blob.length}` } : {};
    response.writeHead(start > 0 ? 206 : 200, { "content-length": blob.length - start, ...headers });
    response.end(blob.subarray(start));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const bound = server.address();
  const registry: FakeRegistry = {
    host: `127.0.0.1:${typeof bound === "object" && bound !== null ? bound.port : 0}`,
    blobs,
    manifests,
    requests,
    before: () => false,
    putBlob: (bytes) => {
      blobs.set(digestOf(bytes), bytes);
      return digestOf(bytes);
    },
    putManifest: (mediaType, bytes, ...tags) => {
      for (const name of [digestOf(bytes), ...tags]) manifests.set(name, { mediaType, bytes });
      return digestOf(bytes);
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  context.after(() => registry.close());
  return registry;
}
