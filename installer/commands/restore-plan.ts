/** From a backup's file to the plan that operators sign: for `restore`, and for `authorize restore`. */
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Engine } from "../../compose/engine/engine.ts";
import { siteLogs } from "../audit/site-log.ts";
import { identitiesIn, KEY_FILE_MAX_BYTES } from "../backup/age-file.ts";
import { type BackupManifest, WITHOUT_LOG } from "../backup/backup-manifest.ts";
import { makeBeside, requireExchangeable } from "../backup/beside-state.ts";
import { placeSite } from "../backup/place-site.ts";
import { openBackup, unpackedLog } from "../backup/read-backup.ts";
import { SPOOL, spoolDirectory } from "../backup/spool.ts";
import { readBoundedFile } from "../host/read-file.ts";
import type { PlanSubject } from "../lifecycle/authorization.ts";
import { databaseBytes } from "../lifecycle/backup.ts";
import { baseProject } from "../lifecycle/deploy-context.ts";
import { requireNoOpenJournal } from "../lifecycle/execute.ts";
import { acquireLock } from "../lifecycle/lock.ts";
import { type Prepared, requireRoom } from "../lifecycle/preconditions.ts";
import { requireNoneAside } from "../lifecycle/restore-databases.ts";
import { entriesSince } from "../lifecycle/restore-log.ts";
import {
  deploymentIn,
  planRestoreData,
  planRestoreSite,
  type RestoreDataPlan,
  type RestoreSitePlan,
  releaseNeeded,
  requireAuditLog,
  requireOwnBackup,
} from "../lifecycle/restore-plan.ts";
import { requireSecretsHere } from "../lifecycle/secrets-here.ts";
import type { Site } from "../lifecycle/site.ts";
import { withStoredRelease } from "../lifecycle/stored-release.ts";
import { CONFIG_MAX_BYTES, readConfigBytes } from "../site/config.ts";
import { type Deployment, readDeployments } from "../site/deployment.ts";
import { type Disk, hostDisk, makeDirectory, readStateFile, removeTree } from "../site/disk.ts";
import { siteError } from "../site/error.ts";
import { type StatePaths, statePaths, surveyState } from "../site/state.ts";
import { storedReleases } from "../site/store.ts";
import { type Invocation, optionalOption, requiredOption } from "./command.ts";
import { storedBundle, withPrepared } from "./deploy-verb.ts";
import { withSiteEngine } from "./site-engine.ts";
import { stateDirectory } from "./site-options.ts";
import { withSwept } from "./swept.ts";

export const RESTORE = "restore";
export const RESTORE_OPTIONS = {
  identity: { type: "string" },
  "new-host": { type: "boolean" },
  bundle: { type: "string" },
} as const;

/** What a backup says of itself, and where the rest of it lies. */
export interface Unpacked {
  readonly manifest: BackupManifest;
  readonly directory: string;
  /** From here on whoever carries the restore out heeds signals; before, they remove what was unpacked. */
  readonly handOver: () => void;
}

/** Where a backup is unpacked, and what removes it, and all that stands beside it, when a signal ends the verb. */
interface UnpackPlace {
  readonly disk: Disk;
  readonly directory: string;
  readonly sweep: () => void;
}

/** In the state of a site that is there, whose lock is held. */
export function spoolOf({ disk, paths }: Pick<Site, "disk" | "paths">): UnpackPlace {
  const directory = spoolDirectory({ paths });
  return { disk, directory, sweep: () => removeTree(disk, directory) };
}

