/** The policy under which this site judges releases. */
import { join } from "node:path";
import { DEFAULT_POLICY_BYTES, POLICY_MAX_BYTES } from "../../verify/policy.ts";
import { readStateFile } from "./disk.ts";
import { siteError } from "./error.ts";

/**
 * The default policy. No operation of this version enrols another, so a file `site/policy.json` is one that
 * nobody authorized. @throws POLICY_CHANGED if there is one | STATE_UNREADABLE
 */
export function sitePolicy(directory: string): Buffer {
  const path = join(directory, "site", "policy.json");
  if (readStateFile(path, POLICY_MAX_BYTES) === undefined) return DEFAULT_POLICY_BYTES;
  throw siteError("POLICY_CHANGED", `${JSON.stringify(path)}: the ledger knows no policy of this site`, {
    hints: ["somebody put it there without an authorization; keep it as evidence and take it away"],
  });
}
