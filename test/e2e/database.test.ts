/** The appliance's database: its start, its roles, migrations, and what Postgres itself keeps apart. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  applyMigrations,
  type MigrationError,
  type MigrationResult,
} from "../../compose/services/gateway/src/database/apply-migrations.ts";
import { readMigrations } from "../../compose/services/gateway/src/database/migration-files.ts";
import { createLog } from "../../compose/services/service-kit/src/log.ts";
import { type DatabaseProcess, PASSWORDS, POSTGRES_UID, prepareDatabase } from "../support/database-process.ts";
import {
  eventually,
  freePort,
  killStarted,
  lockedImages,
  PROJECT,
  putSecret,
  cannotStart as skip,
  type UnpackedImage,
  unpackImage,
} from "../support/image-process.ts";

let work = "";
let postgres: UnpackedImage;
/** The schema version of this release. */
const NEWEST = (await readMigrations()).length;

before(async () => {
  if (skip) return;
  work = await mkdtemp(join(tmpdir(), "sealift-database-"));
  await chmod(work, 0o755);
  const { images } = await lockedImages(work, ["postgres"]);
  postgres = await unpackImage(images["postgres"] ?? assert.fail(), "postgres", work);
});

after(async () => {
  await killStarted();
  await rm(work, { recursive: true, force: true });
});

interface TaskRun {
  readonly status: number | null;
  readonly result: Record<string, unknown> | undefined;
  readonly log: string;
}

/** A task of the gateway image, run from the sources. */
async function task(script: string, port: number, env: Readonly<Record<string, string>> = {}): Promise<TaskRun> {
  const passwordFile = join(work, "owner-password");
  await writeFile(passwordFile, PASSWORDS.gateway_owner);
  const child = spawn(process.execPath, [join(PROJECT, "compose/services/gateway/src", script)], {
    env: {
      DATABASE_HOST: "127.0.0.1",
      DATABASE_PORT: String(port),
      DATABASE_NAME: "gateway",
      DATABASE_USER: "gateway_owner",
      DATABASE_PASSWORD_FILE: passwordFile,
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, log] = ["", ""];
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    log += chunk;
  });
  const [status] = await once(child, "close");
  return { status, result: stdout === "" ? undefined : JSON.parse(stdout), log };
}

test("postgres makes its database once, keeps it over restarts and a crash, and lets in nobody else", {
  skip,
}, async (t) => {
  const db = await prepareDatabase(t, postgres, work);
  const first = db.start();
  const asService = (sql: string) => db.ask("gateway", PASSWORDS.gateway, sql);
  const asOwner = (sql: string) => db.ask("gateway_owner", PASSWORDS.gateway_owner, sql);
  assert.deepEqual(await eventually("postgres", first, () => asService("SELECT 1 AS one")), [{ one: 1 }]);
  const facts = `SELECT current_setting('data_checksums') AS checksums, datlocprovider, datlocale,
    pg_encoding_to_char(encoding) AS encoding, pg_get_userbyid(datdba) AS owner
    FROM pg_database WHERE datname = current_database()`;
  assert.deepEqual(await asService(facts), [
    { checksums: "on", datlocprovider: "b", datlocale: "C.UTF-8", encoding: "UTF8", owner: "gateway_owner" },
  ]);
  const roles = `SELECT rolname, rolsuper OR rolbypassrls OR rolcreatedb OR rolcreaterole OR rolreplication AS power
    FROM pg_roles WHERE rolname LIKE 'gateway%' ORDER BY 1`;
  assert.deepEqual(await asService(roles), [
    { rolname: "gateway", power: false },
    { rolname: "gateway_owner", power: false },
  ]);
  for (const sql of ["CREATE TABLE public.t ()", "CREATE SCHEMA s", "CREATE TEMPORARY TABLE t ()"]) {
    await assert.rejects(asService(sql), { code: "42501" }, sql);
  }
  await assert.rejects(db.ask("gateway", "wrong-password", "SELECT 1"), { code: "28P01" });
  await assert.rejects(db.ask("gateway", PASSWORDS.gateway_owner, "SELECT 1"), { code: "28P01" });
  await assert.rejects(db.ask("postgres", PASSWORDS.gateway, "SELECT 1"), { code: "28000" });
  await asOwner("CREATE TABLE kept AS SELECT 42 AS value");
  await first.stop("SIGKILL");
  const second = db.start();
  await eventually("postgres after a crash", second, () => asService("SELECT 1"));
  assert.deepEqual(await asOwner("SELECT value FROM kept"), [{ value: 42 }]);
  assert.equal(await second.stop("SIGINT"), 0, second.output());
  const output = first.output() + second.output();
  assert.doesNotMatch(output, /service-password|owner-password|SCRAM-SHA-256\$/);
  assert.doesNotMatch(output, /already exists/);
});

