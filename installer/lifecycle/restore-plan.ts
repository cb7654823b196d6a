/** What a restore would do, in words that operators sign, and as what `execute` and `recover` go by. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { type BackupManifest, manifestDigest, WITHOUT_LOG } from "../backup/backup-manifest.ts";
import { backupError } from "../backup/error.ts";
import type { Config } from "../site/config.ts";
import type { Deployment } from "../site/deployment.ts";
import type { PlanSubject } from "./authorization.ts";
import { BACKUP_MADE } from "./backup-entry.ts";
import { type PlanFacts, planInstall, requireTakesData } from "./deploy-plan.ts";
import { lifecycleError } from "./error.ts";
import type { RestoreDataParameters, RestoredBackup } from "./restore-data.ts";
import { nextEpoch } from "./restore-log.ts";
import { type RestoreSiteParameters, secretsToRestore } from "./restore-site.ts";
import type { Site } from "./site.ts";
import type { ReleaseParts } from "./stored-release.ts";

/** What ran when it was made. @throws BACKUP_MALFORMED: every backup is of a site that has an appliance */
export function deploymentIn({ deployments }: BackupManifest): Deployment {
  if (deployments.current) return deployments.current;
  throw backupError("BACKUP_MALFORMED", "the backup's manifest: nothing was installed");
}

/** That it is of this site and of this history. @throws BACKUP_OTHER_SITE | BACKUP_OTHER_HISTORY */
export function requireOwnBackup({ siteId, ledger }: Site, manifest: BackupManifest): void {
  if (manifest.siteId !== siteId) {
    throw backupError("BACKUP_OTHER_SITE", `backup: is of site ${manifest.siteId}, this is ${siteId}`, {
      hints: ["sealift restore FILE --new-host brings that site to a host that has none"],
    });
  }
  if (ledger.heads[manifest.ledgerLength - 1] === manifest.ledgerHead) return;
  throw backupError(
    "BACKUP_OTHER_HISTORY",
    `backup: entry ${manifest.ledgerLength} of its ledger is ${manifest.ledgerHead}, here it is ${ledger.heads[manifest.ledgerLength - 1] ?? "missing"}`,
    {
      hints: [
        "it was made before this site was itself restored, or this ledger was rewound: sealift ledger verify --against DIR",
        "with --new-host and another --state it can be restored beside this one, to look at it",
      ],
    },
  );
}

/** A site whose audit log began anew would have a shorter one: whoever wants that had only to damage it. @throws BACKUP_WITHOUT_LOG */
export function requireAuditLog({ kind, created }: Pick<BackupManifest, "kind" | "created">): void {
  if (kind !== WITHOUT_LOG) return;
  throw backupError("BACKUP_WITHOUT_LOG", `backup: that of ${created} has no audit log, and makes no site`, {
    hints: [
      "restore the newest whole backup first: its audit log is continued; then this one brings its databases there",
      "age -d -i KEY FILE | tar -x opens it without Sealift",
    ],
  });
}

function restoredBackup(manifest: BackupManifest): RestoredBackup {
  const { release, version } = deploymentIn(manifest);
  return { manifest: manifestDigest(manifest), created: manifest.created, release, version };
}

/** How a person knows which one it is. */
function backupLines(site: Site | undefined, manifest: BackupManifest): string[] {
  const digest = manifestDigest(manifest);
  const entry = site?.ledger.entries.find(({ type, data }) => type === BACKUP_MADE && data["manifest"] === digest);
  const { version, appliance } = deploymentIn(manifest);
  return [
    `backup of ${manifest.created}, when ${appliance} ${version} ran; manifest ${digest}`,
    ...(site
      ? [
          entry
            ? `made by this site: entry ${entry.seq} of its ledger`
            : "NOT IN THIS SITE'S LEDGER: nothing here says who made it",
        ]
      : []),
    ...(manifest.kind === WITHOUT_LOG ? ["IT HAS NO AUDIT LOG: that was left out when it was made"] : []),
    `databases: ${manifest.databases.join(", ") || "none"}`,
    `WHAT WAS STORED AFTER ${manifest.created} IS LOST`,
  ];
}

export interface RestoreDataPlan {
  readonly subject: PlanSubject;
  readonly parameters: RestoreDataParameters;
}

/**
 * The data of a site that has a release installed. `entriesNow` is what the audit log has; where the backup has none,
 * nothing says from which of them on the data is lost.
 * @throws BACKUP_OTHER_SITE | BACKUP_OTHER_HISTORY | RELEASE_OTHER_APPLIANCE | UPGRADE_NOT_ALLOWED | ROLLBACK_NOT_ALLOWED
 */
