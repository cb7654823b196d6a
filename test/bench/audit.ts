/**
 * Durable audit records against Postgres: append to the audit log, and INSERT of the same bytes with
 * synchronous_commit, by 1, 16 and 64 writers, in interleaved rounds so that a machine that slows down slows
 * both. Writes test/evidence/audit-bench.json. Needs initdb, postgres and pgbench in PATH or POSTGRES_BIN.
 *
 * Usage: audit.ts [rounds] [seconds per round]
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { AuditLog } from "../../compose/services/audit/src/audit-log.ts";

const [rounds = 7, seconds = 4] = process.argv.slice(2).map(Number);
const WRITERS = [1, 16, 64] as const;
/** What was promised: appends for each INSERT. */
const GOALS: Readonly<Record<number, number>> = { 1: 1.2, 16: 1.2, 64: 2 };
const POSTGRES_BIN = process.env["POSTGRES_BIN"];
const PATH = [...(POSTGRES_BIN ? [POSTGRES_BIN] : []), process.env["PATH"] ?? ""].join(delimiter);
/** Postgres refuses to run as root. */
const NOBODY = 65_534;

/** A record as the gateway writes one: 420 bytes. */
const record = (): Buffer => {
  const fields = `"id":"${randomBytes(16).toString("hex")}","requestId":"${randomBytes(16).toString("hex")}"`;
  return Buffer.from(`{${fields},"hmac":"${randomBytes(32).toString("hex")}","pad":"${"x".repeat(240)}"}`);
};

async function appendRate(log: AuditLog, writers: number): Promise<number> {
  const end = performance.now() + seconds * 1000;
  let count = 0;
  const writer = async (): Promise<void> => {
    for (; performance.now() < end; count += 1) await log.append([record()]);
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: writers }, writer));
  return (count / (performance.now() - started)) * 1000;
}

const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

class Postgres {
  readonly #directory: string;
  readonly #child: ChildProcess;
  readonly version: string;

  private constructor(directory: string, child: ChildProcess, version: string) {
    this.#directory = directory;
    this.#child = child;
    this.version = version;
  }

  static async start(directory: string): Promise<Postgres> {
    mkdirSync(directory, { mode: 0o700 });
    if (user.uid !== undefined) chownSync(directory, user.uid, user.gid);
    const run = { env: { PATH, LC_ALL: "C" }, cwd: directory, ...user };
    const data = join(directory, "data");
    execFileSync("initdb", ["-D", data, "-U", "bench", "-A", "trust"], { ...run, stdio: "ignore" });
    const settings = [
      "listen_addresses=",
      `unix_socket_directories=${directory}`,
      "max_connections=100",
      "shared_buffers=256MB",
    ];
    const child = spawn("postgres", ["-D", data, ...settings.flatMap((setting) => ["-c", setting])], {
      ...run,
      stdio: "ignore",
    });
    const postgres = new Postgres(directory, child, execFileSync("postgres", ["--version"], run).toString().trim());
    while (!postgres.#psql("SELECT 1")) await sleep(100);
    postgres.#psql("CREATE TABLE audit (id bigserial PRIMARY KEY, entry bytea NOT NULL)");
    // The same bytes, made beforehand: pgbench makes nothing but the number.
    const insert = `INSERT INTO audit (entry) VALUES (decode(md5(random()::text) || repeat('78', 404), 'hex'));\n`;
    writeFileSync(join(directory, "insert.sql"), insert, { mode: 0o644 });
    if (postgres.#psql("SHOW synchronous_commit") !== "on" || postgres.#psql("SHOW fsync") !== "on") {
      throw new Error("postgres does not wait for the disk");
    }
    return postgres;
  }

  #psql(sql: string): string | undefined {
    try {
      const args = ["-h", this.#directory, "-U", "bench", "-d", "postgres", "-Atqc", sql];
      return (
        execFileSync("psql", args, { env: { PATH }, stdio: ["ignore", "pipe", "ignore"] })
          .toString()
          .trim() || "done"
      );
    } catch {
      return undefined;
    }
  }

  /** INSERTs a second, as pgbench counts them, prepared once and without its connecting. */
  insertRate(writers: number): number {
    const args = [
      "-h",
      this.#directory,
      "-U",
      "bench",
      "-n",
      "-M",
      "prepared",
      "-f",
      join(this.#directory, "insert.sql"),
    ];
    const threads = Math.min(writers, availableParallelism());
    const output = execFileSync(
      "pgbench",
      [...args, "-c", `${writers}`, "-j", `${threads}`, "-T", `${seconds}`, "postgres"],
      {
        env: { PATH },
        stdio: ["ignore", "pipe", "ignore"],
      },
    ).toString();
    return Number(/tps = ([\d.]+)/.exec(output)?.[1]);
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGINT");
    await once(this.#child, "close");
  }
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const round = (value: number): number => Math.round(value * 100) / 100;

const root = fileURLToPath(new URL("../../", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "sealift-bench-"));
execFileSync("chmod", ["755", scratch]);
let postgres: Postgres | undefined;
try {
  postgres = await Postgres.start(join(scratch, "postgres"));
  const directory = join(scratch, "log");
  mkdirSync(directory);
  const signer = { origin: "bench.example/audit", privateKey: generateKeyPairSync("ed25519").privateKey };
  const log = await AuditLog.open({ directory, signer, log: (_, event) => process.stderr.write(`${event}\n`) });
  const results: Record<string, unknown> = {};
  for (const writers of WRITERS) {
    await appendRate(log, writers);
    postgres.insertRate(writers);
    const pairs: { append: number; insert: number }[] = [];
    for (let i = 0; i < rounds; i += 1) {
      pairs.push({ append: await appendRate(log, writers), insert: postgres.insertRate(writers) });
    }
    const ratios = pairs.map(({ append, insert }) => append / insert);
    const result = {
      appendsPerSecond: Math.round(median(pairs.map(({ append }) => append))),
      insertsPerSecond: Math.round(median(pairs.map(({ insert }) => insert))),
      ratio: round(median(ratios)),
      ratioLowest: round(Math.min(...ratios)),
      ratioHighest: round(Math.max(...ratios)),
      goal: GOALS[writers],
    };
    results[`${writers} writers`] = result;
    process.stderr.write(`${writers} writers: ${JSON.stringify(result)}\n`);
  }
  await log.close();
  const evidence = {
    commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    rounds,
    secondsPerRound: seconds,
    peer: `${postgres.version}, pgbench, prepared INSERT, synchronous_commit on, local socket`,
    ours: "appends in the log's own process, group commit, tree and checkpoints made meanwhile",
    recordBytes: record().length,
    entriesAtTheEnd: log.size,
    ...results,
  };
  writeFileSync(join(root, "test/evidence/audit-bench.json"), `${JSON.stringify(evidence, null, 2)}\n`);
  process.stdout.write(`${JSON.stringify(evidence, null, 2)}\n`);
} finally {
  await postgres?.stop();
  rmSync(scratch, { recursive: true, force: true });
}