test("a start heals roles that were changed, makes those that a newer release needs, and takes a new password", {
  skip,
}, async (t) => {
  const db = await prepareDatabase(t, postgres, work);
  const first = db.start();
  await eventually("postgres", first, () => db.ask("gateway", PASSWORDS.gateway, "SELECT 1"));
  const broken = await db.run([
    ...["/usr/lib/postgresql/17/bin/psql", "--host=/run/postgresql", "--dbname=postgres", "--set=ON_ERROR_STOP=1"],
    "--command=ALTER ROLE gateway SUPERUSER; ALTER DATABASE gateway OWNER TO gateway; DROP ROLE gateway_owner",
  ]);
  assert.equal(broken.status, 0, broken.output);
  assert.equal(await first.stop("SIGINT"), 0);
  await putSecret(db.rootfs, "postgres-gateway", POSTGRES_UID, "another-password");
  const second = db.start();
  const [role] = await eventually("postgres", second, () =>
    db.ask("gateway", "another-password", "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"),
  );
  assert.deepEqual(role, { rolsuper: false });
  await db.ask("gateway_owner", PASSWORDS.gateway_owner, "CREATE SCHEMA works");
});

test("postgres refuses what an interrupted first start left, and a password that could be SQL", { skip }, async (t) => {
  const db = await prepareDatabase(t, postgres, work);
  await mkdir(join(db.data, "17"));
  await writeFile(join(db.data, "17/PG_VERSION"), "17\n");
  execFileSync("chown", ["-R", `${POSTGRES_UID}:${POSTGRES_UID}`, db.data]);
  const left = db.start();
  assert.equal(await left.ended, 78, left.output());
  assert.match(left.output(), /first start did not end/);
  await rm(join(db.data, "17"), { recursive: true });
  for (const password of ["x'; DROP TABLE y; --", "two words", "", "\n"]) {
    await putSecret(db.rootfs, "postgres-gateway", POSTGRES_UID, password);
    const refused = db.start();
    assert.equal(await refused.ended, 78, refused.output());
  }
});

/** One running database for all that follows, each test in a schema that migrations made. */
const shared = async (t: TestContext): Promise<DatabaseProcess> => {
  const db = await prepareDatabase(t, postgres, work);
  const started = db.start();
  await eventually("postgres", started, () => db.ask("gateway", PASSWORDS.gateway, "SELECT 1"));
  return db;
};

test("migrate goes from nothing to a wanted version, on to the newest, and then changes nothing", {
  skip,
}, async (t) => {
  const db = await shared(t);
  const first = await task("migrate.ts", db.port, { MIGRATE_TO: "1" });
  assert.deepEqual([first.status, first.result], [0, { kind: "migrate", from: 0, to: 1 }], first.log);
  const both = await Promise.all([task("migrate.ts", db.port), task("migrate.ts", db.port)]);
  for (const { status, log } of both) assert.equal(status, 0, log);
  const ways = both.map(({ result }) => `${result?.["from"]}-${result?.["to"]}`).sort();
  assert.deepEqual(ways, [`1-${NEWEST}`, `${NEWEST}-${NEWEST}`], "two at once: one does the work");
  const older = await task("migrate.ts", db.port, { MIGRATE_TO: "1" });
  assert.deepEqual([older.status, older.result], [0, { kind: "migrate", from: NEWEST, to: NEWEST }], "never back");
});

