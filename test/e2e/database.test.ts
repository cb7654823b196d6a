/** The appliance's database: its start, its roles, migrations, and what Postgres itself keeps apart. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, chmod, copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import pg, { type DatabaseError } from "pg";
import {
  type ApiKeyProof,
  CAPABILITIES,
  makeApiKey,
  proveApiKey,
} from "../../compose/services/gateway/src/database/api-key.ts";
import {
  applyMigrations,
  type MigrationError,
  type MigrationResult,
} from "../../compose/services/gateway/src/database/apply-migrations.ts";
import { type Database, type Login, openDatabase } from "../../compose/services/gateway/src/database/database.ts";
import type { DatabaseSettings } from "../../compose/services/gateway/src/database/database-settings.ts";
import { readMigrations } from "../../compose/services/gateway/src/database/migration-files.ts";
import { connectForTask } from "../../compose/services/gateway/src/database/owner-connection.ts";
import { readUsage, recordUsage } from "../../compose/services/gateway/src/database/usage.ts";
import { createLog } from "../../compose/services/service-kit/src/log.ts";
import { SettingsError } from "../../compose/services/service-kit/src/settings.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { type IdentityRoot, makeIdentity, openIdentityRoot } from "../../installer/site/identities.ts";
import { type DatabaseProcess, PASSWORDS, POSTGRES_UID, prepareDatabase } from "../support/database-process.ts";
import {
  eventually,
  freePort,
  killStarted,
  lockedImages,
  PROJECT,
  putSecret,
  type Started,
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
async function task(
  script: string,
  port: number,
  env: Readonly<Record<string, string>> = {},
  args: readonly string[] = [],
): Promise<TaskRun> {
  const passwordFile = join(work, "owner-password");
  await writeFile(passwordFile, PASSWORDS.gateway_owner);
  const child = spawn(process.execPath, [join(PROJECT, "compose/services/gateway/src", script), ...args], {
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

test("a crash in the first start is refused before the data directory is whole, and healed after it", {
  skip,
}, async (t) => {
  const crashWith = async (file: string): Promise<{ db: DatabaseProcess; second: Started }> => {
    const db = await prepareDatabase(t, postgres, work);
    const first = db.start();
    await eventually(file, first, () => access(join(db.data, "17", file)));
    await first.stop("SIGKILL");
    assert.doesNotMatch(first.output(), /ready to accept connections/);
    return { db, second: db.start() };
  };
  const early = await crashWith("PG_VERSION");
  assert.equal(await early.second.ended, 78, early.second.output());
  assert.match(early.second.output(), /first start did not end.*remove the volume and start again/);
  const late = await crashWith("sealift-initialised");
  await eventually("postgres", late.second, () => late.db.ask("gateway", PASSWORDS.gateway, "SELECT 1"));
  await late.db.ask("gateway_owner", PASSWORDS.gateway_owner, "CREATE SCHEMA works");
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

test("postgres refuses a password that could be SQL", { skip }, async (t) => {
  const db = await prepareDatabase(t, postgres, work);
  for (const password of ["x'; DROP TABLE y; --", "two words", "", "\n"]) {
    for (const name of ["postgres-gateway", "postgres-gateway-owner"]) {
      await putSecret(db.rootfs, name, POSTGRES_UID, password);
      const refused = db.start();
      assert.equal(await refused.ended, 78, refused.output());
      await putSecret(db.rootfs, name, POSTGRES_UID, "good");
    }
  }
});

/** An empty, running database. */
const empty = async (t: TestContext): Promise<DatabaseProcess> => {
  const db = await prepareDatabase(t, postgres, work);
  const started = db.start();
  await eventually("postgres", started, () => db.ask("gateway", PASSWORDS.gateway, "SELECT 1"));
  return db;
};

test("migrate goes from nothing to a wanted version, on to the newest, and then changes nothing", {
  skip,
}, async (t) => {
  const db = await empty(t);
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
  const db = await empty(t);
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
  const db = await empty(t);
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
  const db = await empty(t);
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
  const db = await empty(t);
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
  const applied = applyMigrations(client, { migrations, to: 99, log, retryMs: [50, 50, 50], lockTimeoutMs: 200 });
  while (!lines.join("").includes("migration-retried")) await sleep(100);
  await blocker.query("COMMIT");
  assert.deepEqual(await applied, { from: 1, to: 2 });
});

const PEPPER = "a".repeat(64);

let tenantCount = 0;

interface TestTenant {
  readonly name: string;
  readonly id: string;
  readonly keyId: string;
  readonly key: string;
  readonly login: Login;
}

/** A tenant with one role, one principal and one key, made as the owner, and a login with the key. */
async function makeTenant(db: DatabaseProcess, database: Database): Promise<TestTenant> {
  tenantCount += 1;
  const name = `tenant-${tenantCount}`;
  const { key, prefix, hash } = makeApiKey(PEPPER);
  const sql = `
    WITH t AS (INSERT INTO app.tenant (name) VALUES ($1) RETURNING id),
      r AS (INSERT INTO app.role SELECT id, 'user' FROM t RETURNING tenant_id),
      m AS (INSERT INTO app.role_model SELECT tenant_id, 'user', 'model-of-' || $1 FROM r),
      p AS (INSERT INTO app.principal (tenant_id, name, role) SELECT tenant_id, 'one', 'user' FROM r RETURNING id, tenant_id)
    INSERT INTO app.api_key (tenant_id, principal_id, prefix, hash, capabilities, expires_at)
      SELECT tenant_id, id, $2, $3, '{chat,models}', now() + interval '1 hour' FROM p RETURNING tenant_id, id`;
  const [row] = await db.ask("gateway_owner", PASSWORDS.gateway_owner, sql, [name, prefix, hash]);
  const login = await database.login(proveApiKey(key, PEPPER) ?? assert.fail());
  return { name, id: String(row?.["tenant_id"]), keyId: String(row?.["id"]), key, login: login ?? assert.fail() };
}

