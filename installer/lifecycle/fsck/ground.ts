/** What the checks of `fsck` stand on: read once, and only as far as it can be read. */
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import type { Engine } from "../../../compose/engine/engine.ts";
import type { Clock } from "../../site/clock.ts";
import type { Deployment, Deployments } from "../../site/deployment.ts";
import { systemCode } from "../../site/disk.ts";
import { type StatePaths, statePaths } from "../../site/state.ts";
import { openJournalPath } from "../execute.ts";
import { readJournal } from "../journal.ts";
import { type Ledger, readLedger } from "../ledger.ts";
import { deploymentsOfLedger } from "../ledger-deployments.ts";
import { openSite, type Site } from "../site.ts";
import type { CheckLog } from "./check-log.ts";

export interface FsckGround {
  readonly paths: StatePaths;
  readonly clock: Clock;
  /** Contents are read too. */
  readonly content: boolean;
  /** Undefined if one of its records does not hold, which the check of the records tells. */
  readonly site: Site | undefined;
  readonly ledger: Ledger | undefined;
  /** What the ledger says, whatever site/deployment.json does. */
  readonly deployments: Deployments | undefined;
  /** An operation has not ended, or nobody can say whether one has: the site is between two states. */
  readonly isOperationOpen: boolean;
  /** The engine of this site. @throws ENGINE_… | SITE_ENGINE_CHANGED */
  readonly engine: () => Promise<Engine>;
  readonly onProgress: (detail: string) => void;
}

export interface FsckOptions {
  readonly clock: Clock;
  readonly content: boolean;
  readonly engine: () => Promise<Engine>;
  readonly onProgress?: (detail: string) => void;
}

export function readGround(directory: string, options: FsckOptions): FsckGround {
  const { clock, content, engine, onProgress = () => {} } = options;
  const paths = statePaths(directory);
  const ledger = unless(() => readLedger(paths.ledger));
  return {
    paths,
    clock,
    content,
    engine,
    onProgress,
    ledger,
    site: unless(() => openSite(directory, { clock })),
    deployments: ledger && unless(() => deploymentsOfLedger(ledger.entries)),
    isOperationOpen: unless(() => readJournal(openJournalPath(paths)) === undefined) !== true,
  };
}

/** Undefined for what some check tells with its reason. */
function unless<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof SealiftError || systemCode(cause) !== undefined) return undefined;
    throw cause;
  }
}

export interface Installed {
  readonly site: Site;
  readonly current: Deployment;
  readonly previous: Deployment | null;
}

/** What should run, for checks that compare with it; undefined after saying why there is nothing to compare with. */
export function installed(ground: FsckGround, log: CheckLog): Installed | undefined {
  const { site, deployments, isOperationOpen } = ground;
  if (isOperationOpen) log.notChecked("an operation has not ended: sealift recover first");
  else if (!site || !deployments) log.notChecked("the site's records do not hold");
  else if (!deployments.current) log.notChecked("nothing is installed");
  else return { site, current: deployments.current, previous: deployments.previous };
  return undefined;
}
