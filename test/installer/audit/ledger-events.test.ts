import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { digestOf } from "../../../bundles/model/digest.ts";
import { openAuditClient } from "../../../compose/services/service-kit/src/audit-client.ts";
import {
  collectLedgerEvents,
  compareLedgerWithLog,
  eventOf,
  forgetToldMark,
  INSTALLER,
  type LedgerEvent,
  ledgerEventOf,
  readToldMark,
  type ToldMark,
  writeToldMark,
} from "../../../installer/audit/ledger-events.ts";
import { verifyAuditLog } from "../../../installer/audit/verify-log.ts";
import { type Ledger, parseLedger } from "../../../installer/lifecycle/ledger.ts";
import { hostDisk } from "../../../installer/site/disk.ts";
import { statePaths } from "../../../installer/site/state.ts";
import { auditGround, peerOf, until } from "../../compose/services/audit/audit-instance.ts";
import { scratch } from "../../support/scratch.ts";

const SITE = "0123456789abcdef0123456789abcdef";

/** A ledger of `count` entries; `changed` is another entry in the place of one. */
function ledgerOf(count: number, changed?: number): Ledger {
  const lines: Buffer[] = [];
  for (let seq = 1; seq <= count; seq += 1) {
    const entry = {
      ...{ schemaVersion: 1, seq, time: "2026-11-21T08:00:00.000Z", bootId: "boot", uptimeMs: seq },
      prev: lines.length === 0 ? null : digestOf(lines.at(-1) as Buffer),
      type: seq % 2 === 0 ? "operation" : "authorized",
      data: {
        operation: seq === changed ? "rollback" : "upgrade",
        result: "committed",
        approvals: ["alice@example.com"],
      },
    };
    lines.push(canonicalJson(entry));
  }
  return parseLedger(Buffer.concat(lines.flatMap((line) => [line, Buffer.from("\n")])));
}

/** Told in order from entry `first` of the log on. */
function told(ledger: Ledger, first = 0): LedgerEvent[] {
  return ledger.heads.map((head, i) => ({ index: first + i, length: i + 1, head }));
}

function markOf(ledger: Ledger, index: number): ToldMark {
  const head = ledger.heads.at(-1);
  if (!head) throw new TypeError("an empty ledger");
  return { schemaVersion: 1, length: ledger.heads.length, head, index };
}

const codes = (ledger: Ledger, events: readonly LedgerEvent[], size: number, mark?: ToldMark, behind = 0): string[] =>
  compareLedgerWithLog(ledger, SITE, { events, size, behind }, mark).findings.map(({ code }) => code);

