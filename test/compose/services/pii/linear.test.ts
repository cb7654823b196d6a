/**
 * The work for a text, counted and not timed: calls of all functions of the service's own modules, which V8
 * counts exactly. What they call of V8's own looks at no more than 256 code units, or goes over the text once.
 * Times for up to 1 MiB are in test/bench/pii.ts.
 */
import assert from "node:assert/strict";
import { Session } from "node:inspector/promises";
import test from "node:test";
import { scanText } from "../../../../compose/services/pii/src/scan.ts";
import { ADVERSARIAL } from "./adversarial.ts";

const SHORT = 2 * 1024;
const TIMES = 8;
const LINEAR = 1.05;

const fill = (pattern: string, length: number): string =>
  pattern.repeat(Math.ceil(length / pattern.length)).slice(0, length);

async function countCalls(work: () => void): Promise<number> {
  const session = new Session();
  session.connect();
  try {
    await session.post("Profiler.enable");
    await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false });
    await session.post("Profiler.takePreciseCoverage");
    work();
    const { result } = await session.post("Profiler.takePreciseCoverage");
    let calls = 0;
    for (const { url, functions } of result) {
      if (!url.includes("/services/pii/src/")) continue;
      for (const { ranges } of functions) calls += ranges[0]?.count ?? 0;
    }
    await session.post("Profiler.stopPreciseCoverage");
    await session.post("Profiler.disable");
    return calls;
  } finally {
    session.disconnect();
  }
}

test("the count sees work that is not linear", async () => {
  const quadratic = (length: number): void => {
    for (let index = 0; index < length; index++) scanText("a ".repeat(index));
  };
  const short = await countCalls(() => quadratic(8));
  assert.ok((await countCalls(() => quadratic(64))) > short * TIMES * 4);
});

test("eight times the text is at most eight times the work, whatever the text", async () => {
  for (const [name, pattern] of Object.entries(ADVERSARIAL)) {
    const short = await countCalls(() => scanText(fill(pattern, SHORT)));
    const long = await countCalls(() => scanText(fill(pattern, SHORT * TIMES)));
    assert.ok(short > 0);
    assert.ok(long <= short * TIMES * LINEAR + 1_000, `${name}: ${short} calls, then ${long}`);
  }
});
