/** Operators whose keys the SSH agent holds: no private key's file is on the host, and a terminal offers what is there. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sealift } from "../support/command-line.ts";
import { KEYS, Pty, skipWithoutPty } from "../support/pty.ts";
import { scratch } from "../support/scratch.ts";

const OPERATORS = ["alice", "bob"];
/** Of nobody. */
const STRANGER = "mallory";

interface AgentSite {
  readonly at: (name: string) => string;
  readonly environment: NodeJS.ProcessEnv;
  readonly operators: () => Promise<string>;
}

/** A site of alice and bob, who both must sign, in front of an agent that has all keys; their private files are gone. */
async function agentSite(t: TestContext): Promise<AgentSite> {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const socket = at("agent");
  const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
  t.after(async () => {
    agent.kill();
    await once(agent, "exit");
  });
  while (!existsSync(socket)) await sleep(20);
  const environment = { SSH_AUTH_SOCK: socket, HOME: directory };
  const line = (who: string): string =>
    `${who} namespaces="sealift-authorization" ${readFileSync(at(`${who}.pub`), "utf8")}`;
  for (const who of [STRANGER, ...OPERATORS, "carol"]) {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", who, "-f", at(who)]);
    if (who !== "carol") execFileSync("ssh-add", ["-q", at(who)], { env: { ...process.env, ...environment } });
    await rm(at(who));
  }
  await writeFile(at("operators"), OPERATORS.map(line).join(""));
  await writeFile(at("more"), line("carol"));
  const made = await sealift([
    ...["site", "init", "--operators", at("operators"), "--threshold", "operator=2", "--state", at("state")],
  ]);
  assert.equal(made.exit, 0, made.stderr);
  const operators = async (): Promise<string> => (await sealift(["operator", "list", "--state", at("state")])).stdout;
  return { at, environment, operators };
}

test("a .pub names a key in the agent; one that the agent does not have signs nothing", async (t) => {
  const { at, environment, operators } = await agentSite(t);
  const add = (...signers: string[]) =>
    sealift(
      ["operator", "add", at("more"), "--state", at("state"), ...signers.flatMap((who) => ["--key", at(`${who}.pub`)])],
      environment,
    );
  const absent = await add("alice", "carol");
  assert.equal(absent.exit, 5, absent.stderr);
  assert.match(absent.stderr, /\[AUTHORIZATION_SIGNING_FAILED\].*carol\.pub.*\n {2}hint: for a key in the agent/);
  const strange = await add("alice", STRANGER);
  assert.equal(strange.exit, 3, strange.stderr);
  assert.match(strange.stderr, /\[AUTHORIZATION_KEY_UNKNOWN\]/);
  assert.doesNotMatch(await operators(), /^carol /m);
  const both = await add("alice", "bob");
  assert.equal(both.exit, 0, both.stderr);
  assert.match(await operators(), /^carol /m);
});

test("a terminal offers the operators' keys that the agent has, each person once", {
  skip: skipWithoutPty(),
}, async (t) => {
  const { at, environment, operators } = await agentSite(t);
  const pty = new Pty(["operator", "add", at("more"), "--state", at("state")], { environment });
  await pty.sees(/0 of 2 operators signed\. Which key signs next\?[\s\S]*alice: in the SSH agent[\s\S]*select/);
  assert.doesNotMatch(pty.text, new RegExp(STRANGER));
  await pty.press(KEYS.enter);
  await pty.sees(/1 of 2 operators signed \(alice\)\. Which key signs next\?\s+❯ bob: in the SSH agent[\s\S]*select/);
  await pty.press(KEYS.enter);
  assert.equal(await pty.ends(), 0, pty.text);
  assert.match(await operators(), /^carol /m);
});
