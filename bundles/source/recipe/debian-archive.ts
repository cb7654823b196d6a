/**
 * Debian's archive, and Ubuntu's of the same form, as a source: which mirror the builder has, and which version
 * of a package is newest in a suite, its -updates and its -security. InRelease is checked with gpgv against the
 * distribution's own keyring, the package lists against InRelease, so that a mirror can withhold packages but not
 * change them.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compareDebianVersions, type DebianVersion, parseDebianVersion } from "../../../sbom/debian-version.ts";
import type { DebianInput } from "../../model/appliance.ts";
import { digestFromHex } from "../../model/digest.ts";
import { SealiftError } from "../../model/sealift-error.ts";
import { fetchSmall, fetchToCache, withoutSecrets } from "./download.ts";
import { recipeError } from "./error.ts";
import { runTool } from "./run-tool.ts";

export const ARCHIVES = ["debian", "debian-security", "ubuntu"] as const;
export type ArchiveName = (typeof ARCHIVES)[number];
export type Distribution = "debian" | "ubuntu";

const VARIABLES: Readonly<Record<ArchiveName, string>> = {
  debian: "SEALIFT_DEBIAN_MIRROR",
  "debian-security": "SEALIFT_DEBIAN_SECURITY_MIRROR",
  ubuntu: "SEALIFT_UBUNTU_MIRROR",
};
/** Last components of the addresses in apt's sources; Ubuntu keeps what is not amd64 in an archive of its own. */
const DIRECTORIES: Readonly<Record<ArchiveName, readonly string[]>> = {
  debian: ["debian"],
  "debian-security": ["debian-security"],
  ubuntu: ["ubuntu", "ubuntu-ports"],
};

interface Pocket {
  readonly suite: string;
  readonly archive: ArchiveName;
  /** What its Release file must say of itself. */
  readonly says: Readonly<Record<string, string>>;
}

interface Conventions {
  readonly keyring: string;
  readonly keyringPackage: string;
  readonly components: readonly string[];
  readonly pockets: (suite: string) => readonly Pocket[];
}

const CONVENTIONS: Readonly<Record<Distribution, Conventions>> = {
  debian: {
    keyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
    keyringPackage: "debian-archive-keyring",
    components: ["main"],
    pockets: (suite) => [
      ...[suite, `${suite}-updates`].map((name): Pocket => {
        return { suite: name, archive: "debian", says: { Origin: "Debian", Label: "Debian", Codename: name } };
      }),
      {
        suite: `${suite}-security`,
        archive: "debian-security",
        says: { Origin: "Debian", Label: "Debian-Security", Codename: `${suite}-security` },
      },
    ],
  },
  // Docker is in universe.
  ubuntu: {
    keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
    keyringPackage: "ubuntu-keyring",
    components: ["main", "universe"],
    pockets: (suite) =>
      [suite, `${suite}-updates`, `${suite}-security`].map((name) => {
        return {
          suite: name,
          archive: "ubuntu",
          says: { Origin: "Ubuntu", Label: "Ubuntu", Suite: name, Codename: suite },
        };
      }),
  },
};
/** For a mirror that is kept as it was at a time, as an archive of snapshots is: its lists have all expired. */
const SNAPSHOT_VARIABLE = "SEALIFT_DEBIAN_SNAPSHOT";
const RELEASE_MAX_BYTES = 4 * 1024 * 1024;
const PACKAGES_MAX_BYTES = 256 * 1024 * 1024;

/**
 * Addresses where `archive` may lie, best first, without a final slash: what SEALIFT_DEBIAN_MIRROR,
 * SEALIFT_DEBIAN_SECURITY_MIRROR or SEALIFT_UBUNTU_MIRROR says (several with spaces between), or else the
 * builder's own apt sources.
 * @throws SOURCE_MIRROR_UNKNOWN | SOURCE_TOOL_MISSING
 */
export async function debianMirrors(archive: ArchiveName): Promise<readonly string[]> {
  const said = (process.env[VARIABLES[archive]] ?? "").split(/\s+/).filter((url) => url !== "");
  const urls = said.length > 0 ? said : await aptMirrors(archive);
  if (urls.length === 0 || urls.some((url) => !/^https?:$/.test(URL.parse(url)?.protocol ?? ""))) {
    throw recipeError("SOURCE_MIRROR_UNKNOWN", `archive ${archive}: got no http address of a mirror`, {
      hints: [mirrorHint(archive)],
    });
  }
  return urls.map((url) => url.replace(/\/+$/, ""));
}