test("a real audit service takes each entry of a ledger once, and the log that it writes agrees with it", async (t: TestContext) => {
  const ground = await auditGround(t);
  const audit = await ground.start();
  await until(() => audit.role === "writer");
  const peer = await peerOf(t, ground.identities, INSTALLER, () => [audit.port]);
  const client = openAuditClient({ peer, service: INSTALLER });
  const ledger = ledgerOf(6);
  const tell = async (from: number): Promise<number[]> => {
    const entries = ledger.entries.slice(from);
    const events = entries.map((entry, i) => eventOf(entry, ledger.heads[from + i] as (typeof ledger.heads)[number]));
    return (await Promise.all(events.map((event) => client.append(event)))).map(({ index }) => index);
  };
  assert.deepEqual(await tell(0), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(await tell(3), [3, 4, 5], "the same entries are the same events");
  await audit.stop();
  const { events, onEntry } = collectLedgerEvents();
  const { entries } = verifyAuditLog(ground.directory, { onEntry });
  assert.deepEqual(events, told(ledger));
  const compared = compareLedgerWithLog(ledger, SITE, { events, size: entries, behind: 0 }, markOf(ledger, 5));
  assert.deepEqual(compared, { compared: 6, findings: [], notChecked: [] });
  assert.deepEqual(codes(ledgerOf(6, 4), events, entries), ["LEDGER_DIFFERS", "LEDGER_DIFFERS", "LEDGER_DIFFERS"]);
});

test("an event has no name of a person, and another's event is none of the ledger", () => {
  const [entry] = ledgerOf(1).entries;
  const [head] = ledgerOf(1).heads;
  if (!entry || !head) throw new TypeError("an empty ledger");
  const event = eventOf(entry, head);
  assert.ok(!JSON.stringify(event).includes("alice"));
  assert.deepEqual(Object.keys(event).sort(), [
    ...["id", "ledgerHead", "ledgerLength", "operation", "outcome", "requestId", "ts", "type"],
  ]);
  const stored = (change: object): Buffer => Buffer.from(JSON.stringify({ ...event, service: INSTALLER, ...change }));
  assert.deepEqual(ledgerEventOf(stored({}), 7), { index: 7, length: 1, head });
  for (const change of [
    { service: "gateway" },
    { type: "request.allowed" },
    { ledgerHead: "ab" },
    { ledgerLength: "1" },
  ]) {
    assert.equal(ledgerEventOf(stored(change), 7), undefined, JSON.stringify(change));
  }
  assert.equal(ledgerEventOf(Buffer.from('not JSON, with "ledgerHead"'), 0), undefined);
});

test("a ledger that was rewound or rewritten, in whole or from one entry on, contradicts the log", () => {
  const ledger = ledgerOf(6);
  const events = told(ledger, 10);
  assert.deepEqual(codes(ledger, events, 20, markOf(ledger, 15)), []);
  assert.deepEqual(codes(ledgerOf(4), events, 20), ["LEDGER_REWOUND", "LEDGER_REWOUND"]);
  assert.deepEqual(codes(ledgerOf(6, 6), events, 20), ["LEDGER_DIFFERS"]);
  // All is rewritten and longer than it was: the log has the old one.
  assert.equal(codes(ledgerOf(9, 1), events, 20).length, 6);
  // The log behind its checkpoint is not looked at; the mark beside the ledger says what it was told.
  assert.deepEqual(codes(ledgerOf(4), [], 10, markOf(ledger, 15), 6), ["LEDGER_REWOUND"]);
});

test("a log that was rewound, replaced or lacks an entry contradicts the ledger", () => {
  const ledger = ledgerOf(6);
  const events = told(ledger, 10);
  const mark = markOf(ledger, 15);
  assert.deepEqual(codes(ledger, events.slice(0, 4), 14, mark), ["AUDIT_LOG_REWOUND"]);
  assert.deepEqual(codes(ledger, [], 0, mark), ["AUDIT_LOG_REWOUND"]);
  assert.deepEqual(codes(ledger, [], 20, mark), ["AUDIT_LEDGER_MISSING", "AUDIT_LOG_FORKED"]);
  assert.deepEqual(codes(ledger, events.toSpliced(2, 1), 20, mark), ["AUDIT_LEDGER_MISSING"]);
  assert.deepEqual(codes(ledger, events.slice(0, 5), 20, mark), ["AUDIT_LEDGER_MISSING", "AUDIT_LOG_FORKED"]);
});

test("what the log was not told yet, or holds behind its checkpoint, is said and is no finding", () => {
  const ledger = ledgerOf(6);
  const early = ledgerOf(4);
  const compare = (events: readonly LedgerEvent[], size: number, mark?: ToldMark, behind = 0): readonly string[] => {
    const { findings, notChecked } = compareLedgerWithLog(ledger, SITE, { events, size, behind }, mark);
    assert.deepEqual(findings, []);
    return notChecked;
  };
  assert.match(compare([], 100)[0] ?? "", /^6 entries of the ledger of which the audit log was not told yet$/);
  assert.match(compare(told(early), 10, markOf(early, 3))[0] ?? "", /^2 entries/);
  assert.match(compare(told(early), 4, markOf(ledger, 5), 2)[0] ?? "", /checkpoint will cover$/);
  assert.deepEqual(compare(told(ledger), 6, markOf(ledger, 5)), []);
  assert.deepEqual(compare(told(ledger), 6), [], "the mark was lost");
});

test("the mark is there whole or not at all, and goes with the data", async (t) => {
  const directory = await scratch(t);
  await mkdir(join(directory, "site"));
  const paths = statePaths(directory);
  assert.equal(readToldMark(paths), undefined);
  const mark = markOf(ledgerOf(3), 8);
  writeToldMark(hostDisk, paths, mark);
  assert.deepEqual(readToldMark(paths), mark);
  forgetToldMark(hostDisk, paths);
  assert.equal(readToldMark(paths), undefined);
});
