/** How much room a file system has. */
import { statfsSync } from "node:fs";
import { dirname } from "node:path";

/** Of the directory, or of the first one above it that can be asked; undefined if none can. */
export function freeSpace(path: string): { readonly path: string; readonly freeBytes: number } | undefined {
  for (let at = path; ; at = dirname(at)) {
    try {
      const { bavail, bsize } = statfsSync(at);
      return { path: at, freeBytes: bavail * bsize };
    } catch {
      if (at === dirname(at)) return undefined;
    }
  }
}