const LINES: string[] = [];
const testLog = createLog("test", (line) => LINES.push(line));

let common: DatabaseProcess | undefined;

/** The migrated database that tests share, each with tenants of its own, and the gateway's access to it. */
async function migrated(t: TestContext): Promise<{ db: DatabaseProcess; database: Database }> {
  if (!common) {
    common = await prepareDatabase({ after: () => {} }, postgres, work);
    const db = common;
    const started = db.start();
    await eventually("postgres", started, () => db.ask("gateway", PASSWORDS.gateway, "SELECT 1"));
    const { status, log } = await task("migrate.ts", db.port);
    assert.equal(status, 0, log);
  }
  return { db: common, database: await openService(t, common) };
}

async function openService(t: TestContext, db: DatabaseProcess, schemaVersion = NEWEST): Promise<Database> {
  const passwordFile = join(work, "service-password");
  await writeFile(passwordFile, PASSWORDS.gateway);
  const settings = { host: "127.0.0.1", port: db.port, name: "gateway", user: "gateway", passwordFile };
  const database = await openDatabase(settings, testLog, { schemaVersion });
  t.after(() => database.close());
  return database;
}

/** SQL as the superuser, which only the socket lets in. */
async function asSuperuser(db: DatabaseProcess, sql: string, database = "gateway"): Promise<string> {
  const psql = ["/usr/lib/postgresql/17/bin/psql", "--host=/run/postgresql", "--set=ON_ERROR_STOP=1", "--tuples-only"];
  const { status, output } = await db.run([...psql, "--no-align", `--dbname=${database}`, `--command=${sql}`]);
  assert.equal(status, 0, output);
  return output.trim();
}

