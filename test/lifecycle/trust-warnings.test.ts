import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { trustWarnings } from "../../installer/lifecycle/trust-warnings.ts";
import { DEFAULT_POLICY } from "../../verify/policy.ts";
import { importPolicy, importTrust } from "../support/enrolled-site.ts";
import { scratch } from "../support/scratch.ts";
import { makeTestSite } from "../support/test-site.ts";
import { testTrust } from "../support/test-trust.ts";

const DAY_MS = 86_400_000;

test("status warns 60 days before the release trust expires, says when it has, and when somebody edited it", async (t) => {
  const { open, alice, clock, directory } = makeTestSite(await scratch(t));
  assert.deepEqual(trustWarnings(open()), []);
  await importTrust(open(), testTrust().files, alice);
  assert.deepEqual(trustWarnings(open()), []);
  // Made on 2026-06-01 for a year; the test's site begins on 2026-11-21.
  clock.pass(140 * DAY_MS);
  assert.match(trustWarnings(open())[0] ?? "", /after 2027-06-01, in 51 days, no new release is accepted/);
  clock.pass(60 * DAY_MS);
  assert.match(trustWarnings(open())[0] ?? "", /does not hold \(TRUST_EXPIRED\)/);
  const [name = ""] = readdirSync(join(directory, "trust"));
  writeFileSync(join(directory, "trust", name, "timestamp.json"), "{}");
  assert.match(trustWarnings(open())[0] ?? "", /does not hold \(TRUST_CHANGED\)/);
});

test("where the policy bounds the age of the trust, status warns before that", async (t) => {
  const { open, alice, clock } = makeTestSite(await scratch(t));
  await importTrust(open(), testTrust().files, alice);
  await importPolicy(open(), canonicalJson({ ...DEFAULT_POLICY, version: 1, maxTrustAgeDays: 200 }), alice);
  assert.match(trustWarnings(open())[0] ?? "", /after 2026-12-18, in 26 days,/);
  clock.pass(30 * DAY_MS);
  assert.match(trustWarnings(open())[0] ?? "", /since 2026-12-18 no new release is accepted/);
});
