/**
 * A database replaced by the one in a backup. The one that was there is kept under another name until the restored
 * one is known to work, so that the way back is one rename, and nothing is copied for it.
 */
import { createHash } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import type { Engine } from "../../compose/engine/engine.ts";
import { execInService, type ProjectRun } from "../../compose/engine/project.ts";
import type { ComposeProject } from "../../compose/engine/prove-containers.ts";
import { lifecycleError } from "./error.ts";

/** Where PostgreSQL of the appliance runs. */
export interface DatabasePlace {
  readonly engine: Engine;
  readonly project: ComposeProject;
  readonly service: string;
}

/** Lets one in through the socket inside the container alone. */
const SUPERUSER = "postgres";
const RESTORE_MAX_MS = 4 * 3_600_000;
const SQL_MAX_MS = 120_000;
const REASON_MAX_LENGTH = 2000;
const ASIDE = "_before_restore";
/** The name of an empty database, which says that there was none to be kept aside. */
const NONE = "_none_before_restore";
/** PostgreSQL cuts longer names off in silence. */
const NAME_MAX = 63;
const HASH_DIGITS = 8;

/** That nothing has a name that a restore gives. @throws RESTORE_DATABASE_ASIDE */
export async function requireNoneAside(place: DatabasePlace, names: readonly string[]): Promise<void> {
  const there = await databases(place);
  const kept = names.flatMap((name) => [asideName(name), noneName(name)]).filter((name) => there.includes(name));
  if (kept.length === 0) return;
  throw lifecycleError(
    "RESTORE_DATABASE_ASIDE",
    `databases ${kept.join(", ")} are there, which no restore of ours left`,
    {
      hints: ["look what is in them, and give them another name, or drop them: ALTER DATABASE … RENAME TO …"],
    },
  );
}

/** Keeps the database `name` aside, or that there was none, unless that was done. Cuts off whoever is connected. @throws RESTORE_FAILED */
export async function setAside(place: DatabasePlace, name: string): Promise<void> {
  const there = await databases(place);
  if (there.includes(asideName(name)) || there.includes(noneName(name))) return;
  if (!there.includes(name)) {
    await sql(place, `CREATE DATABASE "${noneName(name)}"`);
    return;
  }
  await sql(place, `ALTER DATABASE "${name}" WITH ALLOW_CONNECTIONS false`);
  await disconnect(place, name);
  await sql(place, `ALTER DATABASE "${name}" RENAME TO "${asideName(name)}"`);
}

/** Makes the database `name` as it is in the dump, with its owner and rights; another one there goes. @throws RESTORE_FAILED */
export async function fillDatabase(
  place: DatabasePlace,
  name: string,
  dump: string,
  run: Pick<ProjectRun, "signal"> = {},
): Promise<void> {
  await dropDatabase(place, name);
  // The roles that own it are there: the service makes them at every start.
  const command = ["pg_restore", "--username", SUPERUSER, "--create", "--exit-on-error", "--dbname", "postgres"];
  const fd = openSync(dump, "r");
  try {
    const options = { timeoutMs: RESTORE_MAX_MS, signal: run.signal, stdinFd: fd };
    const { engine, project, service } = place;
    const { status, stderr } = await execInService(engine, project, service, command, options);
    if (status !== 0) throw failed(`restoring database ${JSON.stringify(name)}`, stderr);
  } finally {
    closeSync(fd);
  }
}

/** The database `name` as it was before `setAside`, also if there was none. @throws RESTORE_FAILED */
export async function bringBack(place: DatabasePlace, name: string): Promise<void> {
  const there = await databases(place);
  if (there.includes(asideName(name))) {
    await dropDatabase(place, name);
    await sql(place, `ALTER DATABASE "${asideName(name)}" RENAME TO "${name}"`);
    await sql(place, `ALTER DATABASE "${name}" WITH ALLOW_CONNECTIONS true`);
  } else if (there.includes(noneName(name))) {
    await dropDatabase(place, name);
    await dropDatabase(place, noneName(name));
  } else if (there.includes(name)) {
    // Cut off between the two changes of `setAside`.
    await sql(place, `ALTER DATABASE "${name}" WITH ALLOW_CONNECTIONS true`);
  }
}

/** @throws RESTORE_FAILED */
export async function dropAside(place: DatabasePlace, name: string): Promise<void> {
  await dropDatabase(place, asideName(name));
  await dropDatabase(place, noneName(name));
}

export function dumpOf(directory: string, name: string): string {
  return join(directory, `${name}.dump`);
}

/** What the database `name` is called while it is kept aside. */
export function asideName(name: string): string {
  return nameWith(name, ASIDE);
}

function noneName(name: string): string {
  return nameWith(name, NONE);
}

function nameWith(name: string, end: string): string {
  if (name.length + end.length <= NAME_MAX) return `${name}${end}`;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, HASH_DIGITS);
  return `${name.slice(0, NAME_MAX - end.length - HASH_DIGITS - 1)}_${hash}${end}`;
}

async function dropDatabase(place: DatabasePlace, name: string): Promise<void> {
  await sql(place, `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
}

async function disconnect(place: DatabasePlace, name: string): Promise<void> {
  await sql(place, `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '${name}'`);
}

async function databases(place: DatabasePlace): Promise<string[]> {
  return (await sql(place, "SELECT datname FROM pg_database")).trim().split("\n");
}

async function sql({ engine, project, service }: DatabasePlace, statement: string): Promise<string> {
  const command = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username", SUPERUSER];
  const { status, stdout, stderr } = await execInService(
    engine,
    project,
    service,
    [...command, "--set", "ON_ERROR_STOP=1", "--dbname", "postgres", "--command", statement],
    { timeoutMs: SQL_MAX_MS },
  );
  if (status !== 0) throw failed(statement, stderr);
  return stdout;
}

function failed(what: string, stderr: string): Error {
  return lifecycleError("RESTORE_FAILED", `${what}: ${stderr.trim().slice(-REASON_MAX_LENGTH)}`, {
    hints: ["sealift doctor says how much room there is", "sealift logs postgres says what the database wrote"],
  });
}
