/**
 * The task that brings the schema forward, run by the installer before the new release starts. Connects as
 * the database's owner. MIGRATE_TO names the version to stop at; without it, the newest of this release.
 * Prints {"kind":"migrate","from":N,"to":N}.
 */
import { SettingsError } from "@sealift/service-kit/settings.ts";
import { applyMigrations } from "./database/apply-migrations.ts";
import { readMigrations } from "./database/migration-files.ts";
import { runTask } from "./database/run-task.ts";

const NEWEST = 9999;

await runTask(
  {
    name: "gateway-migrate",
    settings: (reader) => reader.integer("MIGRATE_TO", NEWEST, 1, NEWEST),
    run: async (client, to, log) => {
      const migrations = await readMigrations();
      if (to !== NEWEST && to > migrations.length) {
        throw new SettingsError([`MIGRATE_TO: got ${to}, want at most ${migrations.length}`]);
      }
      return { kind: "migrate", ...(await applyMigrations(client, { migrations, to, log })) };
    },
  },
  process.env,
);
