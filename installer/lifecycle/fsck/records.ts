/** The site's own documents: each of its form, and as the ledger has them. */
import { existsSync } from "node:fs";
import { readToldMark } from "../../audit/ledger-events.ts";
import { readRequestKey } from "../../site/client-certificate.ts";
import { readDeployments } from "../../site/deployment.ts";
import { openIdentityRoot } from "../../site/identities.ts";
import { authorityPath, identityRootPath } from "../../site/secret-makers.ts";
import { readClientAuthority } from "../../site/server-certificate.ts";
import { collateralWarnings } from "../collateral-store.ts";
import { requireDeploymentsOfLedger } from "../ledger-deployments.ts";
import { policiesOfLedger } from "../policy-change.ts";
import { openSite, requireAuthorityOfLedger } from "../site.ts";
import { readHostKey } from "../transport-key.ts";
import { enrolledTrust, TRUST_CHANGED } from "../trust-change.ts";
import { trustWarnings } from "../trust-warnings.ts";
import type { CheckLog } from "./check-log.ts";
import type { FsckGround } from "./ground.ts";

export function checkRecords({ paths, clock, ledger, isOperationOpen }: FsckGround, log: CheckLog): void {
  const site = log.attempt("site", () => openSite(paths.directory, { clock }));
  if (site) log.attempt("site/authority.json", () => requireAuthorityOfLedger(site));
  const deployments = log.attempt("site/deployment.json", () => readDeployments(paths));
  if (isOperationOpen) log.notChecked("site/deployment.json against the ledger: an operation has not ended");
  else if (deployments && ledger) {
    log.attempt("site/deployment.json", () => requireDeploymentsOfLedger({ paths, ledger }));
  }
  log.attempt("site/audit-told.json", () => readToldMark(paths));
  log.attempt("site/client-authority.json", () => readClientAuthority(authorityPath(paths)));
  log.attempt("site/host-key.pem", () => readHostKey(paths));
  log.attempt("site/certificate-request-key.pem", () => readRequestKey(paths));
  const root = identityRootPath(paths);
  // It would be made if it were not there.
  if (site && existsSync(root)) log.attempt("site/identity-root.pem", () => openIdentityRoot(site.disk, root));
}

export function checkTrust({ site }: FsckGround, log: CheckLog): void {
  if (!site) {
    log.notChecked("the site's records do not hold");
    return;
  }
  if (!site.ledger.entries.some(({ type }) => type === TRUST_CHANGED))
    log.notChecked("no release trust was imported yet");
  else if (log.attempt("trust", () => enrolledTrust(site))) {
    for (const warning of [...trustWarnings(site), ...collateralWarnings(site)]) log.warn(warning);
  }
}

export function checkPolicy({ ledger }: FsckGround, log: CheckLog): void {
  if (ledger) log.attempt("policy", () => policiesOfLedger(ledger.entries));
  else log.notChecked("the ledger does not hold");
}
