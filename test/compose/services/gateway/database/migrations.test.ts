import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { readMigrations } from "../../../../../compose/services/gateway/src/database/migration-files.ts";
import { scratch } from "../../../../support/scratch.ts";
import { expandOnlyProblems, splitStatements, tablesOf } from "./expand-only.ts";

test("the migrations only add, and keep tenants apart", async () => {
  const migrations = await readMigrations();
  assert.ok(migrations.length >= 2);
  const existing = new Set<string>();
  for (const { sql, name } of migrations) {
    assert.deepEqual(expandOnlyProblems(sql, existing), [], name);
    for (const table of tablesOf(sql)) existing.add(table);
  }
  assert.ok(existing.has("APP.USAGE") && existing.has("APP.API_KEY"));
});

const TABLE = "CREATE TABLE app.mine (id int);";
const refused: readonly (readonly [string, RegExp])[] = [
  ["DROP TABLE app.there", /not on the list/],
  ["TRUNCATE app.there", /not on the list/],
  ["DELETE FROM app.there", /not on the list/],
  ["UPDATE app.there SET a = 1", /not on the list/],
  ["ALTER TABLE app.there DROP COLUMN a", /not on the list/],
  ["ALTER TABLE app.there RENAME COLUMN a TO b", /not on the list/],
  ["ALTER TABLE app.there ALTER COLUMN a TYPE text", /not on the list/],
  ["ALTER TABLE app.there ALTER COLUMN a SET NOT NULL", /not on the list/],
  ["ALTER TABLE app.there ADD CONSTRAINT c CHECK (a > 0)", /not on the list/],
  ["ALTER TABLE app.there DISABLE ROW LEVEL SECURITY", /not on the list/],
  ["alter table app.there no force row level security", /not on the list/],
  ["ALTER TABLE app.unknown ADD COLUMN a int", /of no migration/],
  ["ALTER TABLE app.there ADD COLUMN a int NOT NULL", /without a DEFAULT/],
  ["ALTER TABLE app.there ADD COLUMN a int UNIQUE", /new rule/],
  ["ALTER TABLE app.there ADD COLUMN a uuid DEFAULT gen_random_uuid()", /no plain value/],
  ["ALTER TABLE app.there ADD COLUMN a int, DROP COLUMN b", /one column/],
  ["CREATE INDEX i ON app.there (a)", /stops all writes/],
  ["CREATE UNIQUE INDEX i ON app.there (a)", /stops all writes/],
  ["CREATE POLICY p ON app.there AS RESTRICTIVE TO gateway USING (false)", /hides rows/],
  ["CREATE TABLE IF NOT EXISTS app.mine (id int)", /want CREATE TABLE/],
  ["CREATE OR REPLACE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", /not on the list/],
  ["REVOKE SELECT ON app.there FROM gateway", /not on the list/],
  ["DO $$ BEGIN DROP TABLE app.there; END $$", /not on the list/],
  ["COMMIT", /not on the list/],
  ["SET row_security = off", /not on the list/],
  ["CREATE TABLE app.open (tenant_id uuid)", /lacks ALTER TABLE APP.OPEN ENABLE/],
  ["CREATE FUNCTION app.f() RETURNS int LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT 1'", /PUBLIC/],
  [
    "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$; REVOKE ALL ON FUNCTION app.f() FROM PUBLIC",
    /search_path/,
  ],
];

for (const [sql, reason] of refused) {
  test(`a migration may not: ${sql}`, () => {
    const problems = expandOnlyProblems(`${TABLE} ${sql};`, new Set(["APP.THERE"]));
    assert.ok(
      problems.some((problem) => reason.test(problem)),
      JSON.stringify(problems),
    );
  });
}

test("a migration may add columns, and do what it likes with its own new tables", () => {
  const sql = `
    ALTER TABLE app.there ADD COLUMN a int;
    ALTER TABLE app.there ADD COLUMN b text NOT NULL DEFAULT 'it''s; DROP TABLE x';
    ${TABLE}
    -- DROP TABLE app.there;
    /* DELETE FROM app.there; */
    CREATE UNIQUE INDEX i ON app.mine (id);
    ALTER TABLE app.mine ADD CONSTRAINT c CHECK (id > 0);
    GRANT SELECT ON app.mine TO gateway;
    CREATE POLICY more ON app.there TO gateway USING (true);`;
  assert.deepEqual(expandOnlyProblems(sql, new Set(["APP.THERE"])), []);
  assert.equal(splitStatements(sql).length, 7);
});

const WRONG_FILES: readonly (readonly [string, readonly string[]])[] = [
  ["a gap", ["0001-a.sql", "0003-b.sql"]],
  ["a number twice", ["0001-a.sql", "0001-b.sql"]],
  ["a first that is not 1", ["0000-a.sql"]],
  ["another name", ["0001-a.sql", "notes.txt"]],
  ["capitals", ["0001-A.sql"]],
];
for (const [what, files] of WRONG_FILES) {
  test(`a directory of migrations with ${what} is refused`, async (t) => {
    const directory = await scratch(t);
    for (const file of files) await writeFile(join(directory, file), "SELECT 1;");
    await assert.rejects(readMigrations(directory), /migration ".*": want 000\d-NAME\.sql/);
  });
}
