/**
 * Reads from a registry (OCI distribution-spec v1.1, "Pull") over the platform's fetch. A manifest's
 * bytes are held against their digest here; a blob's by whoever stores them. Connections that break are
 * taken up again where they broke.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Descriptor } from "../model/descriptor.ts";
import { type Digest, digestOf, parseDigest } from "../model/digest.ts";
import { DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST } from "../model/media-types.ts";
import { MANIFEST_MAX_BYTES } from "../model/oci.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { sourceError } from "./error.ts";
import type { RegistryLogin } from "./registry-credentials.ts";
import { isLoopback, type RegistryReference, registryOrigin } from "./registry-reference.ts";

const MANIFEST_TYPES = [OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST_LIST, DOCKER_MANIFEST].join(", ");
const REDIRECTS_MAX = 5;
const TOKEN_ANSWER_MAX_BYTES = 1024 * 1024;
/** Attempts without any progress before giving up. */
const ATTEMPTS = 5;
/** A blob may be cut this often in all; a registry that sends a byte each time must not hold us for ever. */
const CUTS_MAX = 100;
const RETRY_AFTER_MAX_MS = 30_000;

export interface ClientOptions {
  readonly login: RegistryLogin;
  /** Of the first pause between two attempts; doubles each time. */
  readonly retryDelayMs?: number;
  /** Without any byte for so long a connection counts as broken. */
  readonly idleMs?: number;
}

export interface FetchedManifest {
  readonly bytes: Buffer;
  readonly mediaType: string | undefined;
  readonly digest: Digest;
}

export class RegistryClient {
  readonly #reference: RegistryReference;
  readonly #origin: string;
  readonly #login: RegistryLogin;
  readonly #retryDelayMs: number;
  readonly #idleMs: number;
  /** The Authorization header that the registry accepted last. */
  #authorization: string | undefined;

  constructor(reference: RegistryReference, options: ClientOptions) {
    this.#reference = reference;
    this.#origin = registryOrigin(reference.registry);
    this.#login = options.login;
    this.#retryDelayMs = options.retryDelayMs ?? 500;
    this.#idleMs = options.idleMs ?? 60_000;
  }

  /**
   * The manifest or index called `name`, a tag or a digest. For a digest the bytes have it.
   * @throws SOURCE_NOT_FOUND | SOURCE_UNAUTHORIZED | SOURCE_UNREACHABLE | SOURCE_RESPONSE_UNUSABLE |
   * SOURCE_TOO_LARGE | SOURCE_DIGEST_MISMATCH
   */
  async manifest(name: string): Promise<FetchedManifest> {
    const what = `manifest ${name} on ${this.#reference.registry}/${this.#reference.repository}`;
    const path = `manifests/${name}`;
    const { bytes, response } = await this.#whole(path, { accept: MANIFEST_TYPES }, MANIFEST_MAX_BYTES, what);
    const digest = digestOf(bytes);
    const header = response.headers.get("docker-content-digest");
    for (const said of [parseDigest(name), header?.startsWith("sha256:") ? header : undefined]) {
      if (said !== undefined && said !== digest) {
        throw sourceError("SOURCE_DIGEST_MISMATCH", `${what}: got ${digest} after ${bytes.length} bytes, want ${said}`);
      }
    }
    const mediaType = response.headers.get("content-type")?.split(";")[0]?.trim();
    return { bytes, digest, mediaType };
  }

  /** A small blob, whose size and digest have been checked. @throws as `manifest` */
  async smallBlob(descriptor: Descriptor, maxBytes: number): Promise<Buffer> {
    const what = `blob ${descriptor.digest} on ${this.#reference.registry}/${this.#reference.repository}`;
    if (descriptor.size > maxBytes) {
      throw sourceError("SOURCE_TOO_LARGE", `${what}: got ${descriptor.size} bytes, want at most ${maxBytes}`);
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.blob(descriptor)) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    const got = digestOf(bytes);
    if (got !== descriptor.digest) throw sourceError("SOURCE_DIGEST_MISMATCH", `${what}: got ${got}`);
    return bytes;
  }

