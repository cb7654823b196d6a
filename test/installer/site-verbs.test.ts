import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { authorize } from "../../installer/commands/authorize.ts";
import type { Command, OptionValue } from "../../installer/commands/command.ts";
import { install } from "../../installer/commands/install.ts";
import { ledgerExport, ledgerShow, ledgerVerify } from "../../installer/commands/ledger.ts";
import { operatorAdd, operatorList, operatorRemove } from "../../installer/commands/operator.ts";
import { recover } from "../../installer/commands/recover.ts";
import { siteInit } from "../../installer/commands/site-init.ts";
import { upgrade } from "../../installer/commands/upgrade.ts";
import { acquireLock } from "../../installer/lifecycle/lock.ts";
import { runVerb, type VerbResult } from "../support/run-verb.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

interface Place {
  readonly at: (name: string) => string;
  readonly run: (
    command: Command,
    args?: readonly string[],
    options?: Record<string, OptionValue>,
  ) => Promise<VerbResult>;
}

/** A directory with key pairs of alice, bob, carol and recovery, and operators files of each. */
async function place(t: Parameters<typeof scratch>[0]): Promise<Place> {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const lines = ["alice", "bob", "carol", "recovery"].map((name) => {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", at(name)]);
    const line = `${name} namespaces="sealift-authorization" ${readFileSync(at(`${name}.pub`), "utf8")}`;
    writeFileSync(at(`${name}.signers`), line);
    return line;
  });
  writeFileSync(at("operators"), lines.slice(0, 2).join(""));
  const run: Place["run"] = (command, args = [], options = {}) =>
    runVerb(command, args, { state: at("state"), ...options });
  return { at, run };
}

test("two operators let a third in with a request and two signatures, and the ledger proves it elsewhere", async (t) => {
  const { at, run } = await place(t);
  const init = { operators: at("operators"), threshold: ["operator=2"], "recovery-key": at("recovery.pub") };
  assert.equal((await run(siteInit, [], init)).exit, 0);
  await assert.rejects(run(siteInit, [], init), coded("STATE_EXISTS"));
  const head = at("head.json");
  await run(ledgerExport, [], { out: head, head: true });

  const planned = await run(operatorAdd, [at("carol.signers")], { plan: true });
  assert.ok(planned.lines.some((line) => line.startsWith("  - add operator carol ")));
  const out = at("add.request");
  await run(authorize, ["operator", "add", at("carol.signers")], { out, key: [at("alice")], reason: "a colleague" });
  await assert.rejects(run(authorize, ["operator", "add", at("carol.signers")], { out }), coded("FILE_EXISTS"));
  const bob = execFileSync("ssh-keygen", ["-Y", "sign", "-n", "sealift-authorization", "-f", at("bob")], {
    input: readFileSync(out),
    stdio: ["pipe", "pipe", "ignore"],
  });
  writeFileSync(at("bob.sig"), bob);
  const add = (...authorization: string[]) =>
    run(operatorAdd, [at("carol.signers")], { request: out, authorization: authorization.map(at) });
  await assert.rejects(add(), coded("AUTHORIZATION_MISSING"));
  await assert.rejects(add("add.request.sig"), coded("AUTHORIZATION_THRESHOLD_NOT_MET"));
  assert.equal((await add("add.request.sig", "bob.sig")).exit, 0);
  const { document } = await run(operatorList);
  assert.equal((document["authority"] as { operators: string[] }).operators.length, 3);

  const shown = await run(ledgerShow);
  assert.ok(
    shown.lines.some((line) => line.endsWith("authorized: operator by alice, bob")),
    shown.lines.join("\n"),
  );
  const whole = at("ledger.export");
  await run(ledgerExport, [], { out: whole });
  const verified = await run(ledgerVerify, [whole], { against: [out, head], state: at("nowhere") });
  assert.deepEqual([verified.exit, verified.document["authorizations"], verified.document["findings"]], [0, 1, []]);
  const alone = await run(ledgerVerify);
  assert.deepEqual([alone.exit, alone.document["notChecked"]], [0, ["rewind", "rewrite", "audit-log"]]);
});

