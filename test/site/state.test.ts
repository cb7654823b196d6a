import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test from "node:test";
import type { SealiftError } from "../../bundles/model/sealift-error.ts";
import { createSite, openSite, openSiteForChange } from "../../installer/lifecycle/site.ts";
import { makeAuthority } from "../../installer/site/authority.ts";
import { type Disk, hostDisk, unreadable, writeWhole } from "../../installer/site/disk.ts";
import { openState, statePaths } from "../../installer/site/state.ts";
import { type Fault, FaultyDisk, PowerCut } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigner } from "../support/ssh-signer.ts";
import { makeTestSite, testClock } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";

const authority = makeAuthority(
  { operators: [{ principal: "alice", key: makeSigner().key }], reviewers: [], thresholds: {}, recoveryKey: undefined },
  1,
);
const options = { clock: testClock().read };

test("a site is made once, private to its owner, and says who it is", async (t) => {
  const directory = join(await scratch(t), "state");
  assert.throws(() => openState(directory), coded("STATE_NOT_FOUND"));
  const { siteId } = createSite(directory, authority, options);
  assert.equal(openSiteForChange(directory, options).siteId, siteId);
  assert.throws(() => createSite(directory, authority, options), coded("STATE_EXISTS"));
});

test("an empty directory becomes a site, with a filesystem's lost+found; a foreign one is not touched", async (t) => {
  const parent = await scratch(t);
  const [empty, foreign, file] = ["empty", "foreign", "file"].map((name) => join(parent, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(join(empty, "lost+found"), { recursive: true });
  chmodSync(empty, 0o700);
  assert.throws(() => openState(empty), coded("STATE_NOT_FOUND"));
  createSite(empty, authority, options);
  mkdirSync(foreign, { mode: 0o700 });
  writeFileSync(join(foreign, "photo.jpg"), "x");
  assert.throws(() => createSite(foreign, authority, options), coded("STATE_FOREIGN"));
  assert.throws(() => openState(foreign), coded("STATE_FOREIGN"));
  assert.deepEqual(readdirSync(foreign), ["photo.jpg"]);
  writeFileSync(file, "x");
  assert.throws(() => openState(file), coded("STATE_FOREIGN"));
});

test("a state directory that others may use is refused", async (t) => {
  const { directory, open } = makeTestSite(await scratch(t));
  for (const mode of [0o755, 0o770, 0o701]) {
    chmodSync(directory, mode);
    assert.throws(open, coded("STATE_UNSAFE"));
  }
});

test("a state directory below one that everybody may write to is refused, and not made there; a sticky one is safe", async (t) => {
  const parent = join(await scratch(t), "parent");
  mkdirSync(join(parent, "below"), { recursive: true });
  const { directory, open } = makeTestSite(join(parent, "below"));
  for (const [mode, isRefused] of [
    [0o777, true],
    [0o1777, false],
    [0o702, true],
    [0o775, false],
  ] as const) {
    chmodSync(parent, mode);
    if (isRefused) assert.throws(open, coded("STATE_UNSAFE"));
    else open();
    const other = join(parent, `other-${mode}`);
    if (isRefused) assert.throws(() => createSite(other, authority, options), coded("STATE_UNSAFE"));
    assert.ok(!existsSync(other));
  }
  assert.ok(existsSync(directory));
});

test("a damaged, newer, edited or exchanged file of the state is told apart", async (t) => {
  const parent = await scratch(t);
  const { directory, open } = makeTestSite(parent);
  const { site, authority: authorityPath, ledger } = statePaths(directory);
  const broken = (path: string, text: string, code: string) => {
    const before = readFileSync(path);
    writeFileSync(path, text);
    assert.throws(open, coded(code), `${path}: ${text}`);
    writeFileSync(path, before);
  };
  const text = readFileSync(site, "utf8");
  broken(site, "", "STATE_DAMAGED");
  broken(site, text.slice(0, -5), "STATE_DAMAGED");
  broken(site, `${text}\n`, "STATE_DAMAGED");
  broken(site, text.replace('"schemaVersion":1', '"schemaVersion":2'), "STATE_TOO_NEW");
  broken(site, text.replace(/"siteId":"[0-9a-f]{32}"/, `"siteId":"${"0".repeat(32)}"`), "LEDGER_OTHER_SITE");
  broken(site, "x".repeat(2 * 1024 * 1024), "STATE_UNREADABLE");
  const people = readFileSync(authorityPath, "utf8");
  broken(authorityPath, people.replace("alice", "mallory"), "AUTHORITY_CHANGED");
  broken(authorityPath, people.replace('"upgrade":1', '"upgrade":9'), "AUTHORITY_THRESHOLD");
  broken(ledger, "", "LEDGER_DAMAGED");
  rmSync(authorityPath);
  assert.throws(open, coded("STATE_DAMAGED"));
  symlinkSync("/etc/hostname", authorityPath);
  assert.throws(open, coded("STATE_UNREADABLE"));
});

test("site init that was cut anywhere leaves no site or a whole one, and can be run again", async (t) => {
  const parent = await scratch(t);
  const whole = new FaultyDisk();
  createSite(join(parent, "whole"), authority, { ...options, disk: whole });
  assert.ok(whole.calls > 40, `${whole.calls} calls`);
  const ends = new Set<string>();
  const kinds = ["power", "kill", "error"] as const;
  // Every call, with one kind of fault each, or with SEALIFT_FAULT_RUNS all.
  const perCall = process.env["SEALIFT_FAULT_RUNS"] ? kinds.length : 1;
  for (let at = 1; at <= whole.calls; at += 1) {
    for (let i = 0; i < perCall; i += 1) {
      const kind = kinds[(at + i) % kinds.length] as (typeof kinds)[number];
      const directory = join(parent, `${kind}-${at}`);
      const fault: Fault = kind === "error" ? { kind, code: "EIO", at, forever: true } : { kind, at };
      const disk = new FaultyDisk(fault, at);
      try {
        createSite(directory, authority, { ...options, disk });
        // A seed with fewer short writes makes fewer calls.
        disk.cutPower();
      } catch (error) {
        if (!(error instanceof PowerCut)) coded("STATE_WRITE_FAILED")(error as { code?: string });
      }
      try {
        openSite(directory, options);
        ends.add("whole");
      } catch (error) {
        const { code = "" } = error as { code?: string };
        assert.match(code, /^STATE_(?:NOT_FOUND|HALF_WRITTEN)$/, `${kind} at ${at}: ${error}`);
        ends.add(code);
        createSite(directory, authority, options);
        openSiteForChange(directory, options);
      }
      if (existsSync(directory)) rmSync(directory, { recursive: true });
    }
  }
  assert.deepEqual([...ends].sort(), ["STATE_HALF_WRITTEN", "STATE_NOT_FOUND", "whole"]);
});

test("who is not root is told so, of reading and of writing, with the code of what is not met; root is told of the disk", (t) => {
  const denied = Object.assign(new Error("EACCES: permission denied"), { code: "EACCES" });
  const disk: Disk = {
    ...hostDisk,
    open: () => {
      throw denied;
    },
  };
  const read = (): SealiftError => unreadable("/site/ledger", denied);
  const write = (): void => writeWhole(disk, "/site/ledger", Buffer.from("x"));
  const user = t.mock.method(process as { geteuid: () => number }, "geteuid", () => 1000);
  assert.deepEqual([read().code, read().exit], ["STATE_NOT_ROOT", 4]);
  assert.match(read().hints.join(), /run this as root/);
  assert.throws(write, coded("STATE_NOT_ROOT"));
  user.mock.mockImplementation(() => 0);
  assert.deepEqual([read().code, read().exit, read().hints], ["STATE_UNREADABLE", 5, []]);
  assert.throws(write, coded("STATE_WRITE_FAILED"));
});