  /**
   * Streams exactly `descriptor.size` bytes; asks again with Range when the connection breaks. The digest
   * is the reader's to check.
   * @throws SOURCE_NOT_FOUND | SOURCE_UNAUTHORIZED | SOURCE_UNREACHABLE | SOURCE_RESPONSE_UNUSABLE | SOURCE_TOO_LARGE
   */
  async *blob(descriptor: Descriptor): AsyncGenerator<Uint8Array> {
    const what = `blob ${descriptor.digest} on ${this.#reference.registry}/${this.#reference.repository}`;
    let received = 0;
    let fruitless = 0;
    for (let cuts = 0; ; cuts += 1) {
      const before = received;
      let failure: unknown = `ended after ${received} of ${descriptor.size} bytes`;
      try {
        for await (const chunk of this.#blobFrom(descriptor, received, what)) {
          received += chunk.byteLength;
          if (received > descriptor.size) {
            throw sourceError(
              "SOURCE_TOO_LARGE",
              `${what}: got more than the ${descriptor.size} bytes of its descriptor`,
            );
          }
          yield chunk;
        }
        failure = `ended after ${received} of ${descriptor.size} bytes`;
      } catch (cause) {
        if (isFinal(cause)) throw cause;
        failure = cause;
      }
      if (received === descriptor.size) return;
      fruitless = received > before ? 0 : fruitless + 1;
      if (fruitless >= ATTEMPTS || cuts >= CUTS_MAX) {
        throw sourceError("SOURCE_UNREACHABLE", `${what}: ${reasonOf(failure)}`, { cause: failure });
      }
      await sleep(Math.min(this.#retryDelayMs * 2 ** fruitless, RETRY_AFTER_MAX_MS));
    }
  }

  async *#blobFrom(descriptor: Descriptor, start: number, what: string): AsyncGenerator<Uint8Array> {
    const range = start > 0 ? { range: `bytes=${start}-` } : {};
    const exchange = await this.#get(`blobs/${descriptor.digest}`, range, what);
    let skip = 0;
    if (start > 0 && exchange.response.status === 206) {
      const from = /^bytes (\d+)-/.exec(exchange.response.headers.get("content-range") ?? "")?.[1];
      if (Number(from) !== start) {
        exchange.abort();
        throw sourceError("SOURCE_RESPONSE_UNUSABLE", `${what}: got another range than bytes from ${start}`);
      }
    } else {
      // The registry gives no ranges and starts anew.
      skip = start;
    }
    for await (const chunk of exchange.body()) {
      const dropped = Math.min(skip, chunk.byteLength);
      skip -= dropped;
      if (dropped < chunk.byteLength) yield chunk.subarray(dropped);
    }
  }

  async #whole(path: string, headers: Record<string, string>, maxBytes: number, what: string) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const exchange = await this.#get(path, headers, what);
        return { bytes: await collect(exchange, maxBytes, what), response: exchange.response };
      } catch (cause) {
        if (isFinal(cause)) throw cause;
        if (attempt >= ATTEMPTS) throw sourceError("SOURCE_UNREACHABLE", `${what}: ${reasonOf(cause)}`, { cause });
        await sleep(this.#retryDelayMs * 2 ** attempt);
      }
    }
  }

  /** One successful answer (200 or 206), after logging in, redirects and the registry's requests to wait. */
  async #get(path: string, headers: Record<string, string>, what: string): Promise<Exchange> {
    const url = new URL(`/v2/${this.#reference.repository}/${path}`, this.#origin);
    let asked = false;
    for (let attempt = 1; ; ) {
      const exchange = await this.#follow(url, headers, this.#authorization, what);
      const { status } = exchange.response;
      if (status === 200 || status === 206) return exchange;
      exchange.abort();
      if (status === 401 && !asked) {
        asked = true;
        this.#authorization = await this.#authorize(exchange.response.headers.get("www-authenticate") ?? "", what);
        continue;
      }
      if (status === 401 || status === 403) throw this.#unauthorized(what, status);
      if (status === 404) {
        throw sourceError("SOURCE_NOT_FOUND", `${what}: the registry does not have it`, {
          hints: ["check the reference; a private repository that needs a login may answer so too: docker login HOST"],
        });
      }
      if ((status === 429 || status >= 500) && attempt < ATTEMPTS) {
        await sleep(waitMs(exchange.response, this.#retryDelayMs * 2 ** attempt));
        attempt += 1;
        continue;
      }
      throw sourceError("SOURCE_RESPONSE_UNUSABLE", `${what}: got HTTP status ${status}`);
    }
  }

  /** Follows redirects by hand, so that no credential goes to another origin than the one it is for. */
  async #follow(
    start: URL,
    headers: Record<string, string>,
    authorization: string | undefined,
    what: string,
  ): Promise<Exchange> {
    let url = start;
    for (let hop = 0; hop <= REDIRECTS_MAX; hop += 1) {
      const login = authorization !== undefined && url.origin === start.origin ? { authorization } : {};
      const exchange = await openExchange(url, { ...headers, ...login }, this.#idleMs);
      if (![301, 302, 303, 307, 308].includes(exchange.response.status)) return exchange;
      exchange.abort();
      const location = exchange.response.headers.get("location");
      const next = location === null ? null : URL.parse(location, url);
      if (next === null) throw sourceError("SOURCE_RESPONSE_UNUSABLE", `${what}: a redirect without an address`);
      const plainAllowed = isLoopback(start.hostname) && isLoopback(next.hostname);
      if (next.protocol !== "https:" && !(next.protocol === "http:" && plainAllowed)) {
        throw sourceError(
          "SOURCE_RESPONSE_UNUSABLE",
          `${what}: a redirect to ${next.protocol}//${next.host}, want https`,
        );
      }
      url = next;
    }
    throw sourceError("SOURCE_RESPONSE_UNUSABLE", `${what}: more than ${REDIRECTS_MAX} redirects`);
  }

  /** Answers a 401's challenge (RFC 7235; token service as distribution's docs/spec/auth/token). */
  async #authorize(challenge: string, what: string): Promise<string> {
    const { scheme, parameters } = parseChallenge(challenge);
    if (scheme === "basic") {
      if (this.#login.basic === undefined) throw this.#unauthorized(what, 401);
      return `Basic ${this.#login.basic}`;
    }
    const realm = URL.parse(parameters.get("realm") ?? "");
    if (scheme !== "bearer" || realm === null) {
      throw sourceError("SOURCE_RESPONSE_UNUSABLE", `${what}: asks for a login of an unknown kind`);
    }
    const plainAllowed = isLoopback(new URL(this.#origin).hostname) && isLoopback(realm.hostname);
    if (realm.protocol !== "https:" && !(realm.protocol === "http:" && plainAllowed)) {
      throw sourceError(
        "SOURCE_RESPONSE_UNUSABLE",
        `${what}: a token service at ${realm.protocol}//${realm.host}, want https`,
      );
    }
    const service = parameters.get("service");
    if (service !== undefined) realm.searchParams.set("service", service);
    realm.searchParams.set("scope", parameters.get("scope") ?? `repository:${this.#reference.repository}:pull`);
    const basic = this.#login.basic === undefined ? undefined : `Basic ${this.#login.basic}`;
    const exchange = await this.#follow(realm, {}, basic, what);
    const { status } = exchange.response;
    if (status === 401 || status === 403) {
      exchange.abort();
      throw this.#unauthorized(what, status);
    }
    if (status !== 200) {
      exchange.abort();
      throw sourceError("SOURCE_RESPONSE_UNUSABLE", `${what}: its token service gives HTTP status ${status}`);
    }
    const token = parseToken(await collect(exchange, TOKEN_ANSWER_MAX_BYTES, what));
    if (token === undefined) throw sourceError("SOURCE_RESPONSE_UNUSABLE", `${what}: its token service gives no token`);
    return `Bearer ${token}`;
  }

  #unauthorized(what: string, status: number): Error {
    const { registry } = this.#reference;
    const login = registry === "docker.io" ? "docker login" : `docker login ${registry}`;
    const { basic, unused } = this.#login;
    const hints =
      unused === undefined
        ? [`${login}, with the login kept in Docker's config.json`]
        : [
            `config.json points to ${unused} for this registry`,
            `keep the login in the file itself: DOCKER_CONFIG=DIR ${login}, then run this with the same DOCKER_CONFIG`,
          ];
    const tried = basic === undefined ? "without a login" : "with the login from config.json";
    return sourceError("SOURCE_UNAUTHORIZED", `${what}: refused ${tried} (HTTP status ${status})`, { hints });
  }
}

/** A response whose body has not been read; `body` or `abort` ends it. */
interface Exchange {
  readonly response: Response;
  body(): AsyncGenerator<Uint8Array>;
  abort(): void;
}

async function openExchange(url: URL, headers: Record<string, string>, idleMs: number): Promise<Exchange> {
  const controller = new AbortController();
  const silence = () => controller.abort(new Error(`no answer from ${url.host} for ${idleMs / 1000} s`));
  let timer = setTimeout(silence, idleMs);
  let response: Response;
  try {
    // A compressed transfer would hide the blob's real size; fetch undoes one without telling.
    const asked = { "accept-encoding": "identity", ...headers };
    response = await fetch(url, { headers: asked, redirect: "manual", signal: controller.signal });
  } catch (cause) {
    const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
    throw new Error(`${url.host}: ${reasonOf(inner)}`, { cause });
  } finally {
    clearTimeout(timer);
  }
  return {
    response,
    abort: () => controller.abort(),
    async *body() {
      timer = setTimeout(silence, idleMs);
      try {
        for await (const chunk of response.body ?? []) {
          clearTimeout(timer);
          yield chunk;
          timer = setTimeout(silence, idleMs);
        }
      } finally {
        clearTimeout(timer);
        controller.abort();
      }
    },
  };
}

async function collect(exchange: Exchange, maxBytes: number, what: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of exchange.body()) {
    size += chunk.byteLength;
    if (size > maxBytes) throw sourceError("SOURCE_TOO_LARGE", `${what}: got more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  const declared = exchange.response.headers.get("content-length");
  if (declared !== null && Number(declared) !== size) throw new Error(`ended after ${size} of ${declared} bytes`);
  return Buffer.concat(chunks);
}

/** Trying again cannot change it. */
function isFinal(cause: unknown): boolean {
  return cause instanceof Error && cause.name === "SealiftError";
}

function waitMs(response: Response, fallbackMs: number): number {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return Math.min(Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : fallbackMs, RETRY_AFTER_MAX_MS);
}

function parseChallenge(text: string): { readonly scheme: string; readonly parameters: ReadonlyMap<string, string> } {
  const scheme = /^\s*([A-Za-z]+)/.exec(text)?.[1]?.toLowerCase() ?? "";
  const parameters = new Map<string, string>();
  for (const match of text.slice(0, 8192).matchAll(/([a-z]+)=(?:"([^"]*)"|([^\s,"]+))/gi)) {
    parameters.set((match[1] as string).toLowerCase(), match[2] ?? match[3] ?? "");
  }
  return { scheme, parameters };
}

function parseToken(bytes: Buffer): string | undefined {
  try {
    const answer = JSON.parse(bytes.toString("utf8")) as Record<string, unknown>;
    const token = answer["token"] ?? answer["access_token"];
    return typeof token === "string" && /^[\x21-\x7e]+$/.test(token) ? token : undefined;
  } catch {
    return undefined;
  }
}