export function planRestoreData(
  site: Site,
  at: Deployment,
  { release, rules }: Pick<ReleaseParts, "release" | "rules">,
  manifest: BackupManifest,
  entriesNow: number,
): RestoreDataPlan {
  requireOwnBackup(site, manifest);
  const { data } = manifest.deployments;
  const wrote = data ?? { ...deploymentIn(manifest), rollbackTo: "" };
  requireTakesDataOf(wrote, release.manifest);
  const names = [...(rules.database?.names ?? [])].sort().join();
  if (names !== [...manifest.databases].sort().join()) {
    throw lifecycleError(
      "RELEASE_OTHER_APPLIANCE",
      `${at.version} has the databases ${JSON.stringify(names)}, the backup ${JSON.stringify(manifest.databases.join())}`,
    );
  }
  const [log] = manifest.logs;
  const isWithoutLog = manifest.kind === WITHOUT_LOG;
  return {
    parameters: {
      id: randomBytes(16).toString("hex"),
      at,
      backup: restoredBackup(manifest),
      databases: manifest.databases,
      gap: {
        ...(log && { entriesAtBackup: log.size }),
        ...((log ?? isWithoutLog) && { entriesAtRestore: entriesNow }),
      },
    },
    subject: {
      action: "restore",
      from: at.release,
      to: at.release,
      configDigest: at.config,
      policyDigest: null,
      trustVersion: null,
      details: [
        ...backupLines(site, manifest),
        ...(log ? [`audit log: goes on; of its entries from number ${log.size} on the data is lost`] : []),
        ...(isWithoutLog ? ["audit log: goes on; nothing here says from which entry on the data is lost"] : []),
        ...(wrote.version === at.version ? [] : [`its schema is of ${wrote.version} and is brought to ${at.version}`]),
        "kept as they are: operators, trust, ledger, audit log, secrets, configuration, releases",
        `predicted pause: clients get no answers while ${megabytes(manifest.databaseBytes)} are restored`,
        "way back: the data of now is kept aside until the restored one works; then it is removed",
      ],
    },
  };
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}

function requireTakesDataOf(
  data: { readonly appliance: string; readonly version: string; readonly rollbackTo: string },
  manifest: Parameters<typeof requireTakesData>[1],
): void {
  const { appliance, version, rollbackTo } = data;
  requireTakesData({ appliance, version, rollbackTo }, manifest);
}

export interface RestoreSitePlan {
  readonly subject: PlanSubject;
  readonly parameters: RestoreSiteParameters;
}

/**
 * All of a site where nothing runs. `facts` as for an install of the backup's release; `unpacked` has the backup.
 * `isNewHost`: the site itself comes from the backup too.
 * @throws RESTORE_RELEASE_NEEDED | RESTORE_DATA_PRESENT | BACKUP_OTHER_SITE | BACKUP_OTHER_HISTORY and those of `planInstall`
 */
export function planRestoreSite(
  site: Site,
  facts: PlanFacts,
  next: ReleaseParts,
  manifest: BackupManifest,
  config: Config,
  isNewHost: boolean,
): RestoreSitePlan {
  const was = deploymentIn(manifest);
  requireOwnBackup(site, manifest);
  const { descriptor } = next.release;
  if (descriptor.digest !== was.release) {
    throw releaseNeeded(was, `got release ${next.release.manifest.version} (${descriptor.digest})`);
  }
  if (facts.volumes.length > 0) {
    throw lifecycleError("RESTORE_DATA_PRESENT", `the engine has data of this site: ${facts.volumes.join(", ")}`, {
      hints: [
        "sealift install BUNDLE uses that data again",
        `or save what you need and remove it: docker volume ls --filter label=sealift.site=${site.siteId}`,
      ],
    });
  }
  const secrets = secretsToRestore(site.paths.directory, manifest, next.rules.secrets);
  const coming = secrets.map(({ path }) => path);
  const missingSecrets = facts.missingSecrets.filter((file) => !coming.includes(join("secrets", file)));
  const { parameters: deploy, subject } = planInstall({ ...facts, missingSecrets }, next, config);
  const { data } = manifest.deployments;
  const [log] = manifest.logs;
  const epoch = nextEpoch(manifest.logs);
  return {
    parameters: {
      deploy: {
        ...deploy,
        after: { ...deploy.after, data: data ?? deploy.after.data },
        parts: { ...deploy.parts, credentials: false },
      },
      backup: restoredBackup(manifest),
      secrets,
      databases: manifest.databases,
      logs: manifest.logs,
      gap: log ? { entriesAtBackup: log.size, epoch } : {},
    },
    subject: {
      ...subject,
      action: "restore",
      details: [
        ...(isNewHost ? newHostLines(site, manifest) : []),
        ...backupLines(isNewHost ? undefined : site, manifest),
        ...(log
          ? [
              `audit log: closed at its ${log.size} entries, root ${log.root}; epoch ${epoch} begins and commits to it`,
              "what the old log wrote after that is lost, and nobody here can say what it was",
            ]
          : []),
        ...subject.details,
      ],
    },
  };
}

function newHostLines({ siteId, authority }: Site, { ledgerHead, ledgerLength }: BackupManifest): string[] {
  const people = authority.operators.map(({ principal, key }) => `${principal} ${key.fingerprint}`);
  return [
    `site ${siteId} comes to this host; the host where it was MUST NOT run it any more`,
    `its operators, as the backup says: ${people.join(", ")}`,
    `its ledger: ${ledgerLength} entries, head ${ledgerHead}; compare with what an operator keeps`,
  ];
}

export function releaseNeeded(
  { appliance, version, release }: Deployment,
  problem: string,
): ReturnType<typeof lifecycleError> {
  return lifecycleError("RESTORE_RELEASE_NEEDED", `${problem}, want ${appliance} ${version} (${release})`, {
    hints: ["give the medium of the release that the backup is of: --bundle BUNDLE"],
  });
}
