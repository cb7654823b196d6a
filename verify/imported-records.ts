/** Vulnerability records beside the release: opened here, with the operator's rights; nothing in them is parsed. */
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { reasonOf } from "../bundles/model/sealift-error.ts";
import { sbomError } from "../sbom/error.ts";
import { snapshotKindOf } from "../sbom/scan/snapshot-kind.ts";
import type { ImportedRecords } from "./checks/scan.ts";
import { readRegularFile } from "./regular-file.ts";

const SIGNATURE_MAX_BYTES = 1024 * 1024;
/** More keys than a role is given. */
const SIGNATURES_MAX = 16;

/**
 * The snapshot at `path` (zip, tar, tar.gz, tar.zst or NDJSON) with the Sigstore bundles beside it: `PATH.sigstore.json`,
 * `PATH.2.sigstore.json` and so on. The caller closes `fd`.
 * @throws SCAN_DATABASE_NOT_FOUND | SCAN_DATABASE_UNREADABLE, also for a directory, which no signature covers
 */
export function openImportedRecords(path: string): ImportedRecords {
  const kind = snapshotKindOf(path);
  if (kind === undefined || kind === "record")
    throw unreadable(path, "not a zip, tar, tar.gz, tar.zst or ndjson by its name");
  const { fd, size } = openRegular(path);
  try {
    const signatures: Buffer[] = [];
    for (let number = 1; number <= SIGNATURES_MAX; number++) {
      const signature = readSignature(`${path}${number === 1 ? "" : `.${number}`}.sigstore.json`);
      if (signature) signatures.push(signature);
    }
    return { kind, fd, size, signatures };
  } catch (cause) {
    closeSync(fd);
    throw cause;
  }
}

/** Undefined if it is not there: how many there must be is for the release trust to say. */
function readSignature(path: string): Buffer | undefined {
  try {
    return readRegularFile(path, SIGNATURE_MAX_BYTES);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unreadable(path, reasonOf(cause));
  }
}

/** Non-blocking until it is known to be a file: a medium from outside may hold a pipe. */
function openRegular(path: string): { readonly fd: number; readonly size: number } {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (stat.isFile()) return { fd, size: stat.size };
    closeSync(fd);
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    if (!missing) throw unreadable(path, reasonOf(cause));
    throw sbomError("SCAN_DATABASE_NOT_FOUND", `vulnerability records ${JSON.stringify(path)}: ${reasonOf(cause)}`);
  }
  throw unreadable(path, "not a regular file");
}

function unreadable(path: string, why: string): Error {
  return sbomError("SCAN_DATABASE_UNREADABLE", `vulnerability records ${JSON.stringify(path)}: ${why}`, {
    hints: ["--db names one file with its .sigstore.json beside it; sealift sbom scan takes a directory too"],
  });
}