test("a state that was put back to an older copy is found by what operators kept", async (t) => {
  const { at, run } = await place(t);
  await run(siteInit, [], { operators: at("operators") });
  const older = readFileSync(at("state/ledger"));
  const people = readFileSync(at("state/site/authority.json"));
  await run(operatorAdd, [at("carol.signers")], { key: [at("alice")] });
  await run(ledgerExport, [], { out: at("kept") });
  writeFileSync(at("state/ledger"), older);
  await assert.rejects(run(ledgerVerify), coded("AUTHORITY_CHANGED"));
  writeFileSync(at("state/site/authority.json"), people);
  assert.equal((await run(ledgerVerify)).exit, 0);
  const verified = await run(ledgerVerify, [], { against: [at("kept")] });
  const [finding] = verified.document["findings"] as { code: string; entry: number }[];
  assert.deepEqual([verified.exit, finding?.code, finding?.entry], [3, "LEDGER_REWOUND", 2]);
  await assert.rejects(run(ledgerVerify, [], { against: [at("alice.pub")] }), coded("LEDGER_WITNESS_MALFORMED"));
});

test("root alone changes no operator, nor does the wrong key, nor anybody while another verb works", async (t) => {
  const { at, run } = await place(t);
  await run(siteInit, [], { operators: at("operators") });
  const ledger = readFileSync(at("state/ledger"));
  await assert.rejects(run(operatorRemove, ["bob"]), coded("AUTHORIZATION_MISSING"));
  await assert.rejects(run(operatorRemove, ["bob"], { key: [at("carol")] }), coded("AUTHORIZATION_KEY_UNKNOWN"));
  await assert.rejects(run(operatorRemove, ["bob"], { key: [at("nobody")] }), coded("AUTHORIZATION_SIGNING_FAILED"));
  await assert.rejects(run(operatorRemove, ["dave"], { key: [at("alice")] }), coded("OPERATOR_UNKNOWN"));
  const lock = acquireLock(at("state/lock"), "upgrade");
  await assert.rejects(run(operatorRemove, ["bob"], { key: [at("alice")] }), coded("LOCK_HELD"));
  await assert.rejects(run(recover), coded("LOCK_HELD"));
  lock.release();
  assert.ok(readFileSync(at("state/ledger")).equals(ledger));
  assert.equal((await run(operatorRemove, ["bob"], { key: [at("alice")] })).exit, 0);
  assert.deepEqual((await run(recover)).lines, ["nothing to recover"]);
});

test("what is not a site, an action, a threshold or a number of hours is a usage or precondition error", async (t) => {
  const { at, run } = await place(t);
  await assert.rejects(run(operatorList), coded("STATE_NOT_FOUND"));
  const operators = at("operators");
  for (const threshold of ["fly=1", "install=0", "install", "install=1,upgrade=1"]) {
    await assert.rejects(run(siteInit, [], { operators, threshold: [threshold] }), coded("USAGE"));
  }
  await assert.rejects(run(siteInit, [], { operators, threshold: ["install=3"] }), coded("AUTHORITY_THRESHOLD"));
  await assert.rejects(run(siteInit, [], { operators: at("alice") }), coded("AUTHORITY_MALFORMED"));
  await run(siteInit, [], { operators });
  const out = at("x.request");
  const wrong: [string[], Record<string, OptionValue>][] = [
    [["fly"], {}],
    [["operator", "add"], {}],
    [["upgrade"], {}],
    [["upgrade", "a", "b"], {}],
    [["rotate"], {}],
    [["prune", "extra"], {}],
    [["prune"], { keep: "-1" }],
    [["prune"], { "valid-for": "721" }],
  ];
  for (const [args, options] of wrong) await assert.rejects(run(authorize, args, { out, ...options }), coded("USAGE"));
  assert.equal((await run(authorize, ["prune"], { out })).exit, 0);
  assert.equal((JSON.parse(readFileSync(out, "utf8")) as { action: string }).action, "prune");
});

test("what is named wrongly is said before a medium is read", async (t) => {
  const { at, run } = await place(t);
  const bundle = ["/nonexistent/bundle.tar"];
  for (const verb of [install, upgrade]) {
    const fails = (options: Record<string, OptionValue>, code: string): Promise<void> =>
      assert.rejects(run(verb, bundle, options), coded(code));
    await fails({ config: at("none") }, "FILE_NOT_FOUND");
    await fails({ request: at("none") }, "FILE_NOT_FOUND");
    await fails({ request: at("operators"), authorization: [at("none")] }, "FILE_NOT_FOUND");
    await fails({ request: at("operators"), key: [at("alice")] }, "USAGE");
    await fails({ authorization: [at("operators")] }, "USAGE");
    // Then the site is looked for.
    await fails({ config: at("operators"), key: [at("alice")] }, "STATE_NOT_FOUND");
  }
});
