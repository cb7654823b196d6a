/**
 * Whether the programs and libraries of an image find what they need when they start. There is no solver
 * and no package manager that would have said so: a recipe lists its packages, and this check tells which
 * one it forgot. Libraries that a program opens by name at run time (dlopen) cannot be seen.
 */
import { posix } from "node:path";
import { reasonOf } from "../../model/sealift-error.ts";
import { type ElfFile, isElfProgram, parseElf } from "./elf.ts";
import { recipeError } from "./error.ts";
import { contentSize, type FileTree, readContent, type TreeEntry } from "./file-tree.ts";

const MACHINES: Readonly<Record<string, { readonly machine: number; readonly triplet: string }>> = {
  amd64: { machine: 62, triplet: "x86_64-linux-gnu" },
  arm64: { machine: 183, triplet: "aarch64-linux-gnu" },
};
const REPORTED_MAX = 20;

/**
 * Checks every ELF file that the new layer adds: made for `architecture`; its interpreter, each library
 * (found as ld.so finds it, without a cache) and each version of their symbols are in the image.
 * @throws RECIPE_LIBRARY_MISSING with all that is missing; RECIPE_PACKAGE_MALFORMED for a broken ELF file.
 */
export function checkLibraries(tree: FileTree, architecture: string): void {
  const wanted = MACHINES[architecture];
  if (!wanted) throw new TypeError(`no ELF machine for ${architecture}`);
  const parsed = new Map<TreeEntry, ElfFile>();
  const elfOf = (path: string, entry: Extract<TreeEntry, { type: "file" }>): ElfFile => {
    const known = parsed.get(entry);
    if (known) return known;
    try {
      const elf = parseElf((offset, length) => readContent(entry.content, offset, length));
      parsed.set(entry, elf);
      return elf;
    } catch (cause) {
      throw recipeError("RECIPE_PACKAGE_MALFORMED", `ELF file ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
    }
  };
  const missing: string[] = [];
  for (const [path, entry] of tree.own()) {
    if (entry.type !== "file" || contentSize(entry.content) < 64) continue;
    if (!isElfProgram(readContent(entry.content, 0, 20))) continue;
    const elf = elfOf(path, entry);
    if (elf.machine !== wanted.machine) {
      missing.push(`${path} is for ELF machine ${elf.machine}, want ${wanted.machine} (${architecture})`);
      continue;
    }
    if (elf.interpreter !== undefined && !tree.file(elf.interpreter)) missing.push(`${path} needs ${elf.interpreter}`);
    const directories = [
      ...elf.runPath.map((item) => item.replace(/\$(?:ORIGIN|\{ORIGIN\})/g, `/${posix.dirname(path)}`)),
      ...[`/lib/${wanted.triplet}`, `/usr/lib/${wanted.triplet}`, "/lib", "/usr/lib"],
    ];
    for (const name of elf.needed) {
      const library = directories.map((directory) => tree.file(`${directory}/${name}`)).find((file) => file);
      if (!library) {
        missing.push(`${path} needs ${name}`);
        continue;
      }
      const defined = elfOf(name, library).versionsDefined;
      const absent = (elf.versionsNeeded.get(name) ?? []).filter((version) => !defined.has(version));
      if (absent.length > 0) missing.push(`${path} needs ${name} with ${absent.join(", ")}`);
    }
  }
  if (missing.length > 0) {
    const more = missing.length > REPORTED_MAX ? `; and ${missing.length - REPORTED_MAX} more` : "";
    throw recipeError("RECIPE_LIBRARY_MISSING", `${missing.slice(0, REPORTED_MAX).join("; ")}${more}`, {
      hints: ["add the package with the library to the recipe's debian.packages, or drop the file"],
    });
  }
}
