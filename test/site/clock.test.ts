import assert from "node:assert/strict";
import test from "node:test";
import { hostClock, judgeClock, requireClock } from "../../installer/site/clock.ts";
import { coded } from "../support/test-trust.ts";

const last = { time: "2026-11-21T08:00:00.000Z", bootId: "a", uptimeMs: 1_000_000 };
const judge = (now: string, bootId: string, uptimeMs: number) =>
  judgeClock({ now: new Date(now), bootId, uptimeMs }, last)?.code;
const HOUR_MS = 3_600_000;

test("time that passes, drift, a reboot and a year's rest are no finding", () => {
  assert.equal(judge("2026-11-21T09:00:00.000Z", "a", last.uptimeMs + HOUR_MS), undefined);
  assert.equal(judge("2026-11-21T09:04:00.000Z", "a", last.uptimeMs + HOUR_MS), undefined);
  assert.equal(judge("2026-11-21T07:56:00.000Z", "a", last.uptimeMs), undefined);
  assert.equal(judge("2027-11-20T09:00:00.000Z", "b", 5000), undefined);
});

test("a clock before the ledger's end, one set forwards or back in one boot, and a leap of years are findings", () => {
  assert.equal(judge("2026-11-21T07:00:00.000Z", "b", 5000), "CLOCK_BACKWARDS");
  assert.equal(judge("2026-11-21T07:00:00.000Z", "a", last.uptimeMs + HOUR_MS), "CLOCK_BACKWARDS");
  assert.equal(judge("2026-11-21T09:00:00.000Z", "a", last.uptimeMs), "CLOCK_JUMPED");
  assert.equal(judge("2026-11-21T08:10:00.000Z", "a", last.uptimeMs + HOUR_MS), "CLOCK_JUMPED");
  assert.equal(judge("2028-01-01T00:00:00.000Z", "b", 5000), "CLOCK_JUMPED");
});

test("only the finding that is confirmed by name is let through", () => {
  const finding = { code: "CLOCK_JUMPED", message: "m" } as const;
  assert.doesNotThrow(() => requireClock(undefined, []));
  assert.doesNotThrow(() => requireClock(finding, ["CLOCK_JUMPED"]));
  assert.throws(() => requireClock(finding, ["CLOCK_BACKWARDS"]), coded("CLOCK_JUMPED"));
});

test("the host has a boot id and an uptime that grows", () => {
  const [first, second] = [hostClock(), hostClock()];
  assert.match(first.bootId, /^[0-9a-f-]{36}$/);
  assert.ok(first.uptimeMs > 0 && second.uptimeMs >= first.uptimeMs);
});
