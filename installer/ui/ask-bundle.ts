/** Which bundle? A path with completion; what lies here and on mounted media is proposed, whole or in parts. */
import { type Dirent, statSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LAYOUT_FILE } from "../../bundles/layout/layout.ts";
import { findParts, partOf } from "../../bundles/layout/parts.ts";
import { askSearch, type Choice } from "./ask.ts";

/** Where media are mounted, and how many directories down. */
const MEDIA = { "/media": 2, "/mnt": 1, "/run/media": 3 } as const;
const SHOWN_MAX = 200;

export async function askBundle(): Promise<string> {
  return askSearch("Bundle (type a path, Tab completes):", proposals, bundleProblem);
}

/** Bundles that lie about while nothing is typed; else what the path could go on with. */
async function proposals(typed: string): Promise<readonly Choice<string>[]> {
  const found = typed === "" ? await bundlesAround() : await completions(typed);
  return found.slice(0, SHOWN_MAX).map((path) => ({ value: path, name: path }));
}

async function bundlesAround(): Promise<string[]> {
  const here = await bundlesIn(".", 0);
  const media = await Promise.all(Object.entries(MEDIA).map(([directory, depth]) => bundlesIn(directory, depth)));
  const found = [...here, ...media.flat()];
  return found.length > 0 ? found : ["./", ...Object.keys(MEDIA).filter((path) => kindOf(path) === "directory")];
}

async function bundlesIn(directory: string, depth: number): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await entries(directory)) {
    const path = join(directory, entry.name);
    if (entry.name.endsWith(".tar") && kindOf(path) === "file") found.push(path);
    else if (isFirstPart(path) && kindOf(path) === "file") found.push(path);
    else if (entry.isDirectory() && isLayout(path)) found.push(path);
    else if (entry.isDirectory() && depth > 0) found.push(...(await bundlesIn(path, depth - 1)));
  }
  return found;
}

async function completions(typed: string): Promise<string[]> {
  const directory = typed.endsWith("/") ? typed : dirname(typed);
  const start = typed.endsWith("/") ? typed : join(directory, "/").replace(/^\.\//, typed.startsWith("./") ? "./" : "");
  const names = (await entries(directory)).map(
    (entry) => `${start}${entry.name}${isDirectory(entry, start) ? "/" : ""}`,
  );
  return names.filter((name) => name.startsWith(typed) && !name.slice(start.length).startsWith("."));
}

function isDirectory(entry: Dirent, start: string): boolean {
  return entry.isDirectory() || (entry.isSymbolicLink() && kindOf(join(start, entry.name)) === "directory");
}

/** None if it cannot be read: verification says why, if it is chosen all the same. */
async function entries(directory: string): Promise<Dirent[]> {
  try {
    return (await readdir(directory, { withFileTypes: true })).sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch {
    return [];
  }
}

function isLayout(path: string): boolean {
  return kindOf(join(path, LAYOUT_FILE)) === "file";
}

function kindOf(path: string): "file" | "directory" | "other" | undefined {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return undefined;
  if (stat.isFile()) return "file";
  return stat.isDirectory() ? "directory" : "other";
}

/** Only what a look shows; verification judges the rest. */
function bundleProblem(path: string): string | undefined {
  const kind = kindOf(path);
  if (kind === "file") return undefined;
  if (kind !== "directory") return "there is no such file";
  return isLayout(path) || hasParts(path) ? undefined : "that is a directory; type on, or press Tab";
}

/** One part stands for all of them. */
function isFirstPart(path: string): boolean {
  return partOf(path) !== undefined && /\.part0*1-of-/i.test(path);
}

function hasParts(path: string): boolean {
  try {
    return findParts(path) !== undefined;
  } catch {
    // Whatever is wrong with them, verification says it.
    return true;
  }
}
