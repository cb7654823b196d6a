/**
 * The packages that a kit carries: the library that Node may lack on a small host, and for each supported host the
 * Docker engine and ssh-keygen with what a minimal installation (debootstrap's minbase) has not. The lock beside
 * this file says which version of each; `kit lock` renews it, and what is not committed does not get into a kit.
 */
import type { DebianInput } from "../model/appliance.ts";
import { debianInputSchema } from "../model/appliance.ts";
import { type JsonSchema, schemaProblem } from "../model/schema.ts";
import { SealiftError } from "../model/sealift-error.ts";
import { type ArchiveName, type Distribution, debianMirrors, newestPackages } from "../source/recipe/debian-archive.ts";
import { kitError } from "./error.ts";

export const KIT_PLATFORMS = ["linux/amd64", "linux/arm64"] as const;
export type KitPlatform = (typeof KIT_PLATFORMS)[number];

/** Hosts whose engine a kit can carry. */
export const ENGINE_HOSTS = ["debian12", "debian13", "ubuntu24.04"] as const;
export type EngineHost = (typeof ENGINE_HOSTS)[number];

export type KitPart = "library" | EngineHost;
type Suite = "bookworm" | "trixie" | "noble";

/** Below a checkout's root. */
export const KIT_LOCK = "bundles/kit/debian-packages.lock.json";

interface SuiteOf {
  readonly distribution: Distribution;
  /** As a package URL names it. */
  readonly distro: string;
  /** Where the lock may say that its packages lie. */
  readonly archives: readonly ArchiveName[];
}

const DEBIAN_ARCHIVES: readonly ArchiveName[] = ["debian", "debian-security"];
export const SUITES: Readonly<Record<Suite, SuiteOf>> = {
  bookworm: { distribution: "debian", distro: "debian-12", archives: DEBIAN_ARCHIVES },
  trixie: { distribution: "debian", distro: "debian-13", archives: DEBIAN_ARCHIVES },
  noble: { distribution: "ubuntu", distro: "ubuntu-24.04", archives: ["ubuntu"] },
};

/** Of Debian 12, because what is built there asks for no newer glibc than any supported host has. */
const NODE_LIBRARY = ["libatomic1", "gcc-12-base"];
const DOCKER = ["docker.io", "docker-cli", "docker-compose"];
const BENEATH = [
  ...["ca-certificates", "containerd", "iptables", "libip4tc2", "libip6tc2", "libmnl0", "libnetfilter-conntrack3"],
  ...["libnfnetlink0", "libnftnl11", "libxtables12", "netbase", "openssl", "runc"],
];
/** ssh-keygen checks operators' signatures. */
const OPERATORS = [
  ...["libedit2", "libfido2-1", "libgssapi-krb5-2", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0"],
  "openssh-client",
];

/**
 * No closure is computed: test/e2e/kit-engine.test.ts installs each list on a minimal host without a network.
 * That of Ubuntu was written after Debian's and never installed, because no mirror of Ubuntu was within reach.
 */
export const WANTED: Readonly<Record<KitPart, Readonly<Partial<Record<Suite, readonly string[]>>>>> = {
  library: { bookworm: NODE_LIBRARY },
  // libssl: openssl wants one as new as itself, which a host without updates has not.
  debian12: { bookworm: [...BENEATH, ...OPERATORS, "tini", "libbsd0", "libcbor0.8", "libssl3"], trixie: DOCKER },
  debian13: {
    trixie: [...DOCKER, ...BENEATH, ...OPERATORS, "tini", "adduser", "libcbor0.10", "libcom-err2", "libssl3t64"],
  },
  "ubuntu24.04": {
    noble: [
      ...["docker.io", "docker-compose-v2", ...BENEATH, ...OPERATORS],
      ...["adduser", "libbsd0", "libcbor0.10", "libcom-err2", "libssl3t64"],
    ],
  },
};
const PARTS = Object.keys(WANTED) as KitPart[];
/** What everybody who builds kits can lock; a mirror of Ubuntu is not everywhere. */
const ALWAYS = ["library", "debian12", "debian13"] as const satisfies readonly KitPart[];
type Locked = Readonly<Record<(typeof ALWAYS)[number], LockedPart> & Partial<Record<KitPart, LockedPart>>>;

/** By suite; each package once, sorted by name. */
export type LockedPart = Readonly<Partial<Record<Suite, readonly DebianInput[]>>>;

export interface KitLock {
  readonly schemaVersion: 1;
  /** RFC 3339, whole seconds. */
  readonly created: string;
  readonly platforms: Readonly<Record<KitPlatform, Locked>>;
}

const members = (names: readonly string[], required: readonly string[], value: object): object => ({
  type: "object",
  additionalProperties: false,
  required,
  properties: Object.fromEntries(names.map((name) => [name, value])),
});
const inputsFrom = (archives: readonly ArchiveName[]): object => ({
  type: "array",
  items: { ...debianInputSchema, properties: { ...debianInputSchema.properties, archive: { enum: archives } } },
});

const kitLockSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "created", "platforms"],
  properties: {
    schemaVersion: { const: 1 },
    created: { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$" },
    platforms: members(
      KIT_PLATFORMS,
      KIT_PLATFORMS,
      members(PARTS, ALWAYS, {
        type: "object",
        additionalProperties: false,
        properties: Object.fromEntries(
          Object.entries(SUITES).map(([suite, { archives }]) => [suite, inputsFrom(archives)]),
        ),
      }),
    ),
  },
};

