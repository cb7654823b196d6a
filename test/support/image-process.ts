/**
 * The images of compose/appliance.yaml without an engine: built from the lock, unpacked, and their programs
 * started nearly as containers are. Needs a mirror (or a warm cache) and, for starting, root.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { chown, mkdir, readFile, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { createZstdDecompress } from "node:zlib";
import { readApplianceDirectory } from "../../bundles/assemble/appliance-directory.ts";
import { refreshLock } from "../../bundles/assemble/lock.ts";
import { listTar, type TarMember } from "../../bundles/source/recipe/tar-reader.ts";
import type { BuiltImage } from "./build-images.ts";

export const PROJECT = join(import.meta.dirname, "../..");
export const CACHE =
  process.env["SEALIFT_CACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "sealift");
export const PLATFORM = process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
export const OTHER_PLATFORM = PLATFORM === "linux/arm64" ? "linux/amd64" : "linux/arm64";

const mounts = spawnSync("unshare", ["--mount", "--pid", "--fork", "true"]).status === 0;
/** For `skip` of a test that starts something. */
export const cannotStart = process.getuid?.() === 0 && mounts ? false : "needs root and mount namespaces";

export type Images = Readonly<Record<string, BuiltImage>>;

export interface Circumstances {
  readonly umask?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly uid?: number;
  readonly node?: readonly string[];
}

export interface Build {
  readonly lockFile: string;
  readonly cache?: string;
  readonly platform?: string;
  /** Not from finished layers. */
  readonly anew?: boolean;
  /** All, if there are none. */
  readonly names?: readonly string[];
  readonly circumstances?: Circumstances;
}

export function buildImages(wanted: Build): Images {
  const { lockFile, cache = CACHE, platform = PLATFORM, anew = false, names = [] } = wanted;
  const { umask = "022", env = {}, cwd = PROJECT, uid, node = [] } = wanted.circumstances ?? {};
  const script = join(PROJECT, "test/support/build-images.ts");
  const args = [process.execPath, ...node, script, lockFile, cache, platform, anew ? "anew" : "cached", ...names];
  const output = execFileSync("sh", ["-c", `umask ${umask}; exec "$@"`, "sh", ...args], {
    cwd,
    env: { ...process.env, ...env },
    maxBuffer: 1024 * 1024,
    ...(uid !== undefined && { uid, gid: uid }),
  });
  return JSON.parse(output.toString());
}

/** The images as the lock has them; where the mirror no longer has those packages, from a lock of today in `work`. */
export async function lockedImages(work: string, names: readonly string[] = []): Promise<Build & { images: Images }> {
  const lockFile = join(PROJECT, "compose/appliance.lock.json");
  try {
    return { lockFile, names, images: buildImages({ lockFile, names }) };
  } catch (cause) {
    if (!String(cause).includes("SOURCE_PACKAGE_GONE")) throw cause;
    const copy = join(work, "compose-lock");
    await mkdir(copy);
    const directory = await readApplianceDirectory(join(PROJECT, "compose/appliance.yaml"));
    const { lock } = await refreshLock({
      directory: { ...directory, path: join(copy, "appliance.yaml") },
      platforms: [PLATFORM, OTHER_PLATFORM],
      cacheDir: CACHE,
      now: new Date(),
      onProgress: () => {},
    });
    const today = join(copy, "lock.json");
    await writeFile(today, JSON.stringify(lock));
    return { lockFile: today, names, images: buildImages({ lockFile: today, names }) };
  }
}

export interface UnpackedImage {
  readonly image: BuiltImage;
  readonly rootfs: string;
  readonly members: ReadonlyMap<string, TarMember & { tar: string }>;
}

/** Unpacks an image as root into `directory`, as often as it is asked to. */
export async function unpackImage(image: BuiltImage, name: string, directory: string): Promise<UnpackedImage> {
  const rootfs = join(directory, `rootfs-${name}`);
  await mkdir(rootfs, { recursive: true });
  const members = new Map<string, TarMember & { tar: string }>();
  for (const { digest } of image.layers) {
    const hex = digest.slice("sha256:".length);
    const tar = join(directory, `${hex}.tar`);
    await pipeline(createReadStream(join(CACHE, "layers", hex)), createZstdDecompress(), createWriteStream(tar));
    for (const member of listTar(tar, name)) members.set(member.path, { ...member, tar });
    execFileSync("tar", ["--extract", "--same-owner", "--same-permissions", "--file", tar, "--directory", rootfs]);
  }
  return { image, rootfs, members };
}

/** What this process started, so that a failed test leaves nothing behind. */
const running = new Set<ChildProcess>();

export async function killStarted(): Promise<void> {
  for (const child of running) await signalInside(child, "SIGKILL");
}

/** Signals the program that in-image.sh started, which is process 1 in there. */
async function signalInside(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const inside = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").catch(() => "");
  if (inside.trim() !== "") process.kill(Number(inside), signal);
}

export interface Started {
  readonly output: () => string;
  readonly stdout: () => string;
  readonly ended: Promise<number | null>;
  readonly hasEnded: () => boolean;
  /** Signals the program itself, which is process 1 in there. */
  signal(signal: NodeJS.Signals): Promise<void>;
  /** The same; resolves to its exit code. */
  stop(signal: NodeJS.Signals): Promise<number | null>;
}

export interface Container {
  /** As in-image.sh has it. */
  readonly writable?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** Instead of the image's entrypoint. */
  readonly command?: readonly string[];
}

/** Starts an image as its configuration says. */
export function startImage({ image, rootfs }: UnpackedImage, container: Container = {}): Started {
  const { writable = "-", env = {}, args = [], command } = container;
  const config = image.config.config ?? {};
  const own = Object.fromEntries(
    (config.Env ?? []).map((line) => [line.split("=", 1)[0], line.slice(line.indexOf("=") + 1)]),
  );
  const uid = config.User?.split(":")[0] ?? "0";
  const all = [rootfs, uid, writable, ...(command ?? config.Entrypoint ?? []), ...args];
  const child = spawn(join(PROJECT, "test/support/in-image.sh"), all, {
    env: { ...own, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  let output = "";
  let stdout = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk;
    stdout += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    output += chunk;
  });
  const ended = once(child, "close").then(([status]) => {
    running.delete(child);
    return status as number | null;
  });
  return {
    output: () => output,
    stdout: () => stdout,
    ended,
    hasEnded: () => !running.has(child),
    signal: (signal) => signalInside(child, signal),
    async stop(signal) {
      await signalInside(child, signal);
      return ended;
    },
  };
}

/** Tries `work` until it succeeds, for up to a minute or until `started` ends. */
export async function eventually<Result>(what: string, started: Started, work: () => Promise<Result>): Promise<Result> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    try {
      return await work();
    } catch (cause) {
      const late = performance.now() > deadline;
      if (late || started.hasEnded()) {
        throw new Error(`${what} ${late ? "takes more than 60 s" : "ended"}: ${started.output().slice(-4_000)}`, {
          cause,
        });
      }
      await sleep(20);
    }
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** A secret in the image's file system, as Compose mounts one: readable for its uid alone. */
export async function putSecret(rootfs: string, name: string, uid: number, content: string): Promise<void> {
  const path = join(rootfs, "run/secrets", name);
  await mkdir(join(rootfs, "run/secrets"), { recursive: true });
  await writeFile(path, content, { mode: 0o400 });
  await chown(path, uid, uid);
}
