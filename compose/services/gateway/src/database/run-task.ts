/** The life of a task: settings, one connection as the owner, one line of JSON on stdout, an exit code. */
import { createLog, errorCode, type Log } from "@sealift/service-kit/log.ts";
import { type Environment, SettingsError, SettingsReader } from "@sealift/service-kit/settings.ts";
import type pg from "pg";
import { MigrationError } from "./apply-migrations.ts";
import { type DatabaseSettings, readDatabaseSettings } from "./database-settings.ts";
import { connectForTask } from "./owner-connection.ts";

/** sysexits.h: the settings are wrong, and trying again will not help. */
const EX_CONFIG = 78;
/** What the system or the server says about settings that are wrong. */
const WRONG_SETTINGS = new Set(["ENOENT", "EACCES", "EISDIR", "28000", "28P01", "3D000"]);

export interface Task<Settings> {
  readonly name: string;
  /** Reads what it needs besides the database; problems are collected by the reader. */
  readonly settings: (reader: SettingsReader) => Settings;
  /** Its result is the line on stdout. */
  readonly run: (client: pg.Client, settings: Settings, log: Log) => Promise<unknown>;
}

/**
 * Exit code 0 done, 78 wrong settings, 1 failed. Reads DATABASE_… (database-settings.ts) and DATABASE_WAIT_MS,
 * how long to wait for the database (60,000). The log goes to stderr.
 */
export async function runTask<Settings>(task: Task<Settings>, environment: Environment): Promise<void> {
  const log = createLog(task.name, (line) => process.stderr.write(line));
  try {
    const reader = new SettingsReader(environment);
    const database: DatabaseSettings = readDatabaseSettings(reader);
    const waitMs = reader.integer("DATABASE_WAIT_MS", 60_000, 0, 3_600_000);
    const settings = task.settings(reader);
    reader.done();
    const client = await connectForTask(database, waitMs);
    try {
      process.stdout.write(`${JSON.stringify(await task.run(client, settings, log))}\n`);
    } finally {
      await client.end().catch(() => {});
    }
  } catch (cause) {
    const code = errorCode(cause);
    log("error", "task-failed", {
      ...(cause instanceof MigrationError ? { problem: cause.problem, ...cause.facts } : { code }),
      ...(cause instanceof SettingsError && { problems: cause.message }),
    });
    process.exitCode = cause instanceof SettingsError || WRONG_SETTINGS.has(code) ? EX_CONFIG : 1;
  }
}
