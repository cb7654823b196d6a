import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { checkAuthorization, spendAuthorization } from "../../installer/lifecycle/authorization.ts";
import { execute } from "../../installer/lifecycle/execute.ts";
import {
  appendEntry,
  compareWithWitness,
  headOf,
  type LedgerEntry,
  parseLedger,
  readLedger,
} from "../../installer/lifecycle/ledger.ts";
import { auditLedger, parseWitness } from "../../installer/lifecycle/ledger-audit.ts";
import {
  operatorChange,
  operatorChangeParameters,
  planOperatorChange,
} from "../../installer/lifecycle/operator-change.ts";
import { removeOperator } from "../../installer/site/authority.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { statePaths } from "../../installer/site/state.ts";
import { scratch } from "../support/scratch.ts";
import { sshSign } from "../support/ssh-signer.ts";
import { makeTestSite, request, type TestSite, upgradePlan } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";

/** A site with eight entries: three authorized notes of an upgrade, and a change of operators. */
async function grown(parent: string): Promise<TestSite & { requests: Buffer[] }> {
  const site = makeTestSite(parent);
  const requests: Buffer[] = [];
  for (let i = 0; i < 2; i += 1) {
    const bytes = request(site.open(), upgradePlan());
    requests.push(bytes);
    const signature = { name: "alice", bytes: sshSign(site.alice, bytes) };
    const authorization = await checkAuthorization(site.open(), upgradePlan(), bytes, [signature]);
    const entry = spendAuthorization(site.open(), authorization);
    const data = { id: String(i), operation: "upgrade", authorization: entry, result: "committed" };
    appendEntry(hostDisk, statePaths(site.directory).ledger, "operation", data, site.clock.read());
    site.clock.pass(60_000);
  }
  const before = site.open();
  const after = removeOperator(before.authority, "bob");
  const subject = planOperatorChange(before.authority, after);
  const bytes = request(before, subject);
  requests.push(bytes);
  const authorization = await checkAuthorization(before, subject, bytes, [
    { name: "carol", bytes: sshSign(site.carol, bytes) },
  ]);
  const entry = spendAuthorization(before, authorization);
  await execute(before, operatorChange, before, operatorChangeParameters(before.authority, after), entry);
  return { ...site, requests };
}

const ledgerOf = ({ directory }: TestSite): Buffer => readFileSync(statePaths(directory).ledger);
const linesOf = (bytes: Buffer): string[] => bytes.toString().trimEnd().split("\n");
const joined = (lines: readonly string[]): Buffer => Buffer.from(`${lines.join("\n")}\n`);

/** The lines as root would forge them: entry `n` changed, and the chain made whole behind it. */
function forged(lines: readonly string[], n: number, change: (entry: LedgerEntry) => LedgerEntry): Buffer {
  const made: string[] = [];
  for (const [i, line] of lines.entries()) {
    const entry = JSON.parse(line) as LedgerEntry;
    const prev = i === 0 ? null : digestOf(made[i - 1] as string);
    made.push(canonicalJson({ ...(i === n - 1 ? change(entry) : entry), prev }).toString());
  }
  return joined(made);
}

test("a ledger that grew honestly holds, and its signatures are verified again", async (t) => {
  const site = await grown(await scratch(t));
  const ledger = parseLedger(ledgerOf(site));
  assert.equal(ledger.entries.length, 8);
  assert.deepEqual(await auditLedger(ledger), { findings: [], authorizations: 3 });
});

test("an edited, removed, doubled or moved entry is found, and where", async (t) => {
  const lines = linesOf(ledgerOf(await grown(await scratch(t))));
  const cases: [string, string[], number][] = [
    ["edited", lines.with(2, (lines[2] as string).replace("committed", "restored!")), 4],
    ["removed", lines.toSpliced(3, 1), 4],
    ["doubled", lines.toSpliced(4, 0, lines[3] as string), 5],
    ["moved", lines.with(1, lines[2] as string).with(2, lines[1] as string), 2],
    ["first removed", lines.slice(1), 1],
    ["garbage", lines.with(5, "garbage"), 6],
    ["newline lost", [...lines.slice(0, 6), `${lines[6]} ${lines[7]}`], 7],
    ["other spelling", lines.with(5, (lines[5] as string).replace(",", ", ")), 6],
  ];
  for (const [what, changed, entry] of cases) {
    assert.throws(
      () => parseLedger(joined(changed)),
      (error: { code?: string; message: string }) =>
        error.code === "LEDGER_DAMAGED" && error.message.includes(`entry ${entry}:`),
      what,
    );
  }
  assert.throws(() => parseLedger(Buffer.alloc(0)), coded("LEDGER_DAMAGED"));
});

