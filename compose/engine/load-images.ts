/**
 * Brings the images of a verified release into the engine by digest: the engine pulls them from a
 * read-only endpoint over the bundle on loopback. It is the only way that keeps `name@sha256:…` on both
 * image stores of stock Docker, that resumes, and that skips layers which are there.
 *
 * `docker load` is never used: it accepted a changed configuration without a word.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type Docker from "dockerode";
import type { BundleRelease } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { type Endpoint, serveLayout } from "../../bundles/layout/oci-endpoint.ts";
import type { Descriptor } from "../../bundles/model/descriptor.ts";
import { type Digest, hexOf } from "../../bundles/model/digest.ts";
import type { ImageConfig } from "../../bundles/model/oci.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { ENDPOINT_HOST, ENDPOINT_PORT, imageReference } from "../image-reference.ts";
import { connect, connectionError, type Engine } from "./engine.ts";
import { engineError } from "./error.ts";
import { type ExpectedImage, expectedImage, imageDifferences } from "./image-proof.ts";
import { makeNonceImage } from "./nonce-image.ts";

/** The repository of protective tags: without a tag, `docker image prune` deletes what is held by digest. */
export const PROTECTIVE_REPOSITORY = "sealift.invalid";
const NONCE_REPOSITORY = "sealift-nonce";
const PARALLEL_PULLS = 3;
/** A layer of less is there before it was worth waiting for. */
const WAITED_LAYER_BYTES = 8 * 1024 * 1024;
const PULL_ATTEMPTS = 4;
const STALL_MS = 180_000;

export interface LoadedImage {
  readonly name: string;
  readonly reference: string;
  readonly protectiveTag: string;
  /** As the engine calls it; depends on the image store. */
  readonly id: string;
  /** What the release says of how it runs. */
  readonly config: ImageConfig;
  /** It was there before, and nothing was pulled. */
  readonly present: boolean;
}

export interface LoadRun {
  /** Names of the images to load; all of the release if absent. */
  readonly only?: readonly string[];
  readonly onProgress?: (detail: string) => void;
  readonly signal?: AbortSignal;
  /** For tests that break the endpoint on purpose. */
  readonly serve?: typeof serveLayout;
}

export function protectiveTag(appliance: string, name: string, digest: Digest): { repo: string; tag: string } {
  return { repo: `${PROTECTIVE_REPOSITORY}/${appliance}/${name}`, tag: hexOf(digest).slice(0, 16) };
}

/**
 * Loads the images of `release`, which the caller has verified in this very `layout`, and proves each.
 * May be called again after a cut: what is there and right is not pulled again.
 * @throws ENGINE_PORT_BUSY | ENGINE_FOREIGN | ENGINE_PULL_FAILED | ENGINE_DISK_FULL | ENGINE_BUNDLE_CHANGED |
 * ENGINE_IMAGE_DIFFERS | ENGINE_UNREACHABLE | ENGINE_PERMISSION
 */
export async function loadImages(
  engine: Pick<Engine, "socketPath" | "facts">,
  layout: Layout,
  release: BundleRelease,
  run: LoadRun = {},
): Promise<LoadedImage[]> {
  const docker = await connect(engine);
  const { appliance } = release.manifest;
  const all = wantedImages(layout, release);
  const inspected = await Promise.all(all.map(({ expected }) => inspect(engine, docker, expected.reference)));
  const present = new Set(all.filter((_, index) => inspected[index] !== undefined));
  const wanted = all.filter(({ name }) => run.only?.includes(name) ?? true);
  const absent = wanted.filter((image) => !present.has(image));
  if (absent.length > 0) {
    const there = new Set([...present].flatMap(({ layers }) => layers.map(({ digest }) => digest)));
    await pullAll(engine, docker, layout, appliance, pullQueue(absent, there), run);
  }
  return Promise.all(wanted.map((image) => prove(engine, docker, image, !absent.includes(image))));
}

interface Wanted {
  readonly name: string;
  readonly expected: ExpectedImage;
  readonly tag: { readonly repo: string; readonly tag: string };
  readonly layers: readonly Descriptor[];
}

function wantedImages(layout: Layout, release: BundleRelease): Wanted[] {
  const { appliance, images } = release.manifest;
  return images.map((image): Wanted => {
    const entry = release.images.get(image.name);
    if (!entry) throw new TypeError(`release ${release.descriptor.digest} has no manifest of ${image.name}`);
    const reference = imageReference(appliance, `${image.name}@${image.digest}`);
    const { layers } = entry.manifest;
    const expected = expectedImage(layout, reference, image.digest, entry.manifest);
    return { name: image.name, expected, tag: protectiveTag(appliance, image.name, image.digest), layers };
  });
}

