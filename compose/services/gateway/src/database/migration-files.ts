/**
 * The migrations that this release knows: files `NNNN-name.sql`, numbered from 0001 without a gap. One that
 * was released never changes; test/compose/services/gateway/database holds them to be expand-only, so that
 * the release before works on the schema too.
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  /** Of the file's bytes, lower-case hex. */
  readonly sha256: string;
}

export const MIGRATIONS_DIRECTORY = join(import.meta.dirname, "migrations");

const FILE_NAME = /^(\d{4})-([a-z0-9]+(?:-[a-z0-9]+)*)\.sql$/;

/** In order. Rejects if a file is named otherwise or a number is missing or there twice. */
export async function readMigrations(directory: string = MIGRATIONS_DIRECTORY): Promise<readonly Migration[]> {
  const migrations: Migration[] = [];
  for (const file of (await readdir(directory)).sort()) {
    const [, number, name] = FILE_NAME.exec(file) ?? [];
    const version = migrations.length + 1;
    if (name === undefined || Number(number) !== version) {
      throw new Error(`migration ${JSON.stringify(file)}: want ${String(version).padStart(4, "0")}-NAME.sql`);
    }
    const bytes = await readFile(join(directory, file));
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    migrations.push({ version, name, sql: bytes.toString("utf8"), sha256 });
  }
  return migrations;
}
