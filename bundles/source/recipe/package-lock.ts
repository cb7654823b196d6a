/**
 * What `npm ci --omit=dev` would install for one workspace, read from package-lock.json (lockfileVersion
 * 2 or 3) alone: its own production dependencies, theirs, and the workspaces among them.
 */
import { posix } from "node:path";
import type { NpmInput } from "../../model/appliance.ts";
import { type JsonSchema, schemaProblem } from "../../model/schema.ts";
import { recipeError } from "./error.ts";
import { sha512Integrity } from "./npm-registry.ts";

export interface WorkspaceClosure {
  /** Workspaces by their directory below the root, sorted; the one asked for is among them. */
  readonly workspaces: readonly string[];
  /** Where a workspace can be imported from, e.g. `node_modules/@sealift/service-kit` → its directory. */
  readonly links: ReadonlyMap<string, string>;
  /** Packages of the registry by where they are installed, e.g. `node_modules/pg`. */
  readonly packages: ReadonlyMap<string, NpmInput>;
}

interface LockEntry {
  readonly name?: string;
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly link?: boolean;
  readonly inBundle?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

const strings = { type: "object", additionalProperties: { type: "string" } };
/** npm writes os and cpu as a text where package.json has one. */
const list = { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] };
const packageLockSchema: JsonSchema = {
  type: "object",
  required: ["lockfileVersion", "packages"],
  properties: {
    lockfileVersion: { enum: [2, 3] },
    packages: {
      type: "object",
      additionalProperties: {
        type: "object",
        properties: {
          name: { type: "string" },
          version: { type: "string" },
          resolved: { type: "string" },
          integrity: { type: "string" },
          link: { type: "boolean" },
          inBundle: { type: "boolean" },
          os: list,
          cpu: list,
          libc: list,
          dependencies: strings,
          optionalDependencies: strings,
          peerDependencies: strings,
        },
      },
    },
  },
};

const CPU: Readonly<Record<string, string>> = { amd64: "x64", arm64: "arm64" };

/**
 * `workspace` is empty for the root itself. `takesOptional` tells which optional dependencies to take, by
 * name; all that suit the architecture if it is not given.
 * @throws RECIPE_MALFORMED if the file is not such a lock, or lacks a package that is needed.
 */
export function workspaceClosure(
  bytes: Buffer,
  workspace: string,
  architecture: string,
  takesOptional: (name: string) => boolean = () => true,
): WorkspaceClosure {
  const malformed = (what: string, cause?: unknown): Error =>
    recipeError("RECIPE_MALFORMED", `package-lock.json: ${what}`, { cause });
  const leadsOut = (): Error => malformed("a path in it leads out of its directory");
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw malformed("not JSON", cause);
  }
  const problem = schemaProblem(packageLockSchema, value);
  if (problem !== undefined) throw malformed(problem);
  const entries = new Map(Object.entries((value as { packages: Record<string, LockEntry> }).packages));
  const workspaces = new Set<string>();
  const links = new Map<string, string>();
  const packages = new Map<string, NpmInput>();
  const pending = [workspace];
  if (!entries.has(workspace)) throw malformed(`no workspace ${JSON.stringify(workspace)}`);
  const seen = new Set<string>();
  while (pending.length > 0) {
    const location = pending.pop() as string;
    if (seen.has(location)) continue;
    if (!isPlainPath(location) && (location !== "" || workspace !== "")) throw leadsOut();
    seen.add(location);
    const entry = entries.get(location) as LockEntry;
    if (isInstalled(location)) {
      const name = entry.name ?? location.slice(location.lastIndexOf("node_modules/") + "node_modules/".length);
      const integrity = sha512Integrity(entry.integrity ?? "");
      if (entry.inBundle === true || integrity === undefined || entry.version === undefined) {
        throw malformed(`${JSON.stringify(location)} is not a package of the registry with a sha512`);
      }
      packages.set(location, { name, version: entry.version, integrity });
    } else {
      workspaces.add(location);
    }
    const required = Object.keys(entry.dependencies ?? {});
    // npm installs peers beside their dependent where it can; those that are in the lock are needed.
    const optional = Object.keys(entry.optionalDependencies ?? {}).filter(takesOptional);
    const wished = [...optional, ...Object.keys(entry.peerDependencies ?? {})];
    for (const [name, must] of [
      ...required.map((n) => [n, true] as const),
      ...wished.map((n) => [n, false] as const),
    ]) {
      const found = findInstalled(entries, location, name);
      const target = found === undefined ? undefined : (entries.get(found) as LockEntry);
      if (found === undefined || target === undefined || !suits(target, architecture)) {
        if (must) throw malformed(`${JSON.stringify(location)} needs ${JSON.stringify(name)}, which is not there`);
        continue;
      }
      if (target.link !== true) {
        pending.push(found);
      } else if (target.resolved === undefined || !entries.has(target.resolved)) {
        throw malformed(`${JSON.stringify(found)} is a link to nothing`);
      } else {
        links.set(found, target.resolved);
        pending.push(target.resolved);
      }
    }
  }
  if (![...links.keys()].every(isPlainPath)) throw leadsOut();
  return { workspaces: [...workspaces].sort(), links, packages };
}

function isInstalled(location: string): boolean {
  return location.startsWith("node_modules/") || location.includes("/node_modules/");
}

function isPlainPath(path: string): boolean {
  return (
    path !== "" && path !== ".." && !path.startsWith("/") && !path.startsWith("../") && posix.normalize(path) === path
  );
}

/** As Node resolves a package: in the nearest node_modules on the way up. */
function findInstalled(entries: ReadonlyMap<string, LockEntry>, from: string, name: string): string | undefined {
  for (let directory = from; ; directory = posix.dirname(directory)) {
    const prefix = directory === "." || directory === "" ? "" : `${directory}/`;
    const candidate = `${prefix}node_modules/${name}`;
    if (posix.basename(directory) !== "node_modules" && entries.has(candidate)) return candidate;
    if (prefix === "") return undefined;
  }
}

function suits(entry: LockEntry, architecture: string): boolean {
  const allows = (given: readonly string[] | string | undefined, mine: string): boolean => {
    const words = given === undefined ? [] : [given].flat();
    if (words.includes(`!${mine}`)) return false;
    const named = words.filter((word) => !word.startsWith("!"));
    return named.length === 0 || named.includes(mine);
  };
  return (
    allows(entry.os, "linux") && allows(entry.cpu, CPU[architecture] ?? architecture) && allows(entry.libc, "glibc")
  );
}
