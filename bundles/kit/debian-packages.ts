/**
 * The Debian packages that a kit carries: the library that Node may lack on a small host, and for each supported
 * host the Docker engine with what a minimal installation (debootstrap's minbase) has not. The lock beside this
 * file says which version of each; `kit lock` renews it, and what is not committed does not get into a kit.
 */
import type { DebianInput } from "../model/appliance.ts";
import { debianInputSchema } from "../model/appliance.ts";
import { type JsonSchema, schemaProblem } from "../model/schema.ts";
import { newestPackages } from "../source/recipe/debian-archive.ts";
import { kitError } from "./error.ts";

export const KIT_PLATFORMS = ["linux/amd64", "linux/arm64"] as const;
export type KitPlatform = (typeof KIT_PLATFORMS)[number];

/** Hosts whose engine a kit can carry. */
export const ENGINE_HOSTS = ["debian12", "debian13"] as const;
export type EngineHost = (typeof ENGINE_HOSTS)[number];

export type KitPart = "library" | EngineHost;
type Suite = "bookworm" | "trixie";

/** Below a checkout's root. */
export const KIT_LOCK = "bundles/kit/debian-packages.lock.json";

/** How a package URL names the distribution of each suite. */
export const DISTRO: Readonly<Record<Suite, string>> = { bookworm: "debian-12", trixie: "debian-13" };

/** Of Debian 12, because what is built there asks for no newer glibc than any supported host has. */
const NODE_LIBRARY = ["libatomic1", "gcc-12-base"];
const DOCKER = ["docker.io", "docker-cli", "docker-compose"];
const BENEATH = [
  ...["ca-certificates", "containerd", "iptables", "libip4tc2", "libip6tc2", "libmnl0", "libnetfilter-conntrack3"],
  ...["libnfnetlink0", "libnftnl11", "libxtables12", "netbase", "openssl", "runc", "tini"],
];

/** No closure is computed: test/e2e/kit-engine.test.ts installs each list on a minimal host without a network. */
const WANTED: Readonly<Record<KitPart, Readonly<Partial<Record<Suite, readonly string[]>>>>> = {
  library: { bookworm: NODE_LIBRARY },
  // libssl: openssl wants one as new as itself, which a host without updates has not.
  debian12: { bookworm: [...BENEATH, "libssl3"], trixie: DOCKER },
  debian13: { trixie: [...DOCKER, ...BENEATH, "adduser", "libssl3t64"] },
};
const PARTS = Object.keys(WANTED) as KitPart[];

/** By suite; each package once, sorted by name. */
export type LockedPart = Readonly<Partial<Record<Suite, readonly DebianInput[]>>>;

export interface KitLock {
  readonly schemaVersion: 1;
  /** RFC 3339, whole seconds. */
  readonly created: string;
  readonly platforms: Readonly<Record<KitPlatform, Readonly<Record<KitPart, LockedPart>>>>;
}

const all = (names: readonly string[], value: object): object => ({
  type: "object",
  additionalProperties: false,
  required: names,
  properties: Object.fromEntries(names.map((name) => [name, value])),
});

const kitLockSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "created", "platforms"],
  properties: {
    schemaVersion: { const: 1 },
    created: { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ$" },
    platforms: all(
      KIT_PLATFORMS,
      all(PARTS, {
        type: "object",
        propertyNames: { enum: Object.keys(DISTRO) },
        additionalProperties: { type: "array", items: debianInputSchema },
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
    for (const part of PARTS) {
      const suites = Object.entries(lock.platforms[platform][part]);
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
  readonly onProgress: (detail: string) => void;
}

/** The newest version of every package, as Debian's signed lists have it. @throws what `newestPackages` throws */
export async function newestKitLock({ cacheDir, now, onProgress }: LockOptions): Promise<KitLock> {
  const lockPart = async (platform: KitPlatform, part: KitPart): Promise<LockedPart> => {
    const locked: Partial<Record<Suite, readonly DebianInput[]>> = {};
    for (const [suite, packages] of Object.entries(WANTED[part]) as [Suite, readonly string[]][]) {
      const query = { suite, packages, architecture: architectureOf(platform), cacheDir };
      const onList = (detail: string): void => onProgress(`${platform} ${part}: ${detail}`);
      locked[suite] = await newestPackages({ ...query, onProgress: onList });
    }
    return locked;
  };
  const platforms: Partial<Record<KitPlatform, Record<KitPart, LockedPart>>> = {};
  for (const platform of KIT_PLATFORMS) {
    const parts: Partial<Record<KitPart, LockedPart>> = {};
    for (const part of PARTS) parts[part] = await lockPart(platform, part);
    platforms[platform] = parts as Record<KitPart, LockedPart>;
  }
  const created = `${now.toISOString().slice(0, 19)}Z`;
  return { schemaVersion: 1, created, platforms: platforms as KitLock["platforms"] };
}
