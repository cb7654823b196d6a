/** `--db`: vulnerability records that did not come with the release, for every verb that verifies one. */
import { closeSync } from "node:fs";
import { openImportedRecords } from "../../verify/imported-records.ts";
import { type Invocation, optionalOption } from "./command.ts";

/** Of a verb that verifies a release: known vulnerabilities are looked up in these records too. */
export const RECORDS_OPTION = { db: { type: "string" } } as const;
export const RECORDS_DETAIL =
  "--db FILE             newer OSV records than the release carries; FILE.sigstore.json of the security role beside it";

/** Open; the caller closes them. @throws SCAN_DATABASE_NOT_FOUND | SCAN_DATABASE_UNREADABLE */
function importedRecords(invocation: Invocation): ReturnType<typeof openImportedRecords> | undefined {
  const path = optionalOption(invocation, "db");
  return path === undefined ? undefined : openImportedRecords(path);
}

/** Runs `work` while the records that `--db` names are open. */
export async function withImportedRecords<Value>(
  invocation: Invocation,
  work: (imported: ReturnType<typeof importedRecords>) => Promise<Value>,
): Promise<Value> {
  const imported = importedRecords(invocation);
  try {
    return await work(imported);
  } finally {
    if (imported) closeSync(imported.fd);
  }
}