test("a role that row-level security would not hold is refused, and the gateway ends with 78", { skip }, async (t) => {
  const { db, database } = await migrated(t);
  await database.guard();
  const faults: readonly (readonly [RegExp, string, string])[] = [
    [/is a superuser/, "ALTER ROLE gateway SUPERUSER", "ALTER ROLE gateway NOSUPERUSER"],
    [/has BYPASSRLS/, "ALTER ROLE gateway BYPASSRLS", "ALTER ROLE gateway NOBYPASSRLS"],
    [/create roles or databases/, "ALTER ROLE gateway CREATEROLE", "ALTER ROLE gateway NOCREATEROLE"],
    [/member of another role/, "GRANT gateway_owner TO gateway", "REVOKE gateway_owner FROM gateway"],
    [/owns something/, "CREATE SEQUENCE app.mine; ALTER SEQUENCE app.mine OWNER TO gateway", "DROP SEQUENCE app.mine"],
    [/may create tables/, "GRANT CREATE ON SCHEMA app TO gateway", "REVOKE CREATE ON SCHEMA app FROM gateway"],
    [
      /may create tables/,
      "GRANT TEMPORARY ON DATABASE gateway TO PUBLIC",
      "REVOKE ALL ON DATABASE gateway FROM PUBLIC",
    ],
    [
      /without forced/,
      "ALTER TABLE app.usage NO FORCE ROW LEVEL SECURITY",
      "ALTER TABLE app.usage FORCE ROW LEVEL SECURITY",
    ],
    [/without forced/, "GRANT SELECT ON app.token_key TO gateway", "REVOKE ALL ON app.token_key FROM gateway"],
  ];
  for (const [reason, breaks, heals] of faults) {
    await asSuperuser(db, breaks);
    const fresh = await openService(t, db);
    await assert.rejects(
      fresh.guard(),
      (error: Error) => error instanceof SettingsError && reason.test(error.message),
      breaks,
    );
    assert.equal(await fresh.answers(), false, "no query is made as such a role");
    await asSuperuser(db, heals);
    await (await openService(t, db)).guard();
  }
  await asSuperuser(db, "ALTER ROLE gateway BYPASSRLS");
  const gateway = spawn(process.execPath, [join(PROJECT, "compose/services/gateway/src/main.ts")], {
    env: {
      ...{ RELEASE: "1.2.3", LISTEN_HOST: "127.0.0.1", LISTEN_PORT: "0", ADMIN_PORT: "0" },
      ...{ DATABASE_HOST: "127.0.0.1", DATABASE_PORT: String(db.port), DATABASE_NAME: "gateway" },
      ...{ DATABASE_USER: "gateway", DATABASE_PASSWORD_FILE: join(work, "service-password") },
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = Buffer.concat(await gateway.stdout.toArray()).toString();
  await asSuperuser(db, "ALTER ROLE gateway NOBYPASSRLS");
  assert.equal(gateway.exitCode ?? (await once(gateway, "exit"))[0], 78, output);
  assert.match(output, /the database role has BYPASSRLS/);
});

test("the running release does not notice a migration, and works on the newer schema", { skip }, async (t) => {
  const db = await empty(t);
  assert.equal((await task("migrate.ts", db.port, { MIGRATE_TO: "1" })).status, 0);
  const database = await openService(t, db, 1);
  const { key, login, id } = await makeTenant(db, database);
  const proof = proveApiKey(key, PEPPER) ?? assert.fail();
  let stopped = false;
  let done = 0;
  let slowest = 0;
  const worker = async (): Promise<void> => {
    while (!stopped) {
      const started = performance.now();
      assert.equal((await database.login(proof))?.tenantId, id);
      const rows = await database.asTenant(login, (query) => query("SELECT * FROM app.role_model"));
      assert.equal(rows.length, 1);
      slowest = Math.max(slowest, performance.now() - started);
      done += 1;
    }
  };
  const workers = [1, 2, 3, 4].map(worker);
  await sleep(200);
  const before = done;
  const { result, log } = await task("migrate.ts", db.port);
  assert.deepEqual(result, { kind: "migrate", from: 1, to: NEWEST }, log);
  const during = done;
  await sleep(200);
  stopped = true;
  await Promise.all(workers);
  assert.ok(during > before && done > during);
  assert.equal(await database.answers(), true, "the release before is ready on the newer schema");
  t.diagnostic(`${done} rounds of login and read, the slowest ${Math.round(slowest)} ms`);
});

test("not ready on a schema that is too old, and ready once it is not", { skip }, async (t) => {
  const db = await empty(t);
  const database = await openService(t, db);
  assert.equal(await database.answers(), false, "no schema at all");
  await task("migrate.ts", db.port, { MIGRATE_TO: "1" });
  await sleep(1_100);
  assert.equal(await database.answers(), false);
  assert.match(LINES.at(-1) ?? "", /database-schema-too-old/);
  await task("migrate.ts", db.port);
  await sleep(1_100);
  assert.equal(await database.answers(), true);
});

test("a login tells who holds a key, and nothing where the key does not count", { skip }, async (t) => {
  const { db, database } = await migrated(t);
  const { name, id, keyId, key, login } = await makeTenant(db, database);
  const { token, expiresAt, principalId, ...rest } = login;
  assert.deepEqual(rest, {
    ...{ tenantId: id, tenantName: name, principalName: "one", role: "user" },
    ...{ models: [`model-of-${name}`], keyId, capabilities: ["chat", "models"] },
  });
  assert.match(principalId, /^[0-9a-f-]{36}$/);
  const minutes = (expiresAt.getTime() - Date.now()) / 60_000;
  assert.ok(minutes > 14 && minutes <= 15.1, `${minutes} min`);
  assert.equal(token.split(".").length, 5);
  const proof = proveApiKey(key, PEPPER) ?? assert.fail();
  const loginAs = (changed: Partial<ApiKeyProof>) => database.login({ ...proof, ...changed });
  assert.equal(await loginAs({ presented: Buffer.alloc(32) }), undefined);
  assert.equal(await loginAs({ presented: Buffer.alloc(0) }), undefined);
  assert.equal(await loginAs({ prefix: "aaaaaaaaaaaa" }), undefined);
  assert.equal(await loginAs({ prefix: "' OR true --" }), undefined);
  const { hash } =
    (await db.ask("gateway_owner", PASSWORDS.gateway_owner, `SELECT hash FROM app.api_key WHERE id = '${keyId}'`))[0] ??
    {};
  assert.equal(await loginAs({ presented: hash as Buffer }), undefined, "what the table keeps cannot be presented");
  const otherPepper = proveApiKey(key, "b".repeat(64)) ?? assert.fail();
  assert.equal(await database.login(otherPepper), undefined);
  const owner = (sql: string) => db.ask("gateway_owner", PASSWORDS.gateway_owner, sql);
  const faults = [
    ["UPDATE app.api_key SET revoked_at = now()", "UPDATE app.api_key SET revoked_at = NULL"],
    ["UPDATE app.api_key SET expires_at = now()", "UPDATE app.api_key SET expires_at = now() + interval '5 minutes'"],
    ["UPDATE app.principal SET active = false", "UPDATE app.principal SET active = true"],
    ["UPDATE app.tenant SET active = false", "UPDATE app.tenant SET active = true"],
  ] as const;
  for (const [breaks, heals] of faults) {
    await owner(breaks);
    assert.equal(await database.login(proof), undefined, breaks);
    await owner(heals);
    assert.ok(await database.login(proof), heals);
  }
  const short = await database.login(proof);
  assert.ok((short?.expiresAt.getTime() ?? 0) <= Date.now() + 300_000, "a token does not outlive its key");
  assert.ok(!LINES.join("").includes(key));
});

/** Every table that the service role can read, with columns that it can read. */
const READS = [
  "SELECT id, name, active FROM app.tenant",
  "SELECT * FROM app.role",
  "SELECT * FROM app.role_model",
  "SELECT * FROM app.principal",
  "SELECT id, tenant_id, prefix FROM app.api_key",
  "SELECT * FROM app.usage",
] as const;

test("without a good token there are no rows, and no error that would tell why", { skip }, async (t) => {
  const { db, database } = await migrated(t);
  const one = await makeTenant(db, database);
  const two = await makeTenant(db, database);
  for (const { login, keyId } of [one, two]) {
    await database.asTenant(login, (query) =>
      query("INSERT INTO app.usage VALUES ($1, current_date, $2, 'm', 1, 1, 1)", [login.tenantId, keyId]),
    );
  }
  const [version, tenant, expires, keyId, mac] = one.login.token.split(".") as [string, string, string, string, string];
  const rebuilt = (changed: Record<number, string>): string =>
    [version, tenant, expires, keyId, mac].map((part, index) => changed[index] ?? part).join(".");
  const [{ old = "" } = {}] = (await db.ask(
    "gateway_owner",
    PASSWORDS.gateway_owner,
    "SELECT app.make_token($1, now() - interval '1 second') AS old",
    [one.id],
  )) as { old?: string }[];
  assert.equal(rebuilt({}), one.login.token);
  const flipped = (mac.startsWith("0") ? "1" : "0") + mac.slice(1);
  const tokens: Readonly<Record<string, string>> = {
    none: "",
    garbage: "abc",
    "another tenant's name": rebuilt({ 1: two.id }),
    "a later end": rebuilt({ 2: String(Number(expires) + 1) }),
    "an end that is no number of seconds": rebuilt({ 2: "9".repeat(40) }),
    "an unknown key": rebuilt({ 3: one.id }),
    "no code": rebuilt({ 4: "" }),
    "a wrong code": rebuilt({ 4: flipped }),
    "capital letters": one.login.token.toUpperCase(),
    "another version": rebuilt({ 0: "v2" }),
    "a line more": `${one.login.token}\n`,
    "something before it": ` ${one.login.token}`,
    expired: old,
    SQL: "v1.'; DROP TABLE app.usage; --",
    "a megabyte": "v1.".padEnd(1_000_000, "a"),
    "other characters": "v1.\u{1F512}.\u0001",
  };
  const client = await db.connect("gateway", PASSWORDS.gateway);
  t.after(() => client.end());
  for (const sql of READS) assert.deepEqual((await client.query(sql)).rows, [], `never set: ${sql}`);
  for (const [what, token] of Object.entries(tokens)) {
    await client.query("SELECT set_config('app.token', $1, false)", [token]);
    for (const sql of READS) assert.deepEqual((await client.query(sql)).rows, [], `${what}: ${sql}`);
    const { rowCount } = await client.query("UPDATE app.usage SET requests = 99");
    assert.equal(rowCount, 0, what);
    const insert = client.query("INSERT INTO app.usage VALUES ($1, current_date, $2, 'x', 1, 1, 1)", [
      one.id,
      one.keyId,
    ]);
    await assert.rejects(insert, { code: "42501" }, what);
    await assert.rejects(
      database.asTenant({ ...one.login, token }, async () => "never"),
      { code: "LOGIN_EXPIRED" },
      what,
    );
  }
  await client.query("SELECT set_config('app.token', $1, false)", [one.login.token]);
  for (const sql of READS) assert.equal((await client.query(sql)).rows.length, 1, `the good one: ${sql}`);
});

test("the service role cannot read keys and hashes, make a token, or turn anything off", { skip }, async (t) => {
  const { db, database } = await migrated(t);
  const { login, id } = await makeTenant(db, database);
  const client = await db.connect("gateway", PASSWORDS.gateway);
  t.after(() => client.end());
  await client.query("SELECT set_config('app.token', $1, false)", [login.token]);
  const refused = [
    "SELECT * FROM app.token_key",
    "SELECT hash FROM app.api_key",
    "SELECT * FROM app.api_key",
    `SELECT app.make_token('${id}', now() + interval '1 day')`,
    `SELECT app.token_mac('${id}', 1, '${id}', 'x')`,
    "DO $$ BEGIN PERFORM secret FROM app.token_key; END $$",
    "SET ROLE gateway_owner",
    "ALTER TABLE app.usage DISABLE ROW LEVEL SECURITY",
    "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TEMPORARY TABLE t ()",
    "DELETE FROM app.usage",
    "UPDATE app.api_key SET capabilities = '{admin}'",
    "INSERT INTO app.role_model VALUES (app.tenant_id(), 'user', 'all')",
    "INSERT INTO app.schema_migration VALUES (9, 'x', 'x')",
    "SELECT pg_read_file('/run/secrets/postgres-gateway')",
    "COPY app.tenant TO PROGRAM 'true'",
  ];
  for (const sql of refused) await assert.rejects(client.query(sql), { code: "42501" }, sql);
  await client.query("SET row_security = off");
  await assert.rejects(client.query("SELECT * FROM app.usage"), { code: "42501" });
});

test("every table but two has forced row-level security and a policy for the service", { skip }, async (t) => {
  const { db } = await migrated(t);
  const open = await asSuperuser(
    db,
    `SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class c WHERE relnamespace = 'app'::regnamespace
      AND relkind = 'r' AND NOT (relrowsecurity AND relforcerowsecurity AND EXISTS (
        SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND 'gateway'::regrole = ANY (p.polroles)
          AND pg_get_expr(p.polqual, p.polrelid) LIKE '%app.tenant_id()%'))`,
  );
  assert.equal(open, "schema_migration,token_key");
  const everywhere = await asSuperuser(
    db,
    "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') AND relowner <> 'postgres'::regrole AND relnamespace <> 'app'::regnamespace",
  );
  assert.equal(everywhere, "0", "nothing outside the schema app");
  const callable = await asSuperuser(
    db,
    `SELECT string_agg(proname, ',' ORDER BY proname) FROM pg_proc WHERE pronamespace = 'app'::regnamespace
      AND proowner <> 'postgres'::regrole AND has_function_privilege('gateway', oid, 'EXECUTE')`,
  );
  assert.equal(callable, "login,tenant_id");
});

/** mulberry32: small, seeded, good enough to choose what to do next. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

test("two tenants at once, at random: each sees exactly its own", { skip }, async (t) => {
  const { db, database } = await migrated(t);
  const tenants = [await makeTenant(db, database), await makeTenant(db, database)];
  const seed = Number(process.env["SEALIFT_SEED"] ?? Date.now() % 1e9);
  t.diagnostic(`SEALIFT_SEED=${seed}`);
  const counts: Record<string, number> = {};
  const work = tenants.map(async ({ login, keyId, id }, who) => {
    const other = tenants[1 - who] ?? assert.fail();
    const next = random(seed + who);
    /** `day model` → requests: what this tenant's table must hold. */
    const own = new Map<string, number>();
    const operations: Readonly<Record<string, () => Promise<void>>> = {
      insert: async () => {
        const [day, model] = [`2026-01-0${1 + next(9)}`, `m${next(5)}`];
        // The same day and model as the other tenant's, on purpose: the key must not collide.
        const sql = `INSERT INTO app.usage VALUES ($1, $2, $3, $4, 1, 0, 0)
          ON CONFLICT (tenant_id, day, key_id, model) DO UPDATE SET requests = app.usage.requests + 1`;
        await database.asTenant(login, (query) => query(sql, [id, day, keyId, model]));
        own.set(`${day} ${model}`, (own.get(`${day} ${model}`) ?? 0) + 1);
      },
      updateAll: async () => {
        await database.asTenant(login, (query) => query("UPDATE app.usage SET requests = requests + 1"));
        for (const [line, requests] of own) own.set(line, requests + 1);
      },
      updateOthers: async () => {
        const sql = "UPDATE app.usage SET requests = 0 WHERE tenant_id = $1 RETURNING 1";
        assert.deepEqual(await database.asTenant(login, (query) => query(sql, [other.id])), []);
      },
      insertForOther: async () => {
        const sql = "INSERT INTO app.usage VALUES ($1, '2026-02-01', $2, 'm', 1, 0, 0)";
        const forOther = database.asTenant(login, (query) => query(sql, [other.id, other.keyId]));
        await assert.rejects(forOther, { code: "42501" });
      },
      moveToOther: async () => {
        if (own.size === 0) return;
        const move = database.asTenant(login, (query) => query("UPDATE app.usage SET tenant_id = $1", [other.id]));
        await assert.rejects(move, { code: "42501" });
      },
      // Whether a key exists elsewhere must not show: the other's and nobody's give the same answer.
      otherKey: async () => {
        const sql = "INSERT INTO app.usage VALUES ($1, '2026-02-01', $2, 'm', 1, 0, 0)";
        const texts: string[] = [];
        for (const key of [other.keyId, crypto.randomUUID()]) {
          await assert.rejects(
            database.asTenant(login, (query) => query(sql, [id, key])),
            (error: DatabaseError) => {
              texts.push(`${error.code} ${error.message} ${error.detail}`.replaceAll(key, "KEY"));
              return error.code === "23503";
            },
          );
        }
        assert.equal(texts[0], texts[1]);
      },
      rolledBack: async () => {
        const failed = database.asTenant(login, async (query) => {
          await query("UPDATE app.usage SET requests = 0");
          throw new Error("on purpose");
        });
        await assert.rejects(failed, /on purpose/);
      },
      readAll: async () => {
        const rows = await database.asTenant(login, (query) =>
          query<{ tenant_id: string; day: string; model: string; requests: string }>(
            "SELECT tenant_id, day::text, model, requests FROM app.usage",
          ),
        );
        assert.deepEqual(new Map(rows.map((row) => [`${row.day} ${row.model}`, Number(row.requests)])), own);
        assert.ok(rows.every((row) => row.tenant_id === id));
      },
      readNames: async () => {
        const rows = await database.asTenant(login, async (query) => [
          ...(await query<{ id: string }>("SELECT id FROM app.tenant")),
          ...(await query<{ id: string }>("SELECT tenant_id AS id FROM app.api_key")),
          ...(await query<{ id: string }>("SELECT tenant_id AS id FROM app.role_model")),
        ]);
        assert.deepEqual(
          rows.map((row) => row.id),
          [id, id, id],
        );
      },
    };
    const names = Object.keys(operations);
    for (let step = 0; step < 300; step += 1) {
      const name = names[next(names.length)] ?? "";
      counts[name] = (counts[name] ?? 0) + 1;
      await operations[name]?.();
    }
    await operations["readAll"]?.();
  });
  await Promise.all(work);
  t.diagnostic(JSON.stringify(counts));
});