/** An image of a release as the engine has it now. */
export interface SeenImage {
  readonly name: string;
  readonly reference: string;
  readonly protectiveTag: string;
  /** As the engine calls it; undefined if it is not there. */
  readonly id: string | undefined;
  /** Its protective tag is there and names it. */
  readonly isProtected: boolean;
  /** What differs from the release (image-proof.ts), one sentence each. */
  readonly differences: readonly string[];
  /** What the release says of how it runs. */
  readonly config: ImageConfig;
}

/** As `loadImages` compares them, and changes nothing. @throws ENGINE_UNREACHABLE | ENGINE_PERMISSION | LAYOUT_… */
export async function seenImages(
  engine: Pick<Engine, "socketPath" | "facts">,
  layout: Layout,
  release: BundleRelease,
): Promise<SeenImage[]> {
  const docker = await connect(engine);
  return Promise.all(
    wantedImages(layout, release).map(async ({ name, expected, tag }): Promise<SeenImage> => {
      const { reference, config } = expected;
      const protective = `${tag.repo}:${tag.tag}`;
      const [found, tagged] = await Promise.all([reference, protective].map((one) => inspect(engine, docker, one)));
      return {
        name,
        reference,
        protectiveTag: protective,
        id: found?.Id,
        isProtected: found !== undefined && tagged?.Id === found.Id,
        differences: found ? imageDifferences(expected, found, engine.facts.store) : [],
        config,
      };
    }),
  );
}

function bytesOf({ layers }: Pick<Wanted, "layers">): number {
  return layers.reduce((sum, { size }) => sum + size, 0);
}

/** Proves an image that must be there already. @throws ENGINE_IMAGE_DIFFERS */
async function prove(
  engine: Pick<Engine, "socketPath" | "facts">,
  docker: Docker,
  image: Wanted,
  present: boolean,
): Promise<LoadedImage> {
  const { expected, name, tag } = image;
  const inspected = await inspect(engine, docker, expected.reference);
  const differences =
    inspected === undefined ? ["it is not there"] : imageDifferences(expected, inspected, engine.facts.store);
  if (inspected === undefined || differences.length > 0) {
    throw engineError(
      "ENGINE_IMAGE_DIFFERS",
      `image ${JSON.stringify(name)} in the engine: ${differences.join("; ")}`,
      {
        hints: [`docker image rm ${expected.reference}`, "then run the same command again"],
      },
    );
  }
  try {
    await docker.getImage(expected.reference).tag(tag);
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
  return {
    name,
    reference: expected.reference,
    protectiveTag: `${tag.repo}:${tag.tag}`,
    id: inspected.Id,
    config: expected.config,
    present,
  };
}

async function inspect(
  engine: Pick<Engine, "socketPath">,
  docker: Docker,
  reference: string,
): Promise<Docker.ImageInspectInfo | undefined> {
  try {
    return await docker.getImage(reference).inspect();
  } catch (cause) {
    if ((cause as { readonly statusCode?: number }).statusCode === 404) return undefined;
    throw connectionError(engine.socketPath, cause);
  }
}

async function pullAll(
  engine: Pick<Engine, "socketPath" | "facts">,
  docker: Docker,
  layout: Layout,
  appliance: string,
  queue: Wanted[][],
  run: LoadRun,
): Promise<void> {
  const absent = queue.flat();
  const nonce = makeNonceImage(engine.facts.architecture);
  const stop = new AbortController();
  let damaged: string | undefined;
  const endpoint = await listen(run.serve ?? serveLayout, layout, {
    repositories: [NONCE_REPOSITORY, ...absent.map((image) => `${appliance}/${image.name}`)],
    extra: nonce.contents,
    onProblem: (message) => {
      // The engine would only see a broken answer and try again for a minute.
      damaged ??= message;
      stop.abort();
    },
  });
  const onAbort = (): void => stop.abort();
  run.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    await proveEndpoint(engine, docker, nonce.digest, stop.signal);
    const progress = new PullProgress(absent, run.onProgress);
    const worker = async (): Promise<void> => {
      for (let chain = queue.shift(); chain; chain = queue.shift()) {
        for (const image of chain) await pullWithRetries(docker, image, progress, stop.signal);
      }
    };
    const failures: unknown[] = [];
    const stopOthers = (cause: unknown): void => {
      failures.push(cause);
      stop.abort();
    };
    await Promise.all(Array.from({ length: PARALLEL_PULLS }, () => worker().catch(stopOthers)));
    // The first in time: the others say no more than that they were stopped.
    if (failures.length > 0) throw failures[0];
  } catch (cause) {
    if (damaged !== undefined) {
      throw engineError("ENGINE_BUNDLE_CHANGED", `${layout.location}: changed since it was verified: ${damaged}`, {
        cause,
        hints: ["the medium is damaged or was changed; run sealift verify on it again"],
      });
    }
    run.signal?.throwIfAborted();
    throw cause;
  } finally {
    run.signal?.removeEventListener("abort", onAbort);
    await endpoint.close();
  }
}