/** Opens the backup and unpacks it; it is gone when `work` is over, unless it moved. */
export async function withUnpacked<Value>(
  invocation: Invocation,
  file: string,
  { disk, directory, sweep }: UnpackPlace,
  work: (unpacked: Unpacked) => Promise<Value>,
): Promise<Value> {
  const { terminal } = invocation;
  const keyFile = requiredOption(invocation, RESTORE, "identity");
  const identities = identitiesIn((await readBoundedFile(keyFile, KEY_FILE_MAX_BYTES)).toString("utf8"), keyFile);
  const opened = await openBackup(file, identities);
  const { manifest } = opened;
  return withSwept(sweep, async (handOver) => {
    try {
      removeTree(disk, directory);
      makeDirectory(disk, directory);
      requireRoom([{ directory, bytes: manifest.restBytes, what: "what is in the backup" }]);
      const progress = terminal.progress("opening and checking the backup");
      const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)}`;
      await opened.unpack(disk, directory, (done, all) =>
        progress.update(`${megabytes(done)} of ${megabytes(all)} MB`),
      );
      progress.done("whole");
      return await work({ manifest, directory, handOver });
    } finally {
      await opened.close();
      // A site that moved took it along.
      removeIfThere(disk, directory);
    }
  });
}

function removeIfThere(disk: Disk, path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })) removeTree(disk, path);
}

/** For a site on which a release runs. @throws as `planRestoreData`; SITE_DATABASE_DOWN | SITE_SECRETS_AWAY | RESTORE_DATABASE_ASIDE | AUDIT_… */
export async function dataPlan(
  invocation: Invocation,
  site: Site,
  engine: Engine,
  current: Deployment,
  { manifest, directory }: Unpacked,
): Promise<RestoreDataPlan> {
  return withStoredRelease(site.paths, current.release, async (parts) => {
    const { database, audit, secrets } = parts.rules;
    // The services are started anew, and could not be without them.
    requireSecretsHere(site, secrets);
    if (database) {
      const project = baseProject(site, current);
      await databaseBytes(engine, project, database);
      await requireNoneAside({ engine, project, service: database.service }, database.names);
    }
    const ofBackup = unpackedLog(directory, manifest);
    const isLogged = audit !== undefined && (ofBackup !== undefined || manifest.kind === WITHOUT_LOG);
    const entries = isLogged ? await presentEntries(invocation, site, engine, ofBackup) : 0;
    return planRestoreData(site, current, parts, manifest, entries);
  });
}

async function presentEntries(
  { terminal }: Invocation,
  site: Site,
  engine: Engine,
  ofBackup: string | undefined,
): Promise<number> {
  const [place] = await siteLogs(engine, site);
  const progress = terminal.progress("checking the audit log");
  const entries = entriesSince(place, ofBackup, (done, all) => progress.update(`${done} of ${all} entries`));
  progress.done(`${entries} entries`);
  return entries;
}

/** A site on which nothing is installed, or that comes to this host. */
export interface EmptyPlace {
  /** Where it can be read now. */
  readonly site: Site;
  /** Where it will run. */
  readonly paths: StatePaths;
  readonly unpacked: Unpacked;
  readonly isNewHost: boolean;
}

/** Prints why and returns undefined if the release is denied. @throws BACKUP_WITHOUT_LOG and as `planRestoreSite` */
export async function withSitePlan<Value>(
  invocation: Invocation,
  { site, paths, unpacked, isNewHost }: EmptyPlace,
  work: (prepared: Prepared, plan: RestoreSitePlan) => Promise<Value>,
): Promise<Value | undefined> {
  const { manifest, directory } = unpacked;
  requireAuditLog(manifest);
  const was = deploymentIn(manifest);
  const isStored = storedReleases(site.paths.directory).includes(was.release);
  const bundle = optionalOption(invocation, "bundle") ?? (isStored ? storedBundle(site, was.release) : undefined);
  if (bundle === undefined) throw releaseNeeded(was, "got no bundle, and the store does not have the release");
  const file = readStateFile(join(directory, "deployments", was.id, "config.json"), CONFIG_MAX_BYTES);
  const config = readConfigBytes(file, was.config);
  return withPrepared(invocation, site, bundle, async (prepared) => {
    // The Compose files name where the site will be.
    const facts = { ...prepared.facts, site: { siteId: site.siteId, paths } };
    return work(prepared, planRestoreSite(site, facts, prepared.next, manifest, config, isNewHost));
  });
}

/** @throws STATE_EXISTS */
export function requireNoSite(state: string): void {
  const found = surveyState(state);
  if (found === "absent" || found === "empty") return;
  throw siteError("STATE_EXISTS", `there is a site in ${JSON.stringify(state)} already`, {
    hints: ["without --new-host its data comes back from the backup; another --state DIR takes the whole site"],
  });
}

/**
 * Puts the site of the backup together beside the state directory, which must be empty. What `work` does not move
 * there is gone when it is over.
 */
export async function withNewSite<Value>(
  invocation: Invocation,
  file: string,
  work: (place: EmptyPlace, beside: string) => Promise<Value>,
): Promise<Value> {
  const state = stateDirectory(invocation);
  requireNoSite(state);
  requireExchangeable(state);
  const beside = makeBeside(hostDisk, state);
  const lock = acquireLock(statePaths(beside).lock, RESTORE);
  const sweep = (): void => {
    removeIfThere(hostDisk, beside);
    removeIfThere(hostDisk, join(state, SPOOL));
  };
  try {
    // Of one that was killed; but for the lock, which others may be waiting to see.
    for (const name of readdirSync(beside)) if (name !== "lock") rmSync(join(beside, name), { recursive: true });
    surveyState(beside);
    const place = { disk: hostDisk, directory: join(beside, SPOOL), sweep };
    return await withUnpacked(invocation, file, place, async (unpacked) => {
      const site = placeSite(beside, unpacked.directory, unpacked.manifest);
      return work({ site, paths: statePaths(state), unpacked, isNewHost: true }, beside);
    });
  } finally {
    removeIfThere(hostDisk, beside);
    lock.release();
  }
}

/** What operators sign for `restore FILE` on a site that is there; undefined if the release is denied. */
export async function restoreSubject(
  invocation: Invocation,
  site: Site,
  file: string,
): Promise<PlanSubject | undefined> {
  // It is unpacked where a restore does it.
  const lock = acquireLock(site.paths.lock, `authorize ${RESTORE}`);
  try {
    requireNoOpenJournal(site.paths);
    return await withUnpacked(invocation, file, spoolOf(site), async (unpacked) => {
      requireOwnBackup(site, unpacked.manifest);
      const { current } = readDeployments(site.paths);
      if (current) {
        return withSiteEngine(
          site,
          async (engine) => (await dataPlan(invocation, site, engine, current, unpacked)).subject,
        );
      }
      const place = { site, paths: site.paths, unpacked, isNewHost: false };
      return withSitePlan(invocation, place, async (_prepared, { subject }) => subject);
    });
  } finally {
    lock.release();
  }
}

/** The same for `restore FILE --new-host`, with the site as the backup has it. */
export async function newHostSubject(
  invocation: Invocation,
  file: string,
): Promise<{ readonly site: Site; readonly subject: PlanSubject | undefined }> {
  return withNewSite(invocation, file, async (place) => ({
    site: place.site,
    subject: await withSitePlan(invocation, place, async (_prepared, { subject }) => subject),
  }));
}
