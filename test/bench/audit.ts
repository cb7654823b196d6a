/**
 * Durable audit records against Postgres: append to the audit log, and INSERT of the same bytes with
 * synchronous_commit, by 1, 16 and 64 writers, in interleaved rounds so that a machine that slows down slows
 * both. Beside them the same appends through the audit service, which checks each event and answers over
 * mutual TLS; nothing of Postgres compares with that. Postgres is the appliance's own image, unpacked.
 * Writes test/evidence/audit-bench.json. Needs root, and a mirror or a warm cache.
 *
 * Usage: audit.ts [rounds] [seconds per round]
 */
import type { ChildProcess } from "node:child_process";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chown, mkdir, writeFile } from "node:fs/promises";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { AuditLog } from "../../compose/services/audit/src/audit-log.ts";
import { type AuditClient, openAuditClient } from "../../compose/services/service-kit/src/audit-client.ts";
import { auditGround, peerOf, until } from "../compose/services/audit/audit-instance.ts";
import { killAll, startAuditProcess } from "../compose/services/audit/audit-process.ts";
import { POSTGRES_UID } from "../support/database-process.ts";
import {
  cannotStart,
  eventually,
  killStarted,
  lockedImages,
  PROJECT,
  type Started,
  startImage,
  type UnpackedImage,
  unpackImage,
} from "../support/image-process.ts";
import { scratch } from "../support/scratch.ts";
import { PRINCIPAL, testSigner } from "../support/test-principals.ts";

const [rounds = 7, seconds = 3] = process.argv.slice(2).map(Number);
const WRITERS = [1, 16, 64] as const;
/** What was promised: appends for each INSERT. */
const GOALS: Readonly<Record<number, number>> = { 1: 1.2, 16: 1.2, 64: 2 };
const RECORDS = 4096;

/** A record as the gateway writes one: 420 bytes. */
const record = (): Buffer => {
  const fields = `"id":"${randomBytes(16).toString("hex")}","requestId":"${randomBytes(16).toString("hex")}"`;
  return Buffer.from(`{${fields},"hmac":"${randomBytes(32).toString("hex")}","pad":"${"x".repeat(249)}"}`);
};

/** How often a second `once` is done by so many writers, with what `end` then does. */
async function rateOf(writers: number, work: (i: number) => Promise<unknown>, end = async () => {}): Promise<number> {
  const until = performance.now() + seconds * 1000;
  let count = 0;
  const writer = async (): Promise<void> => {
    while (performance.now() < until) {
      count += 1;
      await work(count);
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: writers }, writer));
  await end();
  return (count / (performance.now() - started)) * 1000;
}

class Postgres {
  readonly #image: UnpackedImage;
  readonly #writable: string;
  readonly #server: Started;
  readonly version: string;

  private constructor(image: UnpackedImage, writable: string, server: Started, version: string) {
    this.#image = image;
    this.#writable = writable;
    this.#server = server;
    this.version = version;
  }

