/**
 * The package database of an image, as dpkg itself keeps it (dpkg(1) FILES): scanners read it to know what
 * is in the image, `dpkg-query` and `dpkg --verify` work on it. It states what is really there: files that
 * a recipe drops are not listed.
 */

import type { UnpackedDeb } from "./deb.ts";
import { parseControl } from "./debian-archive.ts";
import { recipeError } from "./error.ts";

export const STATUS_FILE = "var/lib/dpkg/status";
export const INFO_DIRECTORY = "var/lib/dpkg/info";

/** A package with the paths that the image has of it, in stored order and as TarMember.path. */
export interface InstalledDeb {
  readonly deb: UnpackedDeb;
  readonly paths: readonly string[];
}

/**
 * The status file for `installed` over what `lower` (the status file of the layers below, or "") has.
 * @throws RECIPE_FILE_CONFLICT if a package is in both.
 */
export function renderStatus(lower: string, installed: readonly InstalledDeb[]): string {
  const paragraphs = new Map<string, string>();
  for (const paragraph of lower.split("\n\n").filter((text) => text.trim() !== "")) {
    paragraphs.set(parseControl(paragraph).get("Package") ?? "", paragraph.trim());
  }
  for (const { deb } of installed) {
    const name = deb.input.package;
    if (paragraphs.has(name)) {
      throw recipeError("RECIPE_FILE_CONFLICT", `package ${JSON.stringify(name)} is in a recipe below already`);
    }
    const lines = deb.control.split("\n");
    const at = lines.findIndex((line) => line.startsWith("Package:"));
    lines.splice(at + 1, 0, "Status: install ok installed");
    paragraphs.set(name, lines.join("\n"));
  }
  const sorted = [...paragraphs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, paragraph]) => `${paragraph}\n`);
  return sorted.join("\n");
}

/** The database's other files for `installed`, by path. */
export function renderInfo(installed: readonly InstalledDeb[]): Map<string, string> {
  // 1: the names of the files below have the architecture in them where several may be installed at once.
  const files = new Map([[`${INFO_DIRECTORY}/format`, "1\n"]]);
  for (const { deb, paths } of installed) {
    const { package: name, architecture } = deb.input;
    const same = parseControl(deb.control).get("Multi-Arch") === "same";
    const base = `${INFO_DIRECTORY}/${same ? `${name}:${architecture}` : name}`;
    files.set(`${base}.list`, `/.\n${paths.map((path) => `/${path}\n`).join("")}`);
    const kept = paths.flatMap((path) => {
      const md5 = deb.md5sums.get(path);
      return md5 === undefined ? [] : [`${md5}  ${path}\n`];
    });
    if (kept.length > 0) files.set(`${base}.md5sums`, kept.join(""));
  }
  return files;
}