test("usage is summed by key, model and day, and read by its tenant alone", { skip }, async (t) => {
  const { db, database } = await migrated(t);
  const [one, two] = [await makeTenant(db, database), await makeTenant(db, database)];
  const recorder = recordUsage(database, { log: testLog, flushMs: 20 });
  for (let count = 0; count < 50; count += 1) {
    recorder.add(one.login, "model-a", { inputTokens: 10, outputTokens: 3 });
    if (count % 2 === 0) recorder.add(two.login, "model-a", { inputTokens: 1, outputTokens: 1 });
    if (count % 10 === 0) await sleep(15);
  }
  recorder.add(one.login, "model-b", { inputTokens: 0, outputTokens: 7 });
  await recorder.stop();
  const day = new Date().toISOString().slice(0, 10);
  assert.deepEqual(await readUsage(database, one.login, 1), [
    { day, keyId: one.keyId, model: "model-a", requests: 50, inputTokens: 500, outputTokens: 150 },
    { day, keyId: one.keyId, model: "model-b", requests: 1, inputTokens: 0, outputTokens: 7 },
  ]);
  assert.deepEqual(await readUsage(database, two.login, 30), [
    { day, keyId: two.keyId, model: "model-a", requests: 25, inputTokens: 25, outputTokens: 25 },
  ]);
});

