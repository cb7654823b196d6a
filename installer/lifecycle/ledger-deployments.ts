/** What the ledger says of what runs on the site: site/deployment.json must agree with it. */
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { schemaProblem } from "../../bundles/model/schema.ts";
import {
  type Deployments,
  deploymentsSchema,
  MEND_HINT,
  NOTHING_DEPLOYED,
  readDeployments,
  writeDeployments,
} from "../site/deployment.ts";
import { readStateFile, writeWhole } from "../site/disk.ts";
import { STATE_DOCUMENT_MAX_BYTES } from "../site/state.ts";
import { DEPLOY_ACTIONS } from "./deploy-context.ts";
import { lifecycleError } from "./error.ts";
import type { Ground } from "./execute.ts";
import { type Ledger, type LedgerEntry, readLedger } from "./ledger.ts";

/** The site came back on another host, with an operator's signature: nothing runs there yet. */
export const SITE_RESTORED = "site-restored";
const SAYING: readonly string[] = ["operation", SITE_RESTORED];
const MOVES: readonly string[] = [...DEPLOY_ACTIONS, "uninstall"];

/** After the last operation that changed it; an operation that has not ended has no entry yet. @throws LEDGER_DAMAGED */
export function deploymentsOfLedger(entries: readonly LedgerEntry[]): Deployments {
  const entry = entries.findLast(({ type, data }) => SAYING.includes(type) && data["deployments"] !== undefined);
  if (!entry) return NOTHING_DEPLOYED;
  const { deployments } = entry.data;
  const problem = schemaProblem(deploymentsSchema, deployments);
  if (problem) throw lifecycleError("LEDGER_DAMAGED", `ledger entry ${entry.seq}: deployments: ${problem}`);
  return deployments as Deployments;
}

/**
 * That nobody edited site/deployment.json: neither what runs, nor the security floor, nor what the data was
 * written for. Only where no operation is open. @throws DEPLOYMENT_CHANGED | STATE_DAMAGED | LEDGER_DAMAGED
 */
export function requireDeploymentsOfLedger({
  paths,
  ledger,
}: Pick<Ground, "paths"> & { readonly ledger: Ledger }): void {
  const [found, known] = [readDeployments(paths), deploymentsOfLedger(ledger.entries)];
  if (canonicalJson(found).equals(canonicalJson(known))) return;
  const differs = (Object.keys(known) as (keyof Deployments)[]).filter(
    (name) => !canonicalJson(found[name]).equals(canonicalJson(known[name])),
  );
  throw lifecycleError(
    "DEPLOYMENT_CHANGED",
    `site/deployment.json is not what the ledger says: ${differs.map((name) => difference(name, found, known)).join("; ")}`,
    { hints: ["somebody edited, replaced or removed it without an authorization", MEND_HINT] },
  );
}

function difference(name: keyof Deployments, found: Deployments, known: Deployments): string {
  return `${name}: got ${JSON.stringify(found[name])}, want ${JSON.stringify(known[name])}`;
}

/**
 * Writes it anew as the ledger says, if it differs or cannot be read, and keeps what was there beside it.
 * Returns where that is. Only where no operation is open. @throws LEDGER_DAMAGED | STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export function mendDeployments({ paths, disk }: Pick<Ground, "paths" | "disk">): string | undefined {
  const { entries } = readLedger(paths.ledger);
  const known = deploymentsOfLedger(entries);
  const found = readStateFile(paths.deployment, STATE_DOCUMENT_MAX_BYTES);
  if ((found ?? canonicalJson(NOTHING_DEPLOYED)).equals(canonicalJson(known))) return undefined;
  requireTold(entries);
  const kept = `${paths.deployment}.damaged`;
  if (found) writeWhole(disk, kept, found);
  writeDeployments(disk, paths, known);
  return kept;
}

/** A version of Sealift that was never released did not write it down: nobody must take that for "nothing runs". */
function requireTold(entries: readonly LedgerEntry[]): void {
  const silent = entries.findLast(
    ({ type, data }) =>
      type === "operation" && data["result"] === "committed" && MOVES.includes(String(data["operation"])),
  );
  if (!silent || silent.data["deployments"] !== undefined) return;
  throw lifecycleError("LEDGER_DAMAGED", `ledger entry ${silent.seq}: does not say what it left running`, {
    hints: ["keep a copy of the state directory; site/deployment.json was not touched"],
  });
}