/** Ubuntu's packages are for kits alone; images are made of Debian's. */
function mirrorHint(archive: ArchiveName): string {
  const verb = archive === "ubuntu" ? "kit lock" : "bundle lock --appliance FILE";
  return `${VARIABLES[archive]}=URL sealift ${verb}`;
}

async function aptMirrors(archive: ArchiveName): Promise<string[]> {
  // The lists need not have been fetched for this, as they must for `apt-get indextargets`.
  const { stdout } = await runTool("apt-get", ["update", "--print-uris"], { maxBytes: 16 * 1024 * 1024, from: "apt" });
  const bases = new Set<string>();
  for (const line of stdout.toString("utf8").split("\n")) {
    const base = /^'(https?:[^']+?)\/dists\/[^']+\/InRelease'/.exec(line)?.[1];
    if (base !== undefined) bases.add(base);
  }
  const named = (name: string): string[] => [...bases].filter((base) => base.endsWith(`/${name}`));
  const own = DIRECTORIES[archive].flatMap(named);
  // A mirror that has one archive of Debian's mostly has the other beside it.
  const siblings = archive === "debian-security" ? named("debian").map((base) => `${base}-security`) : [];
  return [...new Set([...own, ...siblings])];
}

export interface DebianQuery {
  /** Debian if absent. */
  readonly distribution?: Distribution;
  readonly suite: string;
  readonly packages: readonly string[];
  readonly architecture: string;
  readonly cacheDir: string;
  readonly keyring?: string;
  readonly onProgress: (detail: string) => void;
}

/** @throws RECIPE_PACKAGE_MALFORMED if a version is none: the order of the two would be a guess. */
function isNewer(found: DebianInput, known: DebianInput): boolean {
  const [a, b] = [found, known].map((input) => {
    const version = parseDebianVersion(input.version);
    if (version) return version;
    const what = `${input.package} ${JSON.stringify(input.version)}`;
    throw recipeError("RECIPE_PACKAGE_MALFORMED", `package list: version of ${what} is no Debian version`);
  }) as [DebianVersion, DebianVersion];
  return compareDebianVersions(a, b) > 0;
}

/**
 * The newest version of each package, sorted by name.
 * @throws RECIPE_PACKAGE_UNKNOWN | SOURCE_ARCHIVE_UNTRUSTED | SOURCE_MIRROR_UNKNOWN | SOURCE_TOOL_MISSING |
 * SOURCE_DOWNLOAD_FAILED | SOURCE_INTEGRITY_MISMATCH. Does not resolve dependencies. A mirror that serves an
 * old suite is noticed only where the suite has a Valid-Until, as -updates and -security have.
 */
export async function newestPackages(query: DebianQuery): Promise<DebianInput[]> {
  const wanted = new Set(query.packages);
  const newest = new Map<string, DebianInput>();
  for (const pocket of CONVENTIONS[query.distribution ?? "debian"].pockets(query.suite)) {
    query.onProgress(`package lists of ${pocket.suite}`);
    for (const found of await packagesOf(pocket, wanted, query)) {
      const known = newest.get(found.package);
      if (!known || isNewer(found, known)) newest.set(found.package, found);
    }
  }
  const unknown = [...wanted].filter((name) => !newest.has(name));
  if (unknown.length > 0) {
    throw recipeError(
      "RECIPE_PACKAGE_UNKNOWN",
      `suite ${query.suite}: no package ${unknown.map((name) => JSON.stringify(name)).join(", ")} for ${query.architecture}`,
    );
  }
  return [...newest.values()].sort((a, b) => (a.package < b.package ? -1 : 1));
}