/**
 * Images that share a large layer which the engine does not have are pulled one after the other: of two that
 * come at once the containerd store lets one wait for the other's layer, looking again ever later, and unpacks
 * it twice. Each row here is such images, the one with the most bytes first. `there` are layers that it has.
 */
export function pullQueue<Image extends Pick<Wanted, "layers">>(
  images: readonly Image[],
  there: ReadonlySet<Digest> = new Set(),
): Image[][] {
  const chains: Image[][] = [];
  for (const image of [...images].sort((a, b) => bytesOf(b) - bytesOf(a))) {
    const awaited = image.layers
      .filter(({ digest, size }) => size >= WAITED_LAYER_BYTES && !there.has(digest))
      .map(({ digest }) => digest);
    const sharing = chains.filter((chain) =>
      chain.some(({ layers }) => layers.some(({ digest }) => awaited.includes(digest))),
    );
    const [first, ...others] = sharing;
    if (!first) {
      chains.push([image]);
      continue;
    }
    first.push(...others.flat(), image);
    for (const other of others) chains.splice(chains.indexOf(other), 1);
  }
  return chains;
}

async function listen(
  serve: typeof serveLayout,
  layout: Layout,
  options: Pick<Parameters<typeof serveLayout>[1], "repositories" | "extra" | "onProblem">,
): Promise<Endpoint> {
  try {
    return await serve(layout, { ...options, host: ENDPOINT_HOST, port: ENDPOINT_PORT });
  } catch (cause) {
    if (!(cause instanceof SealiftError) || cause.code !== "LAYOUT_ENDPOINT_UNAVAILABLE") throw cause;
    throw endpointBusy(cause.message, cause);
  }
}

export function endpointBusy(message: string, cause?: unknown): Error {
  return engineError("ENGINE_PORT_BUSY", message, {
    cause,
    hints: [
      `ss --listening --tcp --processes 'sport = :${ENDPOINT_PORT}' shows who holds it`,
      "or another Sealift is loading images",
    ],
  });
}

/** Names of the images of `release` that `loadImages` would have to pull. @throws ENGINE_UNREACHABLE | ENGINE_PERMISSION */
export async function absentImages(engine: Pick<Engine, "socketPath">, release: BundleRelease): Promise<string[]> {
  const docker = await connect(engine);
  const { appliance, images } = release.manifest;
  const absent: string[] = [];
  for (const { name, digest } of images) {
    if (!(await inspect(engine, docker, imageReference(appliance, `${name}@${digest}`)))) absent.push(name);
  }
  return absent;
}

/** The engine pulls an image that only this run's endpoint has. @throws ENGINE_FOREIGN */
async function proveEndpoint(
  engine: Pick<Engine, "socketPath">,
  docker: Docker,
  digest: Digest,
  signal: AbortSignal,
): Promise<void> {
  const reference = `${ENDPOINT_HOST}:${ENDPOINT_PORT}/${NONCE_REPOSITORY}@${digest}`;
  try {
    await pull(docker, reference, signal, () => undefined);
    await docker.getImage(reference).inspect();
  } catch (cause) {
    const reached = connectionError(engine.socketPath, cause);
    if (reached instanceof SealiftError && reached.code === "ENGINE_UNREACHABLE" && !(cause instanceof PullFailure)) {
      throw reached;
    }
    if (diskFull(reasonOf(cause))) throw fullError(reasonOf(cause), cause);
    throw engineError("ENGINE_FOREIGN", `the engine did not fetch this run's proof image: ${reasonOf(cause)}`, {
      cause,
      hints: [
        `the engine must run on this machine and reach ${ENDPOINT_HOST}:${ENDPOINT_PORT}; sealift doctor says more`,
      ],
    });
  } finally {
    await removeNonces(docker);
  }
}

/** This run's proof image and those that runs before left behind when they were cut. */
async function removeNonces(docker: Docker): Promise<void> {
  const prefix = `${ENDPOINT_HOST}:${ENDPOINT_PORT}/${NONCE_REPOSITORY}@`;
  try {
    for (const image of await docker.listImages({ digests: true })) {
      const nonce = image.RepoDigests?.find((reference) => reference.startsWith(prefix));
      if (nonce !== undefined) await docker.getImage(nonce).remove({ force: true });
    }
  } catch {
    // They are a few kilobytes, and the next run tries again.
  }
}