test("a database that stands still, or is cut off, ends nothing: what waits fails in time, and all goes on", {
  skip,
}, async (t) => {
  const { db, database: direct } = await migrated(t);
  const { key } = await makeTenant(db, direct);
  const proof = proveApiKey(key, PEPPER) ?? assert.fail();
  const line = await StandingLine.to(db.port);
  t.after(() => line.close());
  const database = await openService(t, { ...db, port: line.port });
  const login = (await database.login(proof)) ?? assert.fail();
  const recorder = recordUsage(database, { log: testLog, flushMs: 20 });
  let asked = 0;
  let isOver = false;
  const asking = Array.from({ length: 8 }, async () => {
    while (!isOver) {
      recorder.add(login, "model-a", { inputTokens: 1, outputTokens: 1 });
      asked += 1;
      await database.login(proof).catch(() => {});
      await sleep(5);
    }
  });
  for (const milliseconds of [2_500, 6_000]) {
    await sleep(300);
    line.stand();
    await sleep(milliseconds);
    line.goOn();
  }
  // Also a connection in the middle of a transaction, which no query listens to at that moment.
  const held = database.asTenant(login, () => sleep(1_000));
  await sleep(300);
  line.cut();
  await assert.rejects(held);
  isOver = true;
  await Promise.all(asking);
  assert.ok(await database.login(proof));
  await recorder.stop();
  const [used] = await readUsage(database, login, 1);
  assert.ok((used?.requests ?? 0) >= asked, "no usage is lost; what was only not answered may count twice");
});

