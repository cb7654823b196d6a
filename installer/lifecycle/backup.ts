/**
 * Logical backups of the appliance's databases: one file a database, PostgreSQL's own custom format, read
 * by pg_restore of the same or a newer version. They hold what people stored, in clear: the directory is
 * root's alone. Consistent within each database; taken while the site works.
 */
import { closeSync, fsyncSync, openSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { execInService, type ProjectRun } from "../../compose/engine/project.ts";
import type { ComposeProject } from "../../compose/engine/prove-containers.ts";
import { type Disk, makeDirectory, removeTree } from "../site/disk.ts";
import type { StatePaths } from "../site/state.ts";
import { lifecycleError } from "./error.ts";

type Database = NonNullable<ApplianceRules["database"]>;

/** The superuser, whom PostgreSQL lets in only through the socket inside its container. */
const SUPERUSER = "postgres";
const BACKUP_MAX_MS = 4 * 3_600_000;
const ASK_MAX_MS = 30_000;
const REASON_MAX_LENGTH = 2000;

export function backupDirectory(paths: StatePaths, id: string): string {
  return join(paths.directory, "backups", id);
}

function dumpPath(directory: string, name: string): string {
  return join(directory, `${name}.dump`);
}

/** Writes `<name>.dump` for each database into `directory`, durably. Returns their size in bytes. @throws BACKUP_FAILED */
export async function backUpDatabases(
  disk: Disk,
  engine: Engine,
  base: ComposeProject,
  database: Database,
  directory: string,
  run: ProjectRun = {},
): Promise<number> {
  removeTree(disk, directory);
  makeDirectory(disk, directory);
  let bytes = 0;
  for (const name of database.names) {
    const path = dumpPath(directory, name);
    // Unlogged tables hold what must not outlive the database, as keys of tokens do.
    const command = ["pg_dump", "--username", SUPERUSER, "--format=custom", "--no-unlogged-table-data", name];
    await withFile(path, "wx", async (stdoutFd) => {
      const options = { timeoutMs: BACKUP_MAX_MS, signal: run.signal, stdoutFd };
      const { status, stderr } = await execInService(engine, base, database.service, command, options);
      if (status !== 0) throw failed(`backup of database ${JSON.stringify(name)}`, status, stderr);
      fsyncSync(stdoutFd);
    });
    bytes += statSync(path).size;
  }
  return bytes;
}

/**
 * What the databases take on the engine's disk; a backup takes less, a restored copy about as much.
 * @throws SITE_DATABASE_DOWN if nobody answers
 */
export async function databaseBytes(
  engine: Engine,
  base: ComposeProject,
  { service, names }: Database,
): Promise<number> {
  const list = names.map((name) => `'${name.replaceAll("'", "''")}'`).join();
  const query = `SELECT coalesce(sum(pg_database_size(datname)), 0) FROM pg_database WHERE datname IN (${list})`;
  const command = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username", SUPERUSER];
  const { status, stdout, stderr } = await execInService(
    engine,
    base,
    service,
    [...command, "--dbname", "postgres", "--command", query],
    { timeoutMs: ASK_MAX_MS },
  );
  const bytes = Number(stdout.trim() || Number.NaN);
  if (status === 0 && Number.isSafeInteger(bytes)) return bytes;
  const said = `${stdout}${stderr}`.trim().slice(-REASON_MAX_LENGTH);
  throw lifecycleError("SITE_DATABASE_DOWN", `database ${JSON.stringify(service)} does not answer: ${said}`, {
    hints: ["sealift start starts it", `sealift logs ${service} says what it wrote`],
  });
}

/** Into databases that exist and are as the first start made them. @throws BACKUP_FAILED */
export async function restoreDatabases(
  engine: Engine,
  project: ComposeProject,
  database: Database,
  directory: string,
  run: ProjectRun = {},
): Promise<void> {
  for (const name of database.names) {
    const command = [
      "pg_restore",
      "--username",
      SUPERUSER,
      "--dbname",
      name,
      "--clean",
      "--if-exists",
      "--exit-on-error",
    ];
    await withFile(dumpPath(directory, name), "r", async (stdinFd) => {
      const options = { timeoutMs: BACKUP_MAX_MS, signal: run.signal, stdinFd };
      const { status, stderr } = await execInService(engine, project, database.service, command, options);
      if (status !== 0) throw failed(`restoring database ${JSON.stringify(name)}`, status, stderr);
    });
  }
}

async function withFile(path: string, flags: string, work: (fd: number) => Promise<void>): Promise<void> {
  const fd = openSync(path, flags, 0o600);
  try {
    await work(fd);
  } finally {
    closeSync(fd);
  }
}

function failed(what: string, status: number, stderr: string): Error {
  const said = stderr.trim().slice(-REASON_MAX_LENGTH);
  return lifecycleError("BACKUP_FAILED", `${what}: exit code ${status}: ${said}`, {
    hints: [
      "sealift status says whether the database runs, and sealift start starts it",
      "sealift doctor says how much room there is",
    ],
  });
}
