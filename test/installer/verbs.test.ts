/** What every verb owes: its name, its help, its options, and what the contract of the command line says of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Command } from "../../installer/commands/command.ts";
import { commands } from "../../installer/commands/commands.ts";

const GLOBAL = ["json", "no-color", "yes", "help"];
const SIGNED = ["key", "request", "authorization", "plan", "state", "reason", "valid-for"];
/** They change who may do what or which release runs: never without operators' signatures. */
const AUTHORIZED = [
  ...["operator add", "operator remove", "policy import", "trust import", "install", "upgrade", "rollback"],
  ...["config apply", "tls renew", "tls import", "rotate secrets", "rotate certificates", "prune", "uninstall"],
  ...["operator recipients", "restore"],
  ...["tenant add", "tenant models", "tenant disable", "tenant enable", "api-key add", "api-key revoke"],
];
/** What the contract names: scripts and runbooks call it, so nothing of it may go away. */
const CONTRACT: Readonly<Record<string, readonly string[]>> = {
  demo: ["keep", "workdir"],
  "key generate": ["out", "password-env"],
  "trust init": ["out", "root-key", "root-threshold", "role", "threshold"],
  "trust rotate": [],
  "trust revoke": [],
  "trust sign": [],
  "trust show": [],
  "bundle build": ["appliance", "version", "out", "platform"],
  "bundle lock": ["appliance"],
  "bundle rebuild": [],
  "bundle sign": ["role", "key", "digest", "out"],
  "bundle attach": [],
  "bundle inspect": [],
  "kit build": ["platform", "engine", "out"],
  verify: ["format", "report", "trust", "policy", "at"],
  "verify-blob": ["bundle", "trusted-root", "key", "certificate-identity", "certificate-oidc-issuer"],
  approve: ["key", "reason"],
  "sbom generate": ["spec"],
  "sbom show": ["image"],
  "sbom diff": [],
  "sbom scan": ["db", "vex"],
  "sbom validate": [],
  "sbom score": [],
  "attest verify": ["evidence", "collateral", "policy", "nonce", "at"],
  "attest measure": ["ovmf", "vcpus"],
  "attest challenge": [],
  "attest unlock": [],
  "attest collect": ["nonce", "out"],
  "attest unseal": [],
  "host setup": [],
  doctor: ["for"],
  "site init": ["operators", "threshold", "recovery-key"],
  "operator list": [],
  "operator add": SIGNED,
  "operator remove": SIGNED,
  "trust import": SIGNED,
  install: ["config", ...SIGNED],
  upgrade: SIGNED,
  rollback: ["to", ...SIGNED],
  "config show": [],
  "config set": [],
  "config apply": SIGNED,
  authorize: ["out", "key"],
  status: [],
  start: ["plan"],
  stop: ["plan"],
  logs: [],
  recover: ["plan"],
  prune: ["keep", ...SIGNED],
  uninstall: ["purge-data", ...SIGNED],
  "rotate secrets": SIGNED,
  "rotate certificates": SIGNED,
  "tls import": SIGNED,
  "tls csr": [],
  "ledger show": ["change"],
  "ledger verify": ["against"],
  "ledger export": [],
  "audit verify": [],
  "audit export": [],
  backup: ["out", "keep"],
  restore: ["new-host", ...SIGNED],
};

const all = new Map<string, Command>();
for (const [name, load] of commands) all.set(name, await load());

const helpOf = ({ usage, details = [] }: Command): string => [usage, ...details].join("\n");
const optionsIn = (text: string): string[] => [...text.matchAll(/--([a-z][a-z-]*)/g)].map(([, name = ""]) => name);

test("every verb is called as it is listed, and says in one line what it does", () => {
  for (const [name, command] of all) {
    assert.equal(command.name, name);
    assert.match(command.summary, /^[^\n]{10,120}[^.\n]$/, name);
    assert.doesNotMatch(command.usage, /\n/, name);
  }
});

test("no verb's first word is a verb too: what follows it would be ambiguous", () => {
  const groups = new Set([...all.keys()].filter((name) => name.includes(" ")).map((name) => name.split(" ")[0]));
  assert.deepEqual(
    [...all.keys()].filter((name) => groups.has(name)),
    [],
  );
});

test("a verb's help names each of its options", () => {
  // The request for an action takes the options of that action's verb, and says so.
  const ofActions = new Set(AUTHORIZED.flatMap((name) => Object.keys(all.get(name)?.options ?? {})));
  for (const [name, command] of all) {
    const named = new Set(optionsIn(helpOf(command)));
    const silent = Object.keys(command.options).filter((option) => !named.has(option));
    assert.deepEqual(
      silent.filter((option) => name !== "authorize" || !ofActions.has(option)),
      [],
      name,
    );
  }
});

test("a verb's usage names no option that it does not have", () => {
  for (const [name, command] of all) {
    const unknown = optionsIn(command.usage).filter((option) => !(option in command.options));
    assert.deepEqual(unknown, [], name);
  }
});

test("no verb takes a global option for itself, and none has a letter of its own", () => {
  for (const [name, { options }] of all) {
    for (const option of Object.keys(options)) assert.ok(!GLOBAL.includes(option), `${name} --${option}`);
    for (const [option, { short }] of Object.entries(options)) assert.equal(short, undefined, `${name} --${option}`);
  }
});

test("what the contract of the command line names is there", () => {
  for (const [name, wanted] of Object.entries(CONTRACT)) {
    const command = all.get(name);
    assert.ok(command, `verb ${name}`);
    const missing = wanted.filter((option) => !(option in command.options));
    assert.deepEqual(missing, [], name);
  }
});

test("every verb that needs operators' signatures has a plan, and takes a key, a request and signatures", () => {
  const taking = [...all].filter(([, { options }]) => "authorization" in options).map(([name]) => name);
  assert.deepEqual(taking.sort(), [...AUTHORIZED].sort());
  for (const name of AUTHORIZED) {
    const { options } = all.get(name) as Command;
    const missing = SIGNED.filter((option) => !(option in options));
    assert.deepEqual(missing, [], name);
  }
});

test("every verb that changes a site, its operations or its host has a plan", () => {
  for (const name of [...AUTHORIZED, "host setup", "start", "stop", "recover"]) {
    assert.ok("plan" in (all.get(name)?.options ?? {}), name);
  }
});

test("what changes trust, policy or time is an option of verbs alone that change no site", () => {
  for (const [name, { options }] of all) {
    const judging = ["trust", "policy", "at"].filter((option) => option in options);
    if (judging.length === 0) continue;
    assert.ok(!("authorization" in options) && !("plan" in options), `${name} --${judging.join(" --")}`);
    assert.match(name, /^(?:verify|sbom \w+|attest [\w-]+)$/, `${name} --${judging.join(" --")}`);
  }
});
