import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { type Ground, planRecovery, type RecoveryPlan, recover } from "../../installer/lifecycle/execute.ts";
import {
  type BeginRecord,
  Journal,
  type JournalRecord,
  parseJournal,
  readJournal,
} from "../../installer/lifecycle/journal.ts";
import type { OperationKind, Probe, Step } from "../../installer/lifecycle/step.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { statePaths } from "../../installer/site/state.ts";
import { random } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { makeTestSite } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";

const TIME = "2026-11-21T08:00:00.000Z";
const begin: BeginRecord = {
  type: "begin",
  schemaVersion: 1,
  id: "0".repeat(32),
  operation: "two",
  parameters: {},
  steps: ["first", "second"],
  authorization: digestOf("x"),
  time: TIME,
};
const intent = (step: string): JournalRecord => ({ type: "intent", step, intent: "do it", time: TIME });
const outcome = (step: string): JournalRecord => ({ type: "outcome", step, outcome: "done", time: TIME });

function write(path: string, ...records: JournalRecord[]): Buffer {
  const journal = Journal.begin(hostDisk, path, begin);
  for (const record of records) journal.append(record);
  journal.close();
  return readFileSync(path);
}

test("records come back in order, and a reopened journal goes on with the chain", async (t) => {
  const path = join(await scratch(t), "open");
  write(path, intent("first"));
  const content = readJournal(path);
  assert.ok(content);
  const again = Journal.reopen(hostDisk, path, content);
  again.append(outcome("first"));
  again.close();
  assert.deepEqual(readJournal(path)?.records, [begin, intent("first"), outcome("first")]);
  assert.throws(() => Journal.begin(hostDisk, path, begin), coded("STATE_WRITE_FAILED"));
});

test("a torn last record is left out and reported; torn anywhere the rest is read", async (t) => {
  const path = join(await scratch(t), "open");
  const bytes = write(path, intent("first"), outcome("first"));
  const ends = [...bytes.entries()].filter(([, byte]) => byte === 0x0a).map(([i]) => i + 1);
  for (let length = 0; length <= bytes.length; length += 1) {
    const content = parseJournal(bytes.subarray(0, length));
    const whole = ends.filter((end) => end <= length);
    assert.equal(content?.records.length ?? 0, whole.length);
    if (content) assert.equal(content.tornBytes, length - (whole.at(-1) as number));
  }
  const zeros = Buffer.concat([bytes, Buffer.alloc(512)]);
  assert.deepEqual([parseJournal(zeros)?.records.length, parseJournal(zeros)?.tornBytes], [3, 512]);
});

test("any other damage is an error: a changed byte before the last record, a lost, doubled or moved one", async (t) => {
  const path = join(await scratch(t), "open");
  const bytes = write(path, intent("first"), outcome("first"), intent("second"));
  const lines = bytes.toString().trimEnd().split("\n");
  const text = (...order: number[]): Buffer => Buffer.from(`${order.map((i) => lines[i]).join("\n")}\n`);
  for (const order of [
    [0, 2, 3],
    [0, 1, 1, 2, 3],
    [0, 2, 1, 3],
    [1, 2, 3],
    [0, 1, 2, 3, 0, 1],
  ]) {
    assert.throws(() => parseJournal(text(...order)), coded("JOURNAL_DAMAGED"), order.join());
  }
  const lastLine = bytes.length - (lines[3] as string).length - 1;
  const next = random(7);
  for (let run = 0; run < 300; run += 1) {
    const changed = Buffer.from(bytes);
    const at = Math.floor(next() * lastLine);
    changed[at] = (changed[at] as number) ^ (1 << Math.floor(next() * 8));
    assert.throws(() => parseJournal(changed), coded("JOURNAL_DAMAGED"), `byte ${at}`);
  }
});

function planned(plan: RecoveryPlan | undefined): readonly string[] {
  return plan?.steps.map(({ name }) => `${plan.direction === "forward" ? "do" : "undo"} ${name}`) ?? [];
}