async function pullWithRetries(
  docker: Docker,
  image: Wanted,
  progress: PullProgress,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await pull(docker, image.expected.reference, signal, (event) => progress.take(image.name, event));
      progress.finish(image.name);
      return;
    } catch (cause) {
      const reason = reasonOf(cause);
      if (diskFull(reason)) throw fullError(reason, cause);
      if (attempt === PULL_ATTEMPTS || signal.aborted) {
        throw engineError("ENGINE_PULL_FAILED", `image ${JSON.stringify(image.name)}: ${reason}`, {
          cause,
          hints: ["sealift doctor", "run the same command again; layers that are complete are kept"],
        });
      }
    }
    await sleep(500 * 2 ** attempt, undefined, { signal }).catch(() => undefined);
  }
}

/** The engine said in its stream that the pull failed; the HTTP status was 200 long before. */
class PullFailure extends Error {}

export interface PullEvent {
  readonly id?: string;
  readonly status?: string;
  readonly error?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
}

/**
 * One pull. dockerode's followProgress reports no error that comes in the stream, so each event is looked
 * at here. Fails when nothing was heard for three minutes.
 */
async function pull(
  docker: Docker,
  reference: string,
  signal: AbortSignal,
  onEvent: (event: PullEvent) => void,
): Promise<void> {
  const stalled = new AbortController();
  const arm = (): NodeJS.Timeout => setTimeout(() => stalled.abort(), STALL_MS);
  let timer = arm();
  const abortSignal = AbortSignal.any([signal, stalled.signal]);
  try {
    const stream: NodeJS.ReadableStream = await docker.pull(reference, { abortSignal });
    await new Promise<void>((resolve, reject) => {
      let failure: string | undefined;
      docker.modem.followProgress(
        stream,
        (error: Error | null, events: readonly PullEvent[] | null) => {
          failure ??= pullError(events ?? []);
          if (error) reject(error);
          else if (failure !== undefined) reject(new PullFailure(failure));
          else resolve();
        },
        (event: PullEvent) => {
          clearTimeout(timer);
          timer = arm();
          failure ??= pullError([event]);
          onEvent(event);
        },
      );
      abortSignal.addEventListener("abort", () => reject(new PullFailure("stopped")), { once: true });
    });
  } catch (cause) {
    if (stalled.signal.aborted) throw new PullFailure(`nothing was heard for ${STALL_MS / 1000} s`, { cause });
    throw cause;
  } finally {
    clearTimeout(timer);
  }
}

/** The first error among the events of a pull. */
export function pullError(events: readonly PullEvent[]): string | undefined {
  const found = events.find((event) => typeof event.error === "string" || "errorDetail" in event);
  return found === undefined ? undefined : (found.error ?? "error without a text");
}

export function diskFull(reason: string): boolean {
  return /no space left on device|disk quota exceeded/i.test(reason);
}

function fullError(reason: string, cause: unknown): Error {
  return engineError("ENGINE_DISK_FULL", `the engine's disk is full: ${reason}`, {
    cause,
    hints: ["sealift doctor --for BUNDLE says how much is needed", "make room, then run the same command again"],
  });
}

/** Sums what the engine says of each layer; layers that it has count when their image is done. */
class PullProgress {
  readonly #total: number;
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #layers = new Map<string, Map<string, number>>();
  readonly #onProgress: (detail: string) => void;

  constructor(images: readonly Wanted[], onProgress: (detail: string) => void = () => undefined) {
    this.#sizes = new Map(images.map((image) => [image.name, bytesOf(image)]));
    this.#total = images.reduce((sum, image) => sum + bytesOf(image), 0);
    this.#onProgress = onProgress;
  }

  take(name: string, event: PullEvent): void {
    if (event.id === undefined || event.status !== "Downloading") return;
    const layers = this.#layers.get(name) ?? new Map<string, number>();
    layers.set(event.id, event.progressDetail?.current ?? 0);
    this.#layers.set(name, layers);
    this.#say();
  }

  finish(name: string): void {
    this.#layers.set(name, new Map([["all", this.#sizes.get(name) ?? 0]]));
    this.#say();
  }

  #say(): void {
    let done = 0;
    for (const layers of this.#layers.values()) for (const bytes of layers.values()) done += bytes;
    const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);
    this.#onProgress(`${megabytes(Math.min(done, this.#total))} of ${megabytes(this.#total)} MB`);
  }
}
