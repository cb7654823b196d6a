/** The appliance's Postgres, from its image, as processes of this machine on a loopback port. */
import { chmod, chown, mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { freePort, putSecret, type Started, startImage, type UnpackedImage } from "./image-process.ts";

export const POSTGRES_UID = 10070;
export const PASSWORDS = { gateway: "service-password", gateway_owner: "owner-password" } as const;

export interface DatabaseProcess {
  /** The volume. */
  readonly data: string;
  /** What is /run/postgresql in there. */
  readonly sockets: string;
  readonly rootfs: string;
  readonly port: number;
  /** Another start on the same volume and port. */
  start(): Started;
  connect(user: string, password: string): Promise<pg.Client>;
  /** One query on a connection of its own. */
  ask(user: string, password: string, sql: string, values?: readonly unknown[]): Promise<Record<string, unknown>[]>;
  /** A program of the image, beside the running server, as the user that it runs as. */
  run(command: readonly string[]): Promise<{ status: number | null; output: string }>;
}

interface Context {
  after(work: () => Promise<void>): void;
}

/** Prepares a database on an empty volume in `work`; whatever it started ends with the test. */
export async function prepareDatabase(t: Context, image: UnpackedImage, work: string): Promise<DatabaseProcess> {
  const { rootfs } = image;
  const data = await mkdtemp(join(work, "data-"));
  const sockets = await mkdtemp(join(work, "sockets-"));
  await chmod(data, 0o700);
  for (const directory of [data, sockets]) await chown(directory, POSTGRES_UID, POSTGRES_UID);
  await putSecret(rootfs, "postgres-gateway", POSTGRES_UID, PASSWORDS.gateway);
  await putSecret(rootfs, "postgres-gateway-owner", POSTGRES_UID, `${PASSWORDS.gateway_owner}\n`);
  const port = await freePort();
  const writable = `run/postgresql=${sockets},tmp,var/lib/postgresql=${data}`;
  const env = { SEALIFT_DATABASES: "gateway" };
  const args = ["-c", `port=${port}`, "-c", "listen_addresses=127.0.0.1"];
  const connect = async (user: string, password: string): Promise<pg.Client> => {
    const client = new pg.Client({ host: "127.0.0.1", port, database: "gateway", user, password });
    client.on("error", () => {});
    await client.connect();
    return client;
  };
  const made: Started[] = [];
  t.after(async () => {
    for (const started of made) if (!started.hasEnded()) await started.stop("SIGINT");
  });
  return {
    data,
    sockets,
    rootfs,
    port,
    start: () => {
      const started = startImage(image, { writable, env, args });
      made.push(started);
      return started;
    },
    connect,
    ask: async (user, password, sql, values = []) => {
      const client = await connect(user, password);
      try {
        return (await client.query(sql, [...values])).rows;
      } finally {
        await client.end();
      }
    },
    run: async (command) => {
      const started = startImage(image, { writable, command, env: { PGPORT: String(port) } });
      return { status: await started.ended, output: started.output() };
    },
  };
}