test("recover asks the commit step: done goes forward, not done back, unknown waits for a person", async (t) => {
  for (const [probe, result] of [
    ["done", "committed"],
    ["not-done", "restored"],
    ["unknown", undefined],
  ] satisfies [Probe, string | undefined][]) {
    const { directory, clock } = makeTestSite(await scratch(t));
    const ground: Ground = { paths: statePaths(directory), disk: hostDisk, clock: clock.read };
    const log: string[] = [];
    const step = (name: string) => ({
      name,
      intent: name,
      do: async () => void log.push(`do ${name}`),
      undo: async () => void log.push(`undo ${name}`),
      probe: async () => probe,
    });
    const kind: OperationKind<Ground> = {
      name: "two",
      steps: () => [step("first"), { ...step("second"), isCommit: true }],
    };
    const path = join(ground.paths.journal, "open");
    const before = write(path, intent("first"), outcome("first"), intent("second"));
    const kinds = new Map([["two", kind]]);
    if (result === undefined) {
      await assert.rejects(planRecovery(ground.paths, kinds, ground), coded("OPERATION_UNKNOWN"));
      await assert.rejects(recover(ground, kinds, ground), coded("OPERATION_UNKNOWN"));
      assert.deepEqual(log, []);
      continue;
    }
    const plan = await planRecovery(ground.paths, kinds, ground);
    assert.deepEqual(log, [], "a plan does nothing");
    assert.ok(readFileSync(path).equals(before));
    assert.equal((await recover(ground, kinds, ground)).result, result);
    assert.deepEqual(log, probe === "done" ? ["do second"] : ["undo second", "undo first"]);
    assert.deepEqual(planned(plan), log, "what was planned is what was done");
    assert.equal(await planRecovery(ground.paths, kinds, ground), undefined);
  }
});

test("an operation that this version does not know, or knows otherwise, is not touched", async (t) => {
  const { directory, clock } = makeTestSite(await scratch(t));
  const ground: Ground = { paths: statePaths(directory), disk: hostDisk, clock: clock.read };
  const path = join(ground.paths.journal, "open");
  const bytes = write(path, intent("first"));
  const other: OperationKind<Ground> = { name: "two", steps: () => [] };
  for (const kinds of [new Map(), new Map([["two", other]])]) {
    await assert.rejects(recover(ground, kinds, ground), coded("OPERATION_UNKNOWN"));
  }
  assert.ok(readFileSync(path).equals(bytes));
  writeFileSync(path, bytes.subarray(10));
  await assert.rejects(recover(ground, new Map(), ground), coded("JOURNAL_DAMAGED"));
});

test("of a damaged journal its beginning and the site decide, and every step counts as begun", async (t) => {
  for (const answers of ["done", "not-done"] as const) {
    // What is done after the damage, or in a recover that was killed, is not known from the journal.
    for (const isKilledOnce of [false, true]) {
      const site = makeTestSite(await scratch(t));
      const ground = site.open();
      const open = join(ground.paths.journal, "open");
      const bytes = write(open, intent("first"), outcome("first"), intent("second"));
      const damaged = Buffer.from(bytes);
      // In the intent of the first step: all that follows is lost with it.
      damaged[bytes.indexOf("do it")] = 0x44;
      writeFileSync(open, damaged);
      const did: string[] = [];
      let mayDie = isKilledOnce;
      const step = (name: string): Step => ({
        name,
        intent: name,
        ...(name === "first" && { isCommit: true as const }),
        do: async () => void did.push(`do ${name}`),
        undo: async () => {
          if (mayDie) {
            mayDie = false;
            throw new Error("killed");
          }
          did.push(`undo ${name}`);
        },
        probe: async () => answers,
      });
      const kinds = new Map([["two", { name: "two", steps: () => [step("first"), step("second")] }]]);
      await assert.rejects(recover(ground, kinds, ground), coded("JOURNAL_DAMAGED"));
      assert.deepEqual(did, []);
      const accepted = { isDamageAccepted: true };
      await assert.rejects(planRecovery(ground.paths, kinds, ground), coded("JOURNAL_DAMAGED"));
      const plan = await planRecovery(ground.paths, kinds, ground, accepted);
      if (isKilledOnce && answers === "not-done") {
        await assert.rejects(recover(ground, kinds, ground, accepted), coded("OPERATION_UNKNOWN"));
        await recover(ground, kinds, ground);
      } else {
        await recover(ground, kinds, ground, accepted);
      }
      const wanted = answers === "done" ? ["do first", "do second"] : ["undo second", "undo first"];
      assert.deepEqual(did, wanted, `${answers}, killed: ${isKilledOnce}`);
      assert.deepEqual(planned(plan), did, "what was planned is what was done");
      const kept = readFileSync(join(ground.paths.journal, `${begin.id}.damaged`));
      assert.ok(kept.equals(damaged), "the evidence is kept");
      assert.equal(site.open().ledger.entries.at(-1)?.data["result"], answers === "done" ? "committed" : "restored");
    }
  }
});

test("a journal without its first record is left to a person", async (t) => {
  const site = makeTestSite(await scratch(t));
  const ground = site.open();
  const open = join(ground.paths.journal, "open");
  const bytes = write(open, intent("first"));
  bytes[bytes.indexOf("two")] = 0x54;
  writeFileSync(open, bytes);
  await assert.rejects(recover(ground, new Map(), ground, { isDamageAccepted: true }), coded("JOURNAL_DAMAGED"));
  assert.ok(readFileSync(open).equals(bytes));
});