test("a last entry that power tore is reported and cut off by the next append", async (t) => {
  const { directory, clock } = makeTestSite(await scratch(t));
  const path = statePaths(directory).ledger;
  const whole = readFileSync(path);
  for (const torn of ['{"bootId":"bo', "\0".repeat(200), "garbage\n"]) {
    writeFileSync(path, Buffer.concat([whole, Buffer.from(torn)]));
    assert.equal(readLedger(path).tornBytes, torn.length);
    appendEntry(hostDisk, path, "note", {}, clock.read());
    const { entries, tornBytes } = readLedger(path);
    assert.deepEqual([entries.length, tornBytes], [2, 0]);
  }
});

test("what root forges holds as a chain, and is found by the signatures in it", async (t) => {
  const lines = linesOf(ledgerOf(await grown(await scratch(t))));
  const codes = async (bytes: Buffer): Promise<string[]> =>
    (await auditLedger(parseLedger(bytes))).findings.map(({ code, entry }) => `${entry} ${code}`);
  const edited = forged(lines, 2, (entry) => ({
    ...entry,
    data: { ...entry.data, request: String(entry.data["request"]).replace("1.1.0", "9.9.9") },
  }));
  // Entry 3 leans on 2, and every later request names a head that is gone.
  assert.equal((await codes(edited))[0], "2 AUTHORIZATION_SIGNATURE_INVALID");
  const invented = forged([...lines, lines[2] as string], 9, (entry) => ({
    ...entry,
    seq: 9,
    time: (JSON.parse(lines[7] as string) as LedgerEntry).time,
    uptimeMs: (JSON.parse(lines[7] as string) as LedgerEntry).uptimeMs,
  }));
  assert.deepEqual(await codes(invented), ["9 LEDGER_UNAUTHORIZED"]);
  const lastLine = JSON.parse(lines[7] as string) as LedgerEntry;
  const first = JSON.parse(lines[0] as string) as LedgerEntry;
  const takeover = forged([...lines, lines[0] as string], 9, () => ({
    ...lastLine,
    seq: 9,
    type: "authority-changed",
    data: { authority: first.data["authority"] },
  }));
  assert.deepEqual(await codes(takeover), ["9 LEDGER_UNAUTHORIZED"]);
  const early = forged(lines, 8, (entry) => ({ ...entry, time: "2026-11-20T00:00:00.000Z" }));
  assert.deepEqual(await codes(early), ["8 CLOCK_BACKWARDS"]);
});

test("a rewound, shortened or rewritten ledger contradicts what people outside hold", async (t) => {
  const site = await grown(await scratch(t));
  const { siteId } = site.open();
  const whole = ledgerOf(site);
  const lines = linesOf(whole);
  const ledger = parseLedger(whole);
  const head = canonicalJson({ schemaVersion: 1, siteId, ledgerHead: headOf(ledger), ledgerLength: 8 });
  const witness = (bytes: Buffer) => {
    const found = parseWitness(bytes, "w");
    assert.ok(found);
    return found;
  };
  const [, secondRequest = Buffer.alloc(0)] = site.requests;
  for (const bytes of [whole, head, ...site.requests, joined(lines.slice(0, 5))]) {
    assert.equal(compareWithWitness(ledger, siteId, witness(bytes)), undefined);
  }
  const short = parseLedger(joined(lines.slice(0, 2)));
  for (const bytes of [whole, head, secondRequest]) {
    const finding = compareWithWitness(short, siteId, witness(bytes));
    assert.deepEqual([finding?.code, finding?.entry], ["LEDGER_REWOUND", 3]);
  }
  const rewritten = parseLedger(
    forged(lines, 3, (entry) => ({ ...entry, data: { ...entry.data, result: "restored" } })),
  );
  const located = compareWithWitness(rewritten, siteId, witness(whole));
  assert.deepEqual([located?.code, located?.entry], ["LEDGER_DIFFERS", 3]);
  const byHead = compareWithWitness(rewritten, siteId, witness(head));
  assert.deepEqual([byHead?.code, byHead?.entry], ["LEDGER_DIFFERS", 8]);
  const other = compareWithWitness(ledger, "0".repeat(32), witness(head));
  assert.equal(other?.code, "LEDGER_OTHER_SITE");
  for (const none of ["notes", "null", "7", "[]"]) assert.equal(parseWitness(Buffer.from(none), "w"), undefined);
});
