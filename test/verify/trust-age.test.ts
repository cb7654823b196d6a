import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { checkTrustAge } from "../../verify/checks/trust-age.ts";
import { DEFAULT_POLICY } from "../../verify/policy.ts";
import { loadTrust, MADE_MEMBER } from "../../verify/trust/trust.ts";
import { judge, wrongCodes } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import { SMALL_NOW, signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { coded, NOW, resign, testTrust } from "../support/test-trust.ts";

const DAY_MS = 86_400_000;
const later = (days: number): string => new Date(Date.parse(SMALL_NOW) + days * DAY_MS).toISOString();

test("a policy bounds the age of the release trust, by the time that its root keys signed", async (t) => {
  const bundle = signedBundle();
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, bundle);
  const codes = async (maxTrustAgeDays: number | undefined, days: number): Promise<string[]> => {
    const policy = maxTrustAgeDays === undefined ? {} : { maxTrustAgeDays };
    return wrongCodes(await judge(path, { ...bundle, policy, at: later(days) }));
  };
  assert.deepEqual(await codes(30, 29), []);
  assert.deepEqual(await codes(30, 31), ["TRUST_STALE"]);
  assert.deepEqual(await codes(undefined, 31), []);
});

test("a trust that does not say when it was made is too old for such a policy, and its time has one spelling", () => {
  const silent = testTrust();
  resign(silent, "timestamp.json", (signed) => {
    delete (signed as unknown as Record<string, unknown>)[MADE_MEMBER];
  });
  const trust = loadTrust(silent.files, NOW);
  assert.equal(trust.made, undefined);
  const time = { at: later(1), source: "host-clock" } as const;
  assert.deepEqual(checkTrustAge(trust, DEFAULT_POLICY, time), []);
  const [finding] = checkTrustAge(trust, { ...DEFAULT_POLICY, maxTrustAgeDays: 30 }, time);
  assert.equal(finding?.code, "TRUST_STALE");
  for (const made of ["2030", 5, "2026-06-01 00:00:00"]) {
    const odd = testTrust();
    resign(odd, "timestamp.json", (signed) => {
      (signed as unknown as Record<string, unknown>)[MADE_MEMBER] = made;
    });
    assert.throws(() => loadTrust(odd.files, NOW), coded("TRUST_MALFORMED"));
  }
});

test("a clock before the time that the root keys signed is wrong; a reviewer may ask about such a time", () => {
  const trust = loadTrust(testTrust().files, NOW);
  const codes = (days: number, source: "host-clock" | "option"): string[] =>
    checkTrustAge(trust, DEFAULT_POLICY, { at: later(days), source }).map(({ code }) => code);
  assert.deepEqual(codes(-2, "host-clock"), ["TRUST_AHEAD_OF_CLOCK"]);
  assert.deepEqual(codes(-0.9, "host-clock"), []);
  assert.deepEqual(codes(-2, "option"), []);
});
