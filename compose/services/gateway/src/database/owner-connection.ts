/** One connection for a task that runs once, opened as soon as the database takes it. */
import { setTimeout as sleep } from "node:timers/promises";
import { errorCode } from "@sealift/service-kit/log.ts";
import { readSecretValues } from "@sealift/service-kit/settings.ts";
import pg from "pg";
import { type DatabaseSettings, databaseTls } from "./database-settings.ts";

const TIMEOUT_MS = 2_000;
const RETRY_MS = 250;
const INVALID_PASSWORD = "28P01";
/** invalid_authorization_specification, invalid_catalog_name: waiting would not help. Nor with a password. */
const FINAL = new Set(["28000", INVALID_PASSWORD, "3D000"]);

/** Tries for up to `waitMs`, because a task may start together with its database. Rejects with the last failure. */
export async function connectForTask(settings: DatabaseSettings, waitMs: number): Promise<pg.Client> {
  const [own, ...others] = await readSecretValues(settings.passwordFile);
  let password = own;
  const ssl = await databaseTls(settings);
  const deadline = performance.now() + waitMs;
  for (;;) {
    const { host, port, name: database, user } = settings;
    const client = new pg.Client({
      ...{ host, port, database, user, password, ssl },
      connectionTimeoutMillis: TIMEOUT_MS,
      application_name: "sealift-task",
    });
    // Whoever awaits a query hears of a broken connection there.
    client.on("error", () => {});
    try {
      await client.connect();
      return client;
    } catch (cause) {
      await client.end().catch(() => {});
      // While it is rotated the database may still have the other one.
      const other = errorCode(cause) === INVALID_PASSWORD ? others.shift() : undefined;
      if (other !== undefined) {
        password = other;
        continue;
      }
      if (FINAL.has(errorCode(cause)) || performance.now() > deadline) throw cause;
      await sleep(RETRY_MS);
    }
  }
}