  static async start(work: string): Promise<Postgres> {
    const { images } = await lockedImages(work, ["postgres"]);
    if (!images["postgres"]) throw new Error("the appliance has no image named postgres");
    const image = await unpackImage(images["postgres"], "postgres", work);
    const [data, shared] = [join(work, "data"), join(work, "shared")];
    for (const directory of [data, shared]) {
      await mkdir(directory, { mode: 0o700 });
      await chown(directory, POSTGRES_UID, POSTGRES_UID);
    }
    // The bytes are made in the server, of one random number: pgbench sends nothing but the number of the statement.
    const insert = `INSERT INTO audit (entry) VALUES (decode(md5(random()::text) || repeat('78', 404), 'hex'));\n`;
    await writeFile(join(shared, "insert.sql"), insert, { mode: 0o644 });
    const writable = `run/postgresql=${shared},tmp,var/lib/postgresql=${data}`;
    const initdb = ["initdb", "-D", "/var/lib/postgresql/bench", "-U", "bench", "-A", "trust"];
    await run(image, writable, initdb);
    const settings = ["listen_addresses=", "max_connections=100", "shared_buffers=256MB"];
    const command = ["postgres", "-D", "/var/lib/postgresql/bench", ...settings.flatMap((one) => ["-c", one])];
    const version = await run(image, writable, ["postgres", "--version"]);
    const postgres = new Postgres(image, writable, startImage(image, { writable, command }), version);
    await eventually("postgres", postgres.#server, () => postgres.#ask("SELECT 1"));
    await postgres.#ask("CREATE TABLE audit (id bigserial PRIMARY KEY, entry bytea NOT NULL)");
    for (const setting of ["synchronous_commit", "fsync"]) {
      if ((await postgres.#ask(`SHOW ${setting}`)) !== "on") throw new Error("postgres does not wait for the disk");
    }
    return postgres;
  }

  #ask(sql: string): Promise<string> {
    return run(this.#image, this.#writable, ["psql", "-U", "bench", "-d", "postgres", "-Atqc", sql]);
  }

  /** INSERTs a second, as pgbench counts them, prepared once and without its connecting. */
  async insertRate(writers: number): Promise<number> {
    const threads = Math.min(writers, availableParallelism());
    const how = ["-n", "-M", "prepared", "-f", "/run/postgresql/insert.sql"];
    const load = ["-c", `${writers}`, "-j", `${threads}`, "-T", `${seconds}`];
    const output = await run(this.#image, this.#writable, ["pgbench", "-U", "bench", ...how, ...load, "postgres"]);
    return Number(/tps = ([\d.]+)/.exec(output)?.[1]);
  }

  stop(): Promise<number | null> {
    return this.#server.stop("SIGINT");
  }
}

async function run(image: UnpackedImage, writable: string, command: readonly string[]): Promise<string> {
  const started = startImage(image, { writable, command });
  if ((await started.ended) !== 0) throw new Error(`${command[0]}: ${started.output()}`);
  return started.stdout().trim();
}

/** The audit service as a process of its own, asked as the gateway asks it. */
async function startService(context: { after(work: () => Promise<void>): void }): Promise<AuditClient> {
  const ground = await auditGround(context);
  const all = new Set<ChildProcess>();
  context.after(async () => {
    const ended = [...all].map((child) => once(child, "close"));
    killAll(all);
    await Promise.all(ended);
  });
  const audit = startAuditProcess(ground.environment, all);
  await until(() => audit.port !== undefined, 20_000);
  const peer = await peerOf(context, ground.identities, "gateway", () => [audit.port]);
  return openAuditClient({ peer, service: "gateway", signer: testSigner("audit") });
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const round = (value: number): number => Math.round(value * 100) / 100;

if (cannotStart) throw new Error(cannotStart);
const cleanups: (() => Promise<unknown>)[] = [killStarted];
const context = { after: (work: () => Promise<void>) => void cleanups.push(work) };
try {
  const work = await scratch(context);
  const postgres = await Postgres.start(work);
  cleanups.push(() => postgres.stop());
  const directory = join(work, "log");
  await mkdir(directory);
  const signer = { origin: "bench.example/audit", privateKey: generateKeyPairSync("ed25519").privateKey };
  const log = await AuditLog.open({ directory, signer, log: (_, event) => process.stderr.write(`${event}\n`) });
  const client = await startService(context);
  // Made beforehand: here the writers are in the process that is measured.
  const records = Array.from({ length: RECORDS }, record);
  const { tenant, actor, role } = PRINCIPAL;
  const event = { tenant, actor, role, promptHmac: "0".repeat(64), model: "m-1", decision: "allow", bytes: 1_000 };
  const measure = {
    append: (writers: number) =>
      rateOf(
        writers,
        (i) => log.append([records[i % RECORDS] as Buffer]),
        () => log.checkpoint(),
      ),
    service: (writers: number) =>
      rateOf(writers, (i) => {
        const requestId = `r-${i}`;
        return client.append({ ...event, type: "request.allowed", requestId }, { ...PRINCIPAL, requestId });
      }),
    insert: (writers: number) => postgres.insertRate(writers),
  };
  const results: Record<string, unknown> = {};
  for (const writers of WRITERS) {
    const measured: { append: number; service: number; insert: number }[] = [];
    for (let i = 0; i <= rounds; i += 1) {
      const [append, insert] = [await measure.append(writers), await measure.insert(writers)];
      measured.push({ append, insert, service: await measure.service(writers) });
    }
    // Of the first one everything is still cold.
    measured.shift();
    const ratios = measured.map(({ append, insert }) => append / insert);
    const result = {
      appendsPerSecond: Math.round(median(measured.map(({ append }) => append))),
      insertsPerSecond: Math.round(median(measured.map(({ insert }) => insert))),
      ratio: round(median(ratios)),
      ratioLowest: round(Math.min(...ratios)),
      ratioHighest: round(Math.max(...ratios)),
      goal: GOALS[writers],
      throughServicePerSecond: Math.round(median(measured.map(({ service }) => service))),
      serviceRatio: round(median(measured.map(({ service, insert }) => service / insert))),
    };
    results[`${writers} writers`] = result;
    process.stderr.write(`${writers} writers: ${JSON.stringify(result)}\n`);
  }
  await log.close();
  const evidence = {
    commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: PROJECT, encoding: "utf8" }).trim(),
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    rounds,
    secondsPerRound: seconds,
    peer: `${postgres.version} of the appliance's image, pgbench, prepared INSERT, synchronous_commit on, local socket`,
    ours: "appends in the log's own process, group commit; tree and checkpoint of all of them made in the time measured",
    throughService: "one gateway's client over mutual TLS, each event checked; the client's work is on the same cores",
    recordBytes: record().length,
    entriesAtTheEnd: log.size,
    ...results,
  };
  await writeFile(join(PROJECT, "test/evidence/audit-bench.json"), `${JSON.stringify(evidence, null, 2)}\n`);
  process.stdout.write(`${JSON.stringify(evidence, null, 2)}\n`);
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup();
}