/** A way to the database on which at times nothing moves, as when its disk stands still. */
class StandingLine {
  readonly #server = createServer((client) => this.#join(client));
  readonly #sockets = new Set<Socket>();
  readonly #to: number;
  #stands = false;

  static async to(port: number): Promise<StandingLine> {
    const line = new StandingLine(port);
    await new Promise<void>((resolve) => line.#server.listen(0, "127.0.0.1", resolve));
    return line;
  }

  private constructor(to: number) {
    this.#to = to;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  stand(): void {
    this.#stands = true;
    for (const socket of this.#sockets) socket.pause();
  }

  goOn(): void {
    this.#stands = false;
    for (const socket of this.#sockets) socket.resume();
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(client: Socket): void {
    const server = connect(this.#to, "127.0.0.1");
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.on("data", (bytes) => to.write(bytes));
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      if (this.#stands) from.pause();
    }
  }
}

test("token keys are renewed and forgotten by themselves, and a crash makes logins end, not leak", {
  skip,
}, async (t) => {
  const db = await prepareDatabase(t, postgres, work);
  const first = db.start();
  await eventually("postgres", first, () => db.ask("gateway", PASSWORDS.gateway, "SELECT 1"));
  assert.equal((await task("migrate.ts", db.port)).status, 0);
  const database = await openService(t, db);
  const { login, key } = await makeTenant(db, database);
  const proof = proveApiKey(key, PEPPER) ?? assert.fail();
  const keys = () => asSuperuser(db, "SELECT count(*) FROM app.token_key");
  await database.login(proof);
  assert.equal(await keys(), "1");
  await asSuperuser(db, "UPDATE app.token_key SET created_at = created_at - interval '25 hours'");
  assert.ok(await database.login(proof));
  assert.equal(await keys(), "2", "a day later there is a new one");
  assert.equal(await database.asTenant(login, async () => "works"), "works", "the old one's tokens count on");
  await asSuperuser(db, "UPDATE app.token_key SET created_at = created_at - interval '25 hours'");
  assert.ok(await database.login(proof));
  assert.equal(await keys(), "2", "after two days the oldest is gone");
  await assert.rejects(
    database.asTenant(login, async () => "works"),
    { code: "LOGIN_EXPIRED" },
  );
  const before = (await database.login(proof)) ?? assert.fail();
  await first.stop("SIGKILL");
  const second = db.start();
  await eventually("postgres", second, () => db.ask("gateway", PASSWORDS.gateway, "SELECT 1"));
  await eventually("the pool", second, async () => assert.ok(await database.answers()));
  await assert.rejects(
    database.asTenant(before, async () => "works"),
    { code: "LOGIN_EXPIRED" },
  );
  const again = (await database.login(proof)) ?? assert.fail();
  assert.equal(await database.asTenant(again, async () => "works"), "works");
});

test("a dump holds no token key, and restored elsewhere it works, tenants apart", { skip }, async (t) => {
  const { db, database } = await migrated(t);
  const { key, keyId, login } = await makeTenant(db, database);
  await makeTenant(db, database);
  await database.asTenant(login, (query) =>
    query("INSERT INTO app.usage VALUES ($1, current_date, $2, 'm', 7, 0, 0)", [login.tenantId, keyId]),
  );
  const secret = await asSuperuser(db, "SELECT encode(secret, 'hex') FROM app.token_key");
  const postgresTool = async (on: DatabaseProcess, tool: string, ...args: readonly string[]): Promise<void> => {
    const command = [`/usr/lib/postgresql/17/bin/${tool}`, "--host=/run/postgresql", ...args];
    const { status, output } = await on.run(command);
    assert.equal(status, 0, output);
  };
  // As installer/lifecycle/backup.ts does it.
  const dump = ["--format=custom", "--no-unlogged-table-data", "--file=/run/postgresql/dump", "gateway"];
  await postgresTool(db, "pg_dump", ...dump);
  await postgresTool(db, "pg_restore", "--file=/run/postgresql/dump.sql", "/run/postgresql/dump");
  const text = await readFile(join(db.sockets, "dump.sql"), "utf8");
  assert.ok(text.includes(login.tenantId));
  assert.ok(!text.includes(secret), "no token key in the dump");
  const other = await empty(t);
  await copyFile(join(db.sockets, "dump"), join(other.sockets, "dump"));
  await chmod(join(other.sockets, "dump"), 0o644);
  const restore = ["--dbname=gateway", "--clean", "--if-exists", "--exit-on-error", "/run/postgresql/dump"];
  await postgresTool(other, "pg_restore", ...restore);
  const { result } = await task("migrate.ts", other.port);
  assert.deepEqual(result, { kind: "migrate", from: NEWEST, to: NEWEST });
  const there = await openService(t, other);
  await there.guard();
  const again = (await there.login(proveApiKey(key, PEPPER) ?? assert.fail())) ?? assert.fail();
  const usage = await readUsage(there, again, 2);
  assert.deepEqual(
    usage.map(({ requests }) => requests),
    [7],
  );
  await assert.rejects(
    there.asTenant(login, async () => "works"),
    { code: "LOGIN_EXPIRED" },
    "another site's token",
  );
});

test("credentials makes a key that works, another while it was not used, and none afterwards", { skip }, async (t) => {
  const { db, database } = await migrated(t);
  const pepperFile = join(work, "pepper");
  await writeFile(pepperFile, PEPPER);
  const env = { API_KEY_PEPPER_FILE: pepperFile, MODELS: "sealift-test-model,other:7b" };
  const run = async (changes: Record<string, string> = {}) => task("credentials.ts", db.port, { ...env, ...changes });
  const [first, second] = await Promise.all([run(), run()]);
  for (const { status, log, result } of [first, second]) {
    assert.equal(status, 0, log);
    assert.deepEqual([result?.["kind"], result?.["tenant"]], ["api-key", "default"]);
    assert.ok(!log.includes(String(result?.["key"])));
  }
  const login = (made: TaskRun) => database.login(proveApiKey(String(made.result?.["key"]), PEPPER) ?? assert.fail());
  const logins = [await login(first), await login(second)].filter((made) => made !== undefined);
  assert.equal(logins.length, 1, "the later one took the place of the earlier one");
  assert.deepEqual(logins[0]?.models, ["other:7b", "sealift-test-model"]);
  assert.deepEqual(logins[0]?.capabilities, [...CAPABILITIES]);
  const third = await run();
  assert.deepEqual([third.status, third.result?.["kind"]], [0, "api-key-in-use"], third.log);
  assert.ok(logins[0] && (await login(first)) !== (await login(second)), "the key in use still works");
  await db.ask("gateway_owner", PASSWORDS.gateway_owner, "UPDATE app.api_key SET expires_at = now()");
  assert.equal((await run()).result?.["kind"], "api-key", "no key works any more: a new one");
  const wrong = await run({ MODELS: "" });
  assert.equal(wrong.status, 78);
  const nonsense = await run({ MODELS: "a b" });
  assert.deepEqual([nonsense.status, nonsense.result], [1, undefined], nonsense.log);
});

test("an operator's orders make, change and list tenants and keys; the same order twice does it once", {
  skip,
}, async (t) => {
  const { db, database } = await migrated(t);
  const pepperFile = join(work, "pepper");
  await writeFile(pepperFile, PEPPER);
  const env = { API_KEY_PEPPER_FILE: pepperFile, MODELS: "small,large" };
  const order = async (given: Record<string, unknown>): Promise<Record<string, unknown>> => {
    const { status, log, result } = await task("tenants.ts", db.port, env, [JSON.stringify(given)]);
    assert.equal(status, 0, log);
    return result ?? {};
  };
  const refused = async (reason: string, given: Record<string, unknown>): Promise<void> =>
    assert.deepEqual(await order(given), { kind: "refused", reason });
  const login = (key: unknown): Promise<Login | undefined> =>
    database.login(proveApiKey(String(key), PEPPER) ?? assert.fail());
  const key = {
    do: "key-add",
    tenant: "acme",
    holder: "robot",
    prefix: "abcdefghij23",
    capabilities: ["chat"],
    days: 7,
  };

  await refused("tenant-unknown", key);
  await refused("model-unknown", { do: "tenant-add", tenant: "acme", models: ["huge"] });
  await refused("tenant-unknown", { do: "tenant-active", tenant: "acme", active: false });
  await refused("key-unknown", { do: "key-revoke", prefix: "abcdefghij23" });
  assert.equal((await order({ do: "tenant-add", tenant: "acme", models: ["small"] }))["kind"], "tenant");
  await refused("tenant-exists", { do: "tenant-add", tenant: "acme", models: ["small"] });

  const unseen = await order(key);
  const made = await order(key);
  assert.equal(await login(unseen["key"]), undefined, "nobody saw it: another took its place");
  const held = await login(made["key"]);
  assert.deepEqual([held?.tenantName, held?.models, held?.capabilities], ["acme", ["small"], ["chat"]]);
  await refused("key-in-use", key);
  assert.ok(await login(made["key"]), "a key in use stays as it is");

  await order({ do: "tenant-models", tenant: "acme", models: ["large"] });
  assert.deepEqual((await login(made["key"]))?.models, ["large"]);
  await order({ do: "tenant-active", tenant: "acme", active: false });
  assert.equal(await login(made["key"]), undefined);
  await order({ do: "tenant-active", tenant: "acme", active: true });
  assert.ok(await login(made["key"]));
  const revoked = await order({ do: "key-revoke", prefix: "abcdefghij23" });
  assert.equal(await login(made["key"]), undefined);
  assert.deepEqual(await order({ do: "key-revoke", prefix: "abcdefghij23" }), revoked);
  await refused("key-in-use", key);

  await order({ do: "tenant-add", tenant: "other", models: [] });
  const list = await order({ do: "list", tenant: null });
  // Other tests of this file make tenants of their own in the same database.
  const names = (list["tenants"] as { name: string }[]).map(({ name }) => name);
  assert.deepEqual(
    names.filter((name) => ["acme", "other"].includes(name)),
    ["acme", "other"],
  );
  assert.deepEqual(names, [...names].sort());
  const [listed, ...more] = (await order({ do: "list", tenant: "acme" }))["keys"] as Record<string, unknown>[];
  assert.deepEqual([listed?.["prefix"], listed?.["holder"], more.length], ["abcdefghij23", "robot", 0]);
  assert.deepEqual([listed?.["id"], listed?.["holderId"]], [held?.keyId, held?.principalId]);
  assert.ok(!JSON.stringify(list).includes(String(made["key"]).slice(-43)));
  assert.deepEqual((await order({ do: "list", tenant: "other" }))["keys"], []);
  const none = await task("tenants.ts", db.port, env, ["{}"]);
  assert.deepEqual([none.status, none.result], [78, undefined], none.log);
});

test("with an identity, postgres takes TLS with a certificate of the site and a password, and nothing less", {
  skip,
}, async (t) => {
  const root = openIdentityRoot(hostDisk, join(work, "site-root.pem"));
  const foreignRoot = openIdentityRoot(hostDisk, join(work, "foreign-root.pem"));
  const identity = async (service: string, of: IdentityRoot, fixed = false): Promise<string> => {
    const [file] = makeIdentity({ service, directory: "x", uid: 1, fixed }, of);
    const path = join(work, `${service}-${of === root ? "site" : "foreign"}.pem`);
    await writeFile(path, file?.bytes ?? "", { mode: 0o400 });
    return path;
  };
  const image = await unpackImage(postgres.image, "postgres-tls", work);
  const pem = await readFile(await identity("postgres", root, true), "utf8");
  await putSecret(image.rootfs, "identity.pem", POSTGRES_UID, pem);
  const db = await prepareDatabase(t, image, work);
  const started = db.start();
  const passwordFile = join(work, "service-password");
  await writeFile(passwordFile, PASSWORDS.gateway);
  const connect = async (identityFile?: string, change: Partial<DatabaseSettings> = {}): Promise<void> => {
    const place = { host: "127.0.0.1", port: db.port, name: "gateway", user: "gateway", passwordFile };
    const client = await connectForTask(
      { ...place, ...(identityFile !== undefined && { identityFile }), ...change },
      0,
    );
    const { rows } = await client.query("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    await client.end();
    assert.deepEqual(rows, [{ version: "TLSv1.3" }]);
  };
  const good = await identity("gateway", root);
  await eventually("postgres", started, () => connect(good));
  await assert.rejects(connect(), { code: "28000" }, "without TLS");
  await assert.rejects(connect(await identity("gateway", foreignRoot)), "another site's");
  const wrong = join(work, "wrong-password");
  await writeFile(wrong, "wrong");
  await assert.rejects(connect(good, { passwordFile: wrong }), { code: "28P01" }, "a certificate alone");
  const bare = new pg.Client({
    ...{ host: "127.0.0.1", port: db.port, database: "gateway", user: "gateway", password: PASSWORDS.gateway },
    ssl: { rejectUnauthorized: false },
  });
  bare.on("error", () => {});
  await assert.rejects(bare.connect(), { code: "28000" }, "TLS without a certificate");
  const migration = await task("migrate.ts", db.port, { DATABASE_IDENTITY_FILE: good });
  assert.deepEqual(migration.result, { kind: "migrate", from: 0, to: NEWEST }, migration.log);
  const stranger = await unpackImage(postgres.image, "postgres-stranger", work);
  const audit = await readFile(await identity("audit", root, true), "utf8");
  await putSecret(stranger.rootfs, "identity.pem", POSTGRES_UID, audit);
  const other = await prepareDatabase(t, stranger, work);
  const answering = other.start();
  const refusal = async (): Promise<void> =>
    assert.rejects(connect(good, { port: other.port }), { code: "PEER_NOT_ALLOWED" }, "another service as the server");
  await eventually("the stranger", answering, refusal);
  const { db: plain } = await migrated(t);
  await assert.rejects(connect(good, { port: plain.port }), /does not support SSL/, "no way back to plain");
});
