/** os-release(5): which distribution the packages of an image come from. */
import { sbomError } from "../error.ts";
import type { FileTree } from "./file-tree.ts";

export interface OsRelease {
  /** `ID`, such as `debian`. */
  readonly id: string;
  /** `VERSION_ID`, or the code name where a release has no number yet. */
  readonly version: string | undefined;
  readonly prettyName: string | undefined;
  readonly location: string;
  readonly layer: number;
}

const MAX_BYTES = 64 * 1024;

/** Undefined if the image has no os-release, or one without an ID. @throws SBOM_CONTENT_NOT_KEPT */
export function findOsRelease(tree: FileTree): OsRelease | undefined {
  for (const path of ["etc/os-release", "usr/lib/os-release"]) {
    const node = tree.lookup(path);
    if (node?.kind !== "file") continue;
    if (node.content === undefined || node.content.byteLength > MAX_BYTES) {
      throw sbomError(
        "SBOM_CONTENT_NOT_KEPT",
        `${path} is a link to a file that was not read, or above ${MAX_BYTES} bytes`,
      );
    }
    const fields = parseOsRelease(Buffer.from(node.content).toString("utf8"));
    const id = fields.get("ID");
    if (id === undefined || !/^[a-z0-9._-]+$/.test(id)) continue;
    return {
      id,
      version: fields.get("VERSION_ID") || fields.get("VERSION_CODENAME") || undefined,
      prettyName: fields.get("PRETTY_NAME"),
      location: `/${path}`,
      layer: node.layer,
    };
  }
  return undefined;
}

/** Assignments as a shell reads them; lines that are none are left out. */
export function parseOsRelease(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(line.trim());
    if (!match) continue;
    const [, name, raw] = match as unknown as [string, string, string];
    const quoted =
      /^"((?:[^"\\]|\\.)*)"$/.exec(raw)?.[1]?.replace(/\\(["\\$`])/g, "$1") ?? /^'([^']*)'$/.exec(raw)?.[1];
    fields.set(name, quoted ?? raw);
  }
  return fields;
}
