import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { parse } from "yaml";
import type { ComposeTemplate } from "../../bundles/model/compose-template.ts";
import type { LedgerEntry } from "../../installer/lifecycle/ledger.ts";
import { madeAt, ROTATION_DAYS, rotationWarnings } from "../../installer/lifecycle/rotation-age.ts";

const COMPOSE = readFileSync(new URL("../../compose/compose.yaml", import.meta.url), "utf8");
const RULES = (parse(COMPOSE, { merge: true }) as ComposeTemplate)["x-sealift"];
const START = Date.parse("2026-01-01T00:00:00.000Z");
const day = (days: number): Date => new Date(START + days * 24 * 60 * 60_000);

function operation(days: number, operation: string, more: Readonly<Record<string, unknown>> = {}): LedgerEntry {
  const data = { operation, result: "committed", ...more };
  const time = day(days).toISOString();
  return { schemaVersion: 1, seq: 1, prev: null, time, bootId: "boot", uptimeMs: 0, type: "operation", data };
}

test("after 90 days without a rotation the site asks for one, of each kind by itself", () => {
  const install = operation(0, "install");
  assert.deepEqual(rotationWarnings([], RULES, day(500)), []);
  assert.deepEqual(rotationWarnings([install], RULES, day(ROTATION_DAYS - 1)), []);
  assert.deepEqual(rotationWarnings([install], RULES, day(ROTATION_DAYS)), [
    "the site's passwords and keys are of 2026-01-01, 90 days old: sealift rotate secrets",
    "the certificates inside are of 2026-01-01, 90 days old: sealift rotate certificates",
  ]);
  const rotated = [install, operation(80, "rotate", { rotated: "secrets" }), operation(100, "upgrade")];
  assert.deepEqual(rotationWarnings(rotated, RULES, day(100)), [
    "the certificates inside are of 2026-01-01, 100 days old: sealift rotate certificates",
  ]);
  assert.equal(rotationWarnings(rotated, RULES, day(170)).length, 2);
});

test("a rotation that was taken back is none, and secrets that went with the data are gone", () => {
  const install = operation(0, "install");
  const restored = operation(80, "rotate", { rotated: "secrets", result: "restored" });
  assert.equal(madeAt([install, restored], "secrets"), day(0).toISOString());
  const kept = operation(10, "uninstall", { deployments: { data: { version: "1.0.0" } } });
  const again = operation(20, "install");
  assert.equal(madeAt([install, kept, again], "secrets"), day(0).toISOString());
  const purged = operation(10, "uninstall", { deployments: { data: null } });
  assert.equal(madeAt([install, purged], "secrets"), undefined);
  assert.equal(madeAt([install, purged, again], "secrets"), day(20).toISOString());
});

test("a release of which nothing can be rotated is asked for nothing", () => {
  assert.deepEqual(rotationWarnings([operation(0, "install")], { ...RULES, secrets: [] }, day(500)), []);
});
