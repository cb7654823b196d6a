/**
 * Every verb as a script meets it that gives it nothing: no arguments, no site, no terminal, no network. Each says
 * in one document what is missing, ends with a code of the contract, and draws and changes nothing.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { commands } from "../../installer/commands/commands.ts";
import { sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));
/** Without arguments they do something, which tests of their own look at. */
const BUSY = ["demo", "host setup", "kit lock"];
const EXITS: Readonly<Record<string, readonly number[]>> = {
  // The host may be good, or lack something; nothing is missing.
  doctor: [0, 4],
};
/** A usage error, or a site that is not there. */
const REFUSED = [2, 4];

interface Told {
  readonly error?: { readonly code: string; readonly message: string; readonly hints: readonly string[] };
}

const withoutSite = async (name: string): Promise<string[]> => {
  const command = await commands.get(name)?.();
  return command && "state" in command.options ? ["--state", "/nonexistent/sealift"] : [];
};

describe("a verb that is given nothing", { concurrency: 2 }, () => {
  for (const name of [...commands.keys()].filter((one) => !BUSY.includes(one))) {
    it(name, async (t) => {
      const home = await scratch(t);
      const environment = { HOME: home, XDG_CACHE_HOME: join(home, "cache"), TERM: "xterm-256color" };
      const args = [...name.split(" "), "--json", ...(await withoutSite(name))];
      const { exit, stdout, stderr } = await sealift(args, environment);
      const said = `exit ${exit}\n${stdout}${stderr}`;
      assert.ok((EXITS[name] ?? REFUSED).includes(exit ?? -1), said);
      assert.ok(!`${stdout}${stderr}`.includes("\x1b"), said);
      const { error } = JSON.parse(stdout) as Told;
      if (exit !== 0 && error) {
        assert.ok(stderr.includes(`sealift: error [${error.code}]: `), said);
        assert.ok(error.hints.length > 0, said);
      }
      assert.deepEqual(readdirSync(home), [], "nothing is written");
    });
  }
});

describe("what no verb takes", () => {
  for (const args of [
    ["status", "--no-such"],
    ["verify", "--state=", "--bypass", "x"],
    ["nosuch"],
    ["bundle"],
    ["sbom", "x"],
  ]) {
    it(args.join(" "), async () => {
      const { exit, stdout, stderr } = await sealift([...args, "--json"]);
      assert.equal(exit, 2, stderr);
      assert.equal((JSON.parse(stdout) as Told).error?.code, "USAGE");
      assert.match(stderr, /^ {2}hint: sealift help/m);
      const plain = await sealift(args);
      assert.deepEqual([plain.exit, plain.stdout], [2, ""]);
    });
  }
});

describe("output that cannot be written", () => {
  /** `sh` opens the device on which every write ends with "no space left". */
  const toFullDisk = (...args: string[]) =>
    spawnSync("sh", ["-c", 'exec "$0" "$@" >/dev/full', process.execPath, MAIN, ...args], { encoding: "utf8" });

  it("ends with a code instead of a stack", () => {
    for (const args of [["help"], ["schema", "policy"], ["--version"]]) {
      const { status, stderr } = toFullDisk(...args);
      assert.equal(status, 5, stderr);
      assert.match(stderr, /^sealift: error \[OUTPUT_WRITE_FAILED\]: .*ENOSPC.*\n {2}hint: .*\n$/);
    }
  });

  it("does not hide that the verb was refused", () => {
    const { status, stderr } = toFullDisk("status", "--state", "/nonexistent/sealift", "--json");
    assert.equal(status, 4);
    assert.match(stderr, /\[STATE_NOT_FOUND\].*\[OUTPUT_WRITE_FAILED\]/s);
  });

  it("does not end a change of the site half-way", async (t) => {
    const directory = await scratch(t);
    const at = (name: string): string => join(directory, name);
    for (const who of ["alice", "bob"])
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", who, "-f", at(who)]);
    const line = (who: string): string =>
      `${who} namespaces="sealift-authorization" ${readFileSync(at(`${who}.pub`), "utf8")}`;
    writeFileSync(at("operators"), line("alice"));
    writeFileSync(at("more"), line("bob"));
    const state = ["--state", at("state")];
    assert.equal((await sealift(["site", "init", "--operators", at("operators"), ...state])).exit, 0);
    const { status, stderr } = toFullDisk("operator", "add", at("more"), "--key", at("alice"), ...state);
    assert.equal(status, 0, stderr);
    assert.match(stderr, /\[OUTPUT_WRITE_FAILED\]/);
    const { stdout } = await sealift(["operator", "list", ...state]);
    assert.match(stdout, /^bob /m);
  });
});

describe("help", () => {
  it("explains every error code, also to a program", async () => {
    const { exit, stdout } = await sealift(["help", "TRUST_EXPIRED"]);
    assert.equal(exit, 0);
    assert.match(stdout, /^TRUST_EXPIRED\n\nExit 3\. /);
    const { code, text } = JSON.parse((await sealift(["help", "TRUST_EXPIRED", "--json"])).stdout) as {
      readonly code: string;
      readonly text: string;
    };
    assert.deepEqual([code, text], ["TRUST_EXPIRED", stdout.slice("TRUST_EXPIRED\n\n".length).trimEnd()]);
    const none = await sealift(["help", "NO_SUCH_CODE"]);
    assert.deepEqual([none.exit, none.stdout], [2, ""]);
  });

  it("lists all verbs, those of a group, and explains one; to a program too", async () => {
    const all = await sealift(["--help"]);
    for (const name of commands.keys()) assert.match(all.stdout, new RegExp(`^ {2}${name} +\\S`, "m"));
    const group = await sealift(["help", "ledger"]);
    assert.deepEqual(group.stdout.match(/^ {2}\S+ \S+/gm), ["  ledger show", "  ledger verify", "  ledger export"]);
    const one = await sealift(["rollback", "--help"]);
    assert.match(one.stdout, /^sealift rollback .*\n\n\S/);
    assert.match(one.stdout, /^Example: sealift rollback /m);
    const { verbs } = JSON.parse((await sealift(["help", "--json"])).stdout) as { verbs: { name: string }[] };
    assert.deepEqual(
      verbs.map(({ name }) => name),
      [...commands.keys()],
    );
    const nothing = await sealift([]);
    assert.deepEqual([nothing.exit, nothing.stdout], [2, all.stdout]);
    assert.match((await sealift(["--version", "--json"])).stdout, /"version": "\d+\.\d+\.\d+"/);
  });
});
