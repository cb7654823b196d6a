/** What a site's backup holds, gathered while the site runs: under the site's lock, which only keeps other verbs away. */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import { CHECKPOINT_MAX_BYTES, parseLogKey } from "../audit/checkpoint.ts";
import { closedEpochPath, verifyEpochs } from "../audit/epochs.ts";
import { auditError } from "../audit/error.ts";
import type { SiteLog } from "../audit/site-log.ts";
import type { LogVerification } from "../audit/verify-log.ts";
import { sealiftVersion } from "../host/this-host.ts";
import { headOf } from "../lifecycle/ledger.ts";
import type { Site } from "../lifecycle/site.ts";
import { readDeployments } from "../site/deployment.ts";
import { readStateFile } from "../site/disk.ts";
import { AUDIT_LOG, type BackupLog, DATABASES, MANIFEST_VERSION, WHOLE, WITHOUT_LOG } from "./backup-manifest.ts";
import { logMembers } from "./log-members.ts";
import { stateFiles } from "./state-members.ts";
import { memberBytes } from "./tar-stream.ts";
import { type BackupContent, type BackupSource, bytesSource, fileSource } from "./write-backup.ts";

const KEY_MAX_BYTES = 4096;
const PREDECESSOR = "predecessor";

/** One epoch of the log, up to a checkpoint that holds. */
export interface LogPart {
  readonly log: BackupLog;
  readonly files: readonly BackupSource[];
  readonly tiles: () => Iterable<BackupSource>;
}

/**
 * The log in `place` and its closed epochs, each verified: what does not hold is no use to anybody who restores it.
 * @throws AUDIT_…
 */
export function logParts(
  { directory, publicKey }: SiteLog,
  onProgress?: (done: number, all: number) => void,
): LogPart[] {
  const note = readStateFile(join(directory, "checkpoint"), CHECKPOINT_MAX_BYTES);
  const key = publicKey === undefined ? undefined : readStateFile(publicKey, KEY_MAX_BYTES);
  if (!note || !key) {
    throw auditError(
      "AUDIT_LOG_NOT_FOUND",
      `${JSON.stringify(directory)}: no checkpoint, or no key of it in the secrets`,
    );
  }
  const options = { note, key: parseLogKey(key.toString("utf8"), `${AUDIT_LOG}/key.pub`) };
  const present = verifyEpochs(directory, { ...options, ...(onProgress && { onProgress }) });
  const closed = present.closed.toReversed().map((log) => {
    const path = closedEpochPath(directory, log.epoch);
    const itsNote = readStateFile(join(path, "checkpoint"), CHECKPOINT_MAX_BYTES) ?? Buffer.alloc(0);
    const itsKey = readStateFile(join(path, "key.pub"), KEY_MAX_BYTES) ?? Buffer.alloc(0);
    return logPart(closedEpochPath(AUDIT_LOG, log.epoch), path, log, { note: itsNote, key: itsKey });
  });
  return [logPart(AUDIT_LOG, directory, present, { note, key }), ...closed];
}

/** Of the log in `directory`, which was verified, up to the checkpoint `note`. */
function logPart(
  path: string,
  directory: string,
  { origin, entries, root }: LogVerification,
  { note, key }: { readonly note: Buffer; readonly key: Buffer },
): LogPart {
  const predecessor = readStateFile(join(directory, PREDECESSOR), KEY_MAX_BYTES);
  return {
    log: { path, origin, size: entries, root },
    files: [
      bytesSource(`${path}/checkpoint`, note),
      bytesSource(`${path}/key.pub`, key),
      ...(predecessor ? [bytesSource(`${path}/${PREDECESSOR}`, predecessor)] : []),
    ],
    tiles: function* () {
      for (const { path: tile, size, content } of logMembers(directory, entries)) {
        yield { path: `${path}/${tile}`, size, mode: 0o600, uid: 0, content };
      }
    },
  };
}

/** What `backUpDatabases` wrote. */
interface Dumps {
  readonly directory: string;
  /** Of the databases themselves. */
  readonly databaseBytes: number;
}

/** `logs`: none of an appliance that has none; undefined if the audit log is left out. */
export function siteContent(
  site: Site,
  rules: Pick<ApplianceRules, "database">,
  { directory: dumps, databaseBytes }: Dumps,
  logs: readonly LogPart[] | undefined,
): BackupContent {
  const parts = logs ?? [];
  const databases = rules.database?.names ?? [];
  const ofState = stateFiles(site.paths).map((file) => fileSource(site.paths.directory, file));
  const ofDatabases = databases.map((name): BackupSource => {
    const { size } = statSync(join(dumps, `${name}.dump`));
    const { content } = fileSource(dumps, { path: `${name}.dump`, size, mode: 0o600, uid: 0 });
    return { path: `${DATABASES}/${name}.dump`, size, mode: 0o600, uid: 0, content };
  });
  return {
    files: [...ofState, ...ofDatabases, ...parts.flatMap(({ files }) => files)],
    tiles: function* () {
      for (const { tiles } of parts) yield* tiles();
    },
    about: {
      schemaVersion: MANIFEST_VERSION,
      kind: logs ? WHOLE : WITHOUT_LOG,
      sealift: sealiftVersion(),
      siteId: site.siteId,
      created: site.clock().now.toISOString(),
      ledgerHead: headOf(site.ledger),
      ledgerLength: site.ledger.entries.length,
      deployments: readDeployments(site.paths),
      databases: [...databases],
      databaseBytes,
      logs: parts.map(({ log }) => log),
    },
  };
}

/** What the site's own files take in it, before any dump is made. */
export function stateBytes({ paths }: Pick<Site, "paths">): number {
  return stateFiles(paths).reduce((sum, { size }) => sum + memberBytes(size), 0);
}
