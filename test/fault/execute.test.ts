/**
 * A fault at every system call of an operation and of its recovery: error, full disk, SIGKILL, power cut.
 * A seeded sample in the gate; SEALIFT_FAULT_RUNS=N runs N, SEALIFT_FAULT_SEED another sample.
 */
import assert from "node:assert/strict";
import { cpSync, existsSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { execute, type Ground, openJournalPath, planRecovery, recover } from "../../installer/lifecycle/execute.ts";
import { lastOfType, readLedger } from "../../installer/lifecycle/ledger.ts";
import { openSiteForChange } from "../../installer/lifecycle/site.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { statePaths } from "../../installer/site/state.ts";
import { type Fault, FaultyDisk, PowerCut, random } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { makeTestSite, type TestClock } from "../support/test-site.ts";
import { prepareToy, TOY_NEW, TOY_OLD, toyOperation, toyState } from "../support/toy-operation.ts";

const RUNS = Number(process.env["SEALIFT_FAULT_RUNS"] ?? 150);
const SEED = Number(process.env["SEALIFT_FAULT_SEED"] ?? 20261121);
const AUTHORIZATION = digestOf("an authorization");
const KINDS = new Map([[toyOperation.name, toyOperation]]);

function ground(directory: string, clock: TestClock, disk = hostDisk as Ground["disk"]): Ground {
  return { paths: statePaths(directory), disk, clock: clock.read };
}

/** How a run ended: "done", an error's code, or "cut" when the machine went away. */
async function ended(work: Promise<unknown>, disk: FaultyDisk): Promise<string> {
  try {
    await work;
    return disk.isDead ? "cut" : "done";
  } catch (error) {
    if (disk.isDead || error instanceof PowerCut) return "cut";
    if (error instanceof SealiftError) return error.code;
    throw error;
  }
}

const FAULTS: readonly ((at: number) => Fault)[] = [
  (at) => ({ kind: "error", code: "EIO", at, forever: false }),
  (at) => ({ kind: "error", code: "EIO", at, forever: true }),
  (at) => ({ kind: "error", code: "ENOSPC", at, forever: true }),
  (at) => ({ kind: "kill", at }),
  (at) => ({ kind: "power", at }),
];

/** After the last recovery: all old or all new, nothing open, and the ledger says which. */
function assertWhole(directory: string, clock: TestClock, what: string): "old" | "new" {
  const site = openSiteForChange(directory, { clock: clock.read });
  const state = toyState(directory);
  assert.ok(state === TOY_OLD || state === TOY_NEW, `${what}: between: ${state}`);
  assert.ok(!existsSync(openJournalPath(site.paths)), `${what}: a journal is open`);
  const { result = "restored", toy } = lastOfType(site.ledger, "operation")?.data ?? {};
  assert.equal(result, state === TOY_NEW ? "committed" : "restored", what);
  assert.equal(toy, state === TOY_NEW ? "NEW" : undefined, `${what}: the facts in the ledger`);
  return state === TOY_NEW ? "new" : "old";
}

test(`a fault at any call leaves the old state or the new one (${RUNS} runs, seed ${SEED})`, async (t) => {
  const scratchDirectory = await scratch(t);
  const { directory: template, clock } = makeTestSite(scratchDirectory);
  prepareToy(ground(template, clock));
  const pick = random(SEED);
  const tally = { old: 0, new: 0, codes: new Map<string, number>() };
  for (let run = 0; run < RUNS; run += 1) {
    const seed = Math.floor(pick() * 2 ** 31);
    const directory = join(scratchDirectory, `run-${run}`);
    cpSync(template, directory, { recursive: true, verbatimSymlinks: true });
    // Some operations break by themselves, before the commit or after it.
    const breaks = pick() < 0.3 ? ["stage", "backup", "switch", "note"][Math.floor(pick() * 4)] : undefined;
    const fault = (FAULTS[run % FAULTS.length] as (at: number) => Fault)(1 + Math.floor(pick() * 68));
    const what = `run ${run} of seed ${SEED}: ${JSON.stringify({ fault, breaks, seed })}`;
    const disk = new FaultyDisk(fault, seed);
    const parameters = breaks === undefined ? {} : { breaks };
    const first = await ended(
      execute(ground(directory, clock, disk), toyOperation, ground(directory, clock, disk), parameters, AUTHORIZATION),
      disk,
    );
    tally.codes.set(first, (tally.codes.get(first) ?? 0) + 1);
    if (first === "done" || first === "OPERATION_FAILED") {
      // What was said to be done stays, if power goes the next moment.
      disk.cutPower();
      assert.equal(assertWhole(directory, clock, what), first === "done" ? "new" : "old", what);
    } else if (first !== "cut") {
      assert.match(first, /^(?:OPERATION_UNKNOWN|STATE_WRITE_FAILED|STATE_DISK_FULL)$/, what);
      if (first !== "OPERATION_UNKNOWN") assert.equal(toyState(directory), TOY_OLD, what);
    }
    // Recovery meets faults too, twice; then it is left alone. A step that breaks by itself goes on breaking.
    for (let again = 0; again < 2; again += 1) {
      const other = new FaultyDisk(
        { kind: pick() < 0.5 ? "power" : "kill", at: 1 + Math.floor(pick() * 40) },
        seed + again,
      );
      const on = ground(directory, clock, other);
      await ended(recover(on, KINDS, on), other);
    }
    const healed = new Map([[toyOperation.name, { ...toyOperation, steps: (c: Ground) => toyOperation.steps(c, {}) }]]);
    const on = ground(directory, clock);
    const before = toyState(directory);
    const plan = await planRecovery(on.paths, healed, on);
    assert.equal(toyState(directory), before, `${what}: a plan changes nothing`);
    const { result } = await recover(on, healed, on);
    if (plan) assert.equal(result, plan.direction === "forward" ? "committed" : "restored", what);
    else assert.equal(result, undefined, what);
    tally[assertWhole(directory, clock, what)] += 1;
  }
  t.diagnostic(JSON.stringify({ ...tally, codes: Object.fromEntries(tally.codes) }));
  if (RUNS >= 100) assert.ok(tally.old > 10 && tally.new > 10, "both ends were met");
});

test("an operation without a fault is done, and each of its steps can break", async (t) => {
  for (const [breaks, code, state] of [
    [undefined, "done", TOY_NEW],
    ["stage", "OPERATION_FAILED", TOY_OLD],
    ["backup", "OPERATION_FAILED", TOY_OLD],
    ["switch", "OPERATION_FAILED", TOY_OLD],
    ["note", "OPERATION_UNKNOWN", TOY_NEW],
  ] satisfies [string | undefined, string, string][]) {
    const { directory, clock } = makeTestSite(await scratch(t));
    prepareToy(ground(directory, clock));
    const what = breaks ?? "no fault";
    const disk = new FaultyDisk();
    const on = ground(directory, clock, disk);
    const parameters = breaks === undefined ? {} : { breaks };
    assert.equal(await ended(execute(on, toyOperation, on, parameters, AUTHORIZATION), disk), code, what);
    assert.equal(toyState(directory), state, what);
    if (code === "OPERATION_UNKNOWN") {
      assert.throws(() => openSiteForChange(directory, { clock: clock.read }), { code: "JOURNAL_INCOMPLETE" });
    } else {
      const expected = code === "done" ? "committed" : "restored";
      assert.equal(lastOfType(readLedger(statePaths(directory).ledger), "operation")?.data["result"], expected);
      assert.deepEqual(await recover(on, KINDS, on), { operation: undefined, result: undefined, tornBytes: 0 });
    }
    t.diagnostic(`${what}: ${disk.calls} calls`);
  }
});

test("one failed call before the commit ends with the old state, and needs no recover", async (t) => {
  const parent = await scratch(t);
  const { directory: template, clock } = makeTestSite(parent);
  prepareToy(ground(template, clock));
  const codes = new Set<string>();
  // All of them in the first two steps or before; the third commits.
  for (let at = 1; at <= 30; at += 1) {
    const directory = join(parent, `at-${at}`);
    cpSync(template, directory, { recursive: true, verbatimSymlinks: true });
    const disk = new FaultyDisk({ kind: "error", code: "EIO", at, forever: false }, 3);
    const on = ground(directory, clock, disk);
    const code = await ended(execute(on, toyOperation, on, {}, AUTHORIZATION), disk);
    codes.add(code);
    assert.equal(toyState(directory), TOY_OLD, `at ${at}: ${code}`);
  }
  assert.deepEqual([...codes].sort(), ["OPERATION_FAILED", "STATE_WRITE_FAILED"]);
});
