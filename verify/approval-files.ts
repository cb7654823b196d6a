/**
 * What people outside the release trust signed lies beside the bundle: reviewers' approvals as BUNDLE.approval-….json,
 * rebuilders' statements as BUNDLE.rebuild-….json, both as BUNDLE.statement-….json in a site's store. Nothing is
 * parsed here.
 */
import { readdirSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { reasonOf } from "../bundles/model/sealift-error.ts";
import { verifyError } from "./error.ts";
import { readRegularFile } from "./regular-file.ts";

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
      return readRegularFile(join(directory, file), APPROVAL_MAX_BYTES);
    } catch (cause) {
      throw verifyError("APPROVAL_UNREADABLE", `approval ${JSON.stringify(file)}: ${reasonOf(cause)}`, { cause });
    }
  });
}
