/**
 * What people outside the release trust signed lies beside the bundle: reviewers' approvals as BUNDLE.approval-….json,
 * rebuilders' statements as BUNDLE.rebuild-….json, both as BUNDLE.statement-….json in a site's store. Nothing is
 * parsed here.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { reasonOf } from "../bundles/model/sealift-error.ts";
import { verifyError } from "./error.ts";

const APPROVAL_MAX_BYTES = 1024 * 1024;
const APPROVALS_MAX = 64;
const SUFFIX = /^\.(?:approval|rebuild|statement)-[0-9a-f]{16}\.json$/;

/** Where such a file lies; `hex` is the signer's key fingerprint, or in the store the digest of the file. */
export function statementPath(bundle: string, kind: "approval" | "rebuild" | "statement", hex: string): string {
  return `${resolve(bundle)}.${kind}-${hex.slice(0, 16)}.json`;
}

/** The statements beside `bundle`, at most 64 of at most 1 MiB. @throws APPROVAL_UNREADABLE */
export function readApprovals(bundle: string): Buffer[] {
  const path = resolve(bundle);
  const directory = dirname(path);
  const name = basename(path);
  let names: string[];
  try {
    names = readdirSync(directory).filter((file) => file.startsWith(name) && SUFFIX.test(file.slice(name.length)));
  } catch {
    // That there is no such directory is for whoever opens the bundle to say.
    return [];
  }
  if (names.length > APPROVALS_MAX) {
    throw verifyError(
      "APPROVAL_UNREADABLE",
      `got ${names.length} statements beside the bundle, want at most ${APPROVALS_MAX}`,
    );
  }
  return names.sort().map((file) => {
    try {
      return readRegular(join(directory, file));
    } catch (cause) {
      throw verifyError("APPROVAL_UNREADABLE", `approval ${JSON.stringify(file)}: ${reasonOf(cause)}`, { cause });
    }
  });
}

/** Non-blocking until it is known to be a file: a medium from outside may hold a pipe. */
function readRegular(path: string): Buffer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new TypeError("not a regular file");
    if (stat.size > APPROVAL_MAX_BYTES) throw new RangeError(`larger than ${APPROVAL_MAX_BYTES} bytes`);
    const buffer = Buffer.alloc(stat.size);
    return buffer.subarray(0, readSync(fd, buffer, 0, stat.size, 0));
  } finally {
    closeSync(fd);
  }
}