/** @throws KIT_SOURCE_REFUSED if `bytes` are no lock, or one of other packages than this version of Sealift carries. */
export function parseKitLock(bytes: Buffer): KitLock {
  const refuse = (problem: string): Error =>
    kitError("KIT_SOURCE_REFUSED", `${KIT_LOCK}: ${problem}`, { hints: ["sealift kit lock"] });
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch {
    throw refuse("not JSON");
  }
  const problem = schemaProblem(kitLockSchema, value);
  if (problem !== undefined) throw refuse(problem);
  const lock = value as KitLock;
  for (const platform of KIT_PLATFORMS) {
    for (const [part, locked] of Object.entries(lock.platforms[platform]) as [KitPart, LockedPart][]) {
      const suites = Object.entries(locked);
      const [got, want] = [
        suites.flatMap(([suite, list]) =>
          named(
            suite,
            list.map((one) => one.package),
          ),
        ),
        wanted(part),
      ];
      if (got.sort().join() !== want.sort().join())
        throw refuse(`${platform} ${part}: not the packages that are wanted`);
      const foreign = suites.flatMap(([, list]) => list).find((one) => !isFor(one, platform));
      if (foreign) throw refuse(`${platform} ${part}: ${foreign.package} is for ${foreign.architecture}`);
    }
  }
  return lock;
}

const named = (suite: string, names: readonly string[]): string[] => names.map((name) => `${suite}/${name}`);
const wanted = (part: KitPart): string[] =>
  Object.entries(WANTED[part]).flatMap(([suite, names]) => named(suite, names));

function isFor({ architecture }: DebianInput, platform: KitPlatform): boolean {
  return architecture === "all" || architecture === architectureOf(platform);
}

function architectureOf(platform: KitPlatform): string {
  return platform.slice(platform.indexOf("/") + 1);
}

export interface LockOptions {
  readonly cacheDir: string;
  readonly now: Date;
  /** Kept of it is a host whose mirror this builder does not know. */
  readonly previous: KitLock | undefined;
  readonly onProgress: (detail: string) => void;
}

export interface NewestKitLock {
  readonly lock: KitLock;
  /** Hosts whose packages were not looked up. */
  readonly kept: readonly EngineHost[];
}

/** The newest version of every package, as the distributions' signed lists have it. @throws what `newestPackages` throws */
export async function newestKitLock(
  { cacheDir, now, previous, onProgress }: LockOptions,
  newest: typeof newestPackages = newestPackages,
): Promise<NewestKitLock> {
  const lockPart = async (platform: KitPlatform, part: KitPart): Promise<LockedPart> => {
    const locked: Partial<Record<Suite, readonly DebianInput[]>> = {};
    for (const [suite, packages] of Object.entries(WANTED[part]) as [Suite, readonly string[]][]) {
      const { distribution } = SUITES[suite];
      const query = { distribution, suite, packages, architecture: architectureOf(platform), cacheDir };
      const onList = (detail: string): void => onProgress(`${platform} ${part}: ${detail}`);
      locked[suite] = await newest({ ...query, onProgress: onList });
    }
    return locked;
  };
  const kept: EngineHost[] = (await hasMirror("ubuntu")) ? [] : ["ubuntu24.04"];
  const platforms: Partial<Record<KitPlatform, Locked>> = {};
  for (const platform of KIT_PLATFORMS) {
    const parts: Partial<Record<KitPart, LockedPart>> = {};
    for (const part of PARTS) {
      const old = previous?.platforms[platform][part];
      if (!kept.some((host) => host === part)) parts[part] = await lockPart(platform, part);
      else if (old) parts[part] = old;
    }
    platforms[platform] = parts as Locked;
  }
  const created = `${now.toISOString().slice(0, 19)}Z`;
  return { lock: { schemaVersion: 1, created, platforms: platforms as KitLock["platforms"] }, kept };
}

/** A mirror that is named and does not answer is another matter. */
async function hasMirror(archive: ArchiveName): Promise<boolean> {
  try {
    return (await debianMirrors(archive)).length > 0;
  } catch (cause) {
    if (cause instanceof SealiftError && cause.code === "SOURCE_MIRROR_UNKNOWN") return false;
    throw cause;
  }
}
