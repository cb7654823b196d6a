import assert from "node:assert/strict";
import { cp, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { makeEarlierRelease } from "../../../installer/demo/earlier-release.ts";
import { scratch } from "../../support/scratch.ts";

const MIGRATIONS = "services/gateway/src/database/migrations";
const COMPOSE = fileURLToPath(new URL("../../../compose/", import.meta.url));

test("the release before knows the first migration of this checkout's, and no other", async (t) => {
  const copy = await scratch(t);
  await mkdir(join(copy, MIGRATIONS), { recursive: true });
  await cp(join(COMPOSE, MIGRATIONS), join(copy, MIGRATIONS), { recursive: true });
  assert.ok((await readdir(join(copy, MIGRATIONS))).length > 1);
  await makeEarlierRelease(copy);
  assert.deepEqual(await readdir(join(copy, MIGRATIONS)), ["0001-tenants.sql"]);
});

test("without a second migration there is no release before", async (t) => {
  const copy = await scratch(t);
  await mkdir(join(copy, MIGRATIONS), { recursive: true });
  await assert.rejects(makeEarlierRelease(copy), /nothing comes after the first migration/);
});
