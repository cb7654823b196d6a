import assert from "node:assert/strict";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { SecretRule } from "../../bundles/model/appliance-rules.ts";
import { requireSecretsHere } from "../../installer/lifecycle/secrets-here.ts";
import { statePaths } from "../../installer/site/state.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

const rules: readonly SecretRule[] = [
  { kind: "password", files: { "postgres/password": 999, "gateway/postgres-password": 1001 } },
];
const AWAY = coded("SITE_SECRETS_AWAY");

test("a site whose secrets lie on a volume that is closed is told from one of which a file is missing", async (t) => {
  const directory = await scratch(t);
  const here = (): void => requireSecretsHere({ paths: statePaths(directory) }, rules);
  const path = (...names: string[]): string => join(directory, "secrets", ...names);
  assert.throws(here, AWAY, "no directory");
  mkdirSync(path("postgres"), { recursive: true });
  assert.throws(here, AWAY, "a mount point");
  mkdirSync(path("lost+found"));
  assert.throws(here, AWAY, "another volume");
  writeFileSync(path("postgres/password"), "x");
  here();
  renameSync(path(), `${path()}.away`);
  assert.throws(here, AWAY);
  rmSync(`${path()}.away`, { recursive: true });
  requireSecretsHere({ paths: statePaths(directory) }, []);
});