test("migrate tells wrong settings from a failure", { skip }, async (t) => {
  const db = await shared(t);
  const wrong = join(work, "wrong-password");
  await writeFile(wrong, "wrong-password");
  const settings: readonly (readonly [Record<string, string>, RegExp])[] = [
    [{ MIGRATE_TO: "0" }, /MIGRATE_TO: want a whole number/],
    [{ MIGRATE_TO: "9998" }, /MIGRATE_TO: got 9998/],
    [{ DATABASE_NAME: "" }, /DATABASE_NAME is not set/],
    [{ DATABASE_PASSWORD_FILE: "/nonexistent" }, /ENOENT/],
    [{ DATABASE_PASSWORD_FILE: wrong }, /28P01/],
  ];
  for (const [env, reason] of settings) {
    const { status, log, result } = await task("migrate.ts", db.port, env);
    assert.deepEqual([status, result], [78, undefined], log);
    assert.match(log, reason);
  }
  const away = await task("migrate.ts", await freePort(), { DATABASE_WAIT_MS: "300" });
  assert.equal(away.status, 1, away.log);
  assert.match(away.log, /ECONNREFUSED/);
});

/** Applies migrations given as SQL texts, numbered from 1, in the test's own process. */
async function apply(db: DatabaseProcess, ...texts: readonly string[]): Promise<MigrationResult> {
  const directory = await mkdtemp(join(work, "migrations-"));
  for (const [index, sql] of texts.entries()) await writeFile(join(directory, `000${index + 1}-step.sql`), sql);
  const client = await db.connect("gateway_owner", PASSWORDS.gateway_owner);
  try {
    const log = () => {};
    return await applyMigrations(client, {
      migrations: await readMigrations(directory),
      to: 99,
      log,
      retryMs: [50, 50],
    });
  } finally {
    await client.end();
  }
}

test("a migration that fails leaves nothing of itself, and the ones before it stay", { skip }, async (t) => {
  const db = await shared(t);
  const good = "CREATE TABLE app.one (id int);";
  const bad = "CREATE TABLE app.two (id int);\n\nINSERT INTO app.one VALUES ('secret-value');";
  await assert.rejects(apply(db, good, bad), (error: MigrationError) => {
    assert.equal(error.problem, "failed");
    assert.deepEqual(error.facts, { version: 2, name: "step", code: "22P02", line: 3 });
    return true;
  });
  const tables = await db.ask(
    "gateway_owner",
    PASSWORDS.gateway_owner,
    "SELECT to_regclass('app.one') AS one, to_regclass('app.two') AS two",
  );
  assert.deepEqual(tables, [{ one: "app.one", two: null }]);
  assert.deepEqual(await apply(db, good, "CREATE TABLE app.two (id int);"), { from: 1, to: 2 });
});

test("a changed migration is refused, an unknown newer one only when there is something to do", { skip }, async (t) => {
  const db = await shared(t);
  const [one, two] = ["CREATE TABLE app.one ();", "CREATE TABLE app.two ();"];
  await apply(db, one, two);
  assert.deepEqual(await apply(db, one), { from: 2, to: 2 }, "the release before, on the newer schema");
  await assert.rejects(apply(db, `${one}\n`, two), { problem: "changed", facts: { version: 1, name: "step" } });
  const gap = "INSERT INTO app.schema_migration (version, name, sha256) VALUES (5, 'x', 'x')";
  await db.ask("gateway_owner", PASSWORDS.gateway_owner, gap);
  await assert.rejects(apply(db, one, two, "CREATE TABLE app.three ();"), { problem: "foreign" });
});

test("a migration does not queue behind a lock for long: it gives up, tries again and succeeds", {
  skip,
}, async (t) => {
  const db = await shared(t);
  await apply(db, "CREATE TABLE app.one (id int);");
  const blocker = await db.connect("gateway_owner", PASSWORDS.gateway_owner);
  t.after(() => blocker.end());
  await blocker.query("BEGIN; LOCK TABLE app.one IN ACCESS SHARE MODE");
  const lines: string[] = [];
  const client = await db.connect("gateway_owner", PASSWORDS.gateway_owner);
  t.after(() => client.end());
  const directory = await mkdtemp(join(work, "migrations-"));
  await writeFile(join(directory, "0001-step.sql"), "CREATE TABLE app.one (id int);");
  await writeFile(join(directory, "0002-step.sql"), "ALTER TABLE app.one ADD COLUMN more int;");
  const migrations = await readMigrations(directory);
  const log = createLog("test", (line) => lines.push(line));
  const applied = applyMigrations(client, { migrations, to: 99, log, retryMs: [50, 50, 50] });
  while (!lines.join("").includes("migration-retried")) await sleep(100);
  await blocker.query("COMMIT");
  assert.deepEqual(await applied, { from: 1, to: 2 });
});
