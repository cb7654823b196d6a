/** Reads a release trust directory from disk, outside the cage; nothing in it is parsed here. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { readRegularFile } from "../regular-file.ts";
import { trustError } from "./error.ts";

const FILE_NAME =
  /^(?:(?:[1-9][0-9]{0,8}\.(?:root|targets|snapshot)|timestamp)\.json|[0-9a-f]{64}\.trusted_root\.json)$/;
export const TRUST_FILE_MAX_BYTES = 1024 * 1024;
const FILES_MAX = 1024;
const WANTED = "name the publisher's directory with 1.root.json in it; `sealift trust show DIR` prints its fingerprint";

/**
 * Name → bytes of the TUF metadata files and of the one kind of target; other files are left alone,
 * and links are not followed.
 * @throws TRUST_NOT_FOUND | TRUST_UNREADABLE
 */
export function readTrustDirectory(directory: string): Map<string, Buffer> {
  let names: string[];
  try {
    names = readdirSync(directory)
      .filter((name) => FILE_NAME.test(name))
      .sort();
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    throw trustError(
      missing ? "TRUST_NOT_FOUND" : "TRUST_UNREADABLE",
      `release trust ${JSON.stringify(directory)}: ${reasonOf(cause)}`,
      {
        cause,
        hints: [WANTED],
      },
    );
  }
  if (!names.includes("1.root.json")) {
    throw trustError("TRUST_NOT_FOUND", `release trust ${JSON.stringify(directory)}: no 1.root.json in it`, {
      hints: [WANTED],
    });
  }
  if (names.length > FILES_MAX) {
    throw trustError("TRUST_UNREADABLE", `release trust: got ${names.length} files, want at most ${FILES_MAX}`);
  }
  return new Map(
    names.map((name) => {
      const path = join(directory, name);
      try {
        return [name, readRegularFile(path, TRUST_FILE_MAX_BYTES)];
      } catch (cause) {
        throw trustError("TRUST_UNREADABLE", `${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
      }
    }),
  );
}