/** What the first mirror has that has the suite, with lists for the architecture. */
async function packagesOf(
  { suite, archive, says }: Pocket,
  wanted: ReadonlySet<string>,
  query: DebianQuery,
): Promise<DebianInput[]> {
  const { keyring, keyringPackage, components } = CONVENTIONS[query.distribution ?? "debian"];
  const mirrors = await debianMirrors(archive);
  let gone: unknown;
  for (const mirror of mirrors) {
    const what = `suite ${suite} on ${JSON.stringify(withoutSecrets(mirror))}`;
    const signed = await fetchSmall(`${mirror}/dists/${suite}/InRelease`, what, RELEASE_MAX_BYTES);
    if (signed === undefined) continue;
    const release = await verifyRelease(signed, query.keyring ?? keyring, what, keyringPackage);
    checkRelease(release, says, what);
    try {
      const lists = components.map((component) => {
        return listOf(`${mirror}/dists/${suite}`, `${component}/binary-${query.architecture}`, release, what, query);
      });
      const texts = await Promise.all(lists);
      return texts.flatMap((text) => [...parsePackages(text, wanted, archive, what)]);
    } catch (cause) {
      // Ubuntu's Release files name lists of architectures that lie in its other archive.
      if (!(cause instanceof SealiftError && cause.code === "SOURCE_PACKAGE_GONE")) throw cause;
      gone = cause;
    }
  }
  if (gone !== undefined) throw gone;
  throw recipeError("SOURCE_MIRROR_UNKNOWN", `suite ${suite}: none of ${mirrors.length} mirrors has it`, {
    hints: [mirrorHint(archive)],
  });
}

async function listOf(
  base: string,
  directory: string,
  release: ReleaseFile,
  what: string,
  query: DebianQuery,
): Promise<Buffer> {
  const name = `${directory}/Packages.xz`;
  const listed = release.files.get(name);
  if (!listed) throw recipeError("SOURCE_ARCHIVE_UNTRUSTED", `${what}: InRelease names no ${name}`);
  const file = await fetchToCache(
    {
      what: `${name} of ${what}`,
      // By hash first: a mirror replaces the lists while we read.
      urls: async () => [`${base}/${directory}/by-hash/SHA256/${listed.hex}`, `${base}/${name}`],
      algorithm: "sha256",
      hex: listed.hex,
      size: listed.size,
      maxBytes: PACKAGES_MAX_BYTES,
    },
    query.cacheDir,
  );
  const { status, stdout, stderr } = await runTool("xz", ["--decompress", "--stdout", file], {
    maxBytes: PACKAGES_MAX_BYTES,
    from: "xz-utils",
  });
  if (status !== 0) throw recipeError("SOURCE_ARCHIVE_UNTRUSTED", `${what}: ${name}: ${stderr.trim()}`);
  return stdout;
}

export interface ReleaseFile {
  readonly fields: ReadonlyMap<string, string>;
  /** By path below the suite, from the SHA256 section. */
  readonly files: ReadonlyMap<string, { readonly hex: string; readonly size: number }>;
}

/**
 * The part of InRelease that its signatures cover. One good signature by an unexpired key of the keyring is
 * enough, and any bad one refuses, as with apt: archives are signed by the keys of several releases.
 * @throws SOURCE_ARCHIVE_UNTRUSTED | SOURCE_TOOL_MISSING
 */
export async function verifyRelease(
  signed: Buffer,
  keyring: string,
  what: string,
  keyringPackage: string = CONVENTIONS.debian.keyringPackage,
): Promise<ReleaseFile> {
  const directory = await mkdtemp(join(tmpdir(), "sealift-release-"));
  try {
    const [input, output] = [join(directory, "InRelease"), join(directory, "Release")];
    await writeFile(input, signed);
    const args = ["--status-fd", "1", "--keyring", keyring, "--output", output, input];
    const { stdout, stderr } = await runTool("gpgv", args, { maxBytes: 1024 * 1024, from: "gpgv" });
    const statuses = stdout
      .toString("utf8")
      .split("\n")
      .map((line) => /^\[GNUPG:\] (\S+)/.exec(line)?.[1]);
    if (/keyblock resource.*(?:No such file|general error)/i.test(stderr)) {
      throw recipeError("SOURCE_TOOL_MISSING", `keyring ${JSON.stringify(keyring)} is not on this machine`, {
        hints: [`apt-get install ${keyringPackage}`],
      });
    }
    if (!statuses.includes("GOODSIG") || statuses.includes("BADSIG")) {
      const said = stderr.trim().split("\n").at(-1) ?? "";
      throw recipeError("SOURCE_ARCHIVE_UNTRUSTED", `${what}: no good signature by a key of the keyring: ${said}`);
    }
    // Only what gpgv wrote out: text around the signed part of InRelease is anybody's.
    return parseRelease((await readFile(output)).toString("utf8"));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function parseRelease(text: string): ReleaseFile {
  const fields = new Map<string, string>();
  const files = new Map<string, { hex: string; size: number }>();
  let section = "";
  for (const line of text.split("\n")) {
    const field = /^([A-Za-z0-9-]+):\s*(.*)$/.exec(line);
    if (field) {
      section = field[1] as string;
      fields.set(section, (field[2] as string).trim());
    } else if (section === "SHA256") {
      const [, hex, size, name] = /^ ([0-9a-f]{64})\s+(\d+)\s+(\S+)$/.exec(line) ?? [];
      if (hex !== undefined && size !== undefined && name !== undefined) files.set(name, { hex, size: Number(size) });
    }
  }
  return { fields, files };
}

function checkRelease({ fields }: ReleaseFile, says: Pocket["says"], what: string): void {
  for (const [field, value] of Object.entries(says)) {
    if (fields.get(field) !== value) {
      const got = JSON.stringify(fields.get(field));
      throw recipeError("SOURCE_ARCHIVE_UNTRUSTED", `${what}: ${field}: got ${got}, want ${JSON.stringify(value)}`);
    }
  }
  const until = fields.get("Valid-Until");
  if (until !== undefined && !(Date.parse(until) > timeOfLists())) {
    throw recipeError(
      "SOURCE_ARCHIVE_UNTRUSTED",
      `${what}: its package lists were valid until ${JSON.stringify(until)}`,
      {
        hints: [
          "the mirror is out of date, or this machine's clock is wrong",
          `if the mirror keeps an old day on purpose: ${SNAPSHOT_VARIABLE}=TIME sealift bundle lock --appliance FILE`,
        ],
      },
    );
  }
}

/** When the package lists must have been valid: now, or at the time that SEALIFT_DEBIAN_SNAPSHOT says. */
function timeOfLists(): number {
  const said = process.env[SNAPSHOT_VARIABLE];
  if (said === undefined || said === "") return Date.now();
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(said) ? Date.parse(said) : Number.NaN;
  if (Number.isNaN(time) || time > Date.now()) {
    throw recipeError(
      "SOURCE_MIRROR_UNKNOWN",
      `${SNAPSHOT_VARIABLE}: got ${JSON.stringify(said)}, want a past time like 2026-01-31T00:00:00Z`,
    );
  }
  return time;
}

function* parsePackages(
  text: Buffer,
  wanted: ReadonlySet<string>,
  archive: ArchiveName,
  what: string,
): Generator<DebianInput> {
  for (let at = 0; at < text.length; ) {
    const blank = text.indexOf("\n\n", at);
    const end = blank < 0 ? text.length : blank;
    const nameEnd = text.indexOf("\n", at);
    const name = /^Package: (\S+)$/.exec(text.toString("latin1", at, nameEnd < 0 ? end : Math.min(nameEnd, end)))?.[1];
    if (name !== undefined && wanted.has(name)) {
      const fields = parseControl(text.toString("utf8", at, end));
      const [version, architecture, path] = ["Version", "Architecture", "Filename"].map((field) => fields.get(field));
      const [hex, size] = [fields.get("SHA256"), Number(fields.get("Size"))];
      if (!version || !architecture || !path || !/^[0-9a-f]{64}$/.test(hex ?? "") || !Number.isSafeInteger(size)) {
        throw recipeError("SOURCE_ARCHIVE_UNTRUSTED", `${what}: package ${JSON.stringify(name)} lacks a field`);
      }
      yield { package: name, version, architecture, archive, path, sha256: digestFromHex(hex as string), size };
    }
    at = end + 2;
  }
}

/** The fields of one paragraph (deb822(5)); continuation lines are kept with their newlines. */
export function parseControl(paragraph: string): Map<string, string> {
  const fields = new Map<string, string>();
  let last: string | undefined;
  for (const line of paragraph.split("\n")) {
    if (/^[ \t]/.test(line)) {
      if (last !== undefined) fields.set(last, `${fields.get(last)}\n${line}`);
      continue;
    }
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    last = line.slice(0, colon);
    fields.set(last, line.slice(colon + 1).trim());
  }
  return fields;
}
