import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { digestOf, hexOf } from "../../../bundles/model/digest.ts";
import { engineError } from "../../../compose/engine/error.ts";
import { writeToldMark } from "../../../installer/audit/ledger-events.ts";
import { FINDINGS_MAX } from "../../../installer/lifecycle/fsck/check-log.ts";
import { type FsckReport, fsck, fsckExit } from "../../../installer/lifecycle/fsck/fsck.ts";
import { appendEntry, readLedger } from "../../../installer/lifecycle/ledger.ts";
import { POLICY_CHANGED } from "../../../installer/lifecycle/policy-change.ts";
import { hostDisk } from "../../../installer/site/disk.ts";
import { makeIdentity, makeIdentityRoot } from "../../../installer/site/identities.ts";
import { statePaths } from "../../../installer/site/state.ts";
import { type InstalledSite, installedSite, overwrite } from "../../support/installed-site.ts";
import { testClock } from "../../support/test-site.ts";
import { coded } from "../../support/test-trust.ts";

const ENGINE_GONE = "ENGINE_UNREACHABLE";
const noEngine = async (): Promise<never> => {
  throw engineError(ENGINE_GONE, "there is none in this test");
};

const cleanups: (() => unknown)[] = [];
let site: InstalledSite;

before(async () => {
  site = await installedSite({ after: (work: () => unknown) => void cleanups.unshift(work) });
  execFileSync("cp", ["-a", site.directory, `${site.directory}.whole`]);
});
after(async () => {
  for (const work of cleanups) await work();
});

interface Look {
  readonly content?: boolean;
  readonly now?: string;
}

/** Codes that `fsck` has for the damage that `harm` does, but for the engine's, which is not there. */
async function codesAfter(harm: () => unknown, look: Look = {}): Promise<{ codes: string[]; report: FsckReport }> {
  rmSync(site.directory, { recursive: true });
  execFileSync("cp", ["-a", `${site.directory}.whole`, site.directory]);
  await harm();
  const clock = look.now === undefined ? site.clock.read : testClock(look.now).read;
  const report = await fsck(site.directory, { clock, content: look.content === true, engine: noEngine });
  const codes = report.findings.map(({ code }) => code).filter((code) => code !== ENGINE_GONE);
  return { codes, report };
}

const release = (): string => `store/${hexOf(site.deployments.current?.release ?? digestOf(""))}`;
/** A carried file's blob: nothing reads it to know what the release is. */
function layer(): string {
  const blobs = site.path(`${release()}/blobs/sha256`);
  return join(blobs, readdirSync(blobs).find((name) => (statSync(join(blobs, name)).mode & 0o777) === 0o644) ?? "");
}
const flip = (path: string, at: number): void => {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
};
const edit = (name: string, from: string | RegExp, to: string): void => {
  const text = readFileSync(site.path(name), "latin1");
  const changed = text.replace(from, to);
  assert.ok(changed !== text, name);
  writeFileSync(site.path(name), changed, "latin1");
};
const rendered = (): string => `deployments/${site.deployments.current?.id}`;
const endedJournal = (): string =>
  `journal/${readdirSync(site.path("journal")).find((name) => name.endsWith(".journal"))}`;

test("a site that is whole has no findings but that there is no engine, whether or not contents are read", async () => {
  for (const content of [false, true]) {
    const { codes, report } = await codesAfter(() => {}, { content });
    assert.deepEqual([codes, report.warnings, report.omitted], [[], [], 0]);
    assert.deepEqual(
      report.findings.map(({ code, severity }) => [code, severity]),
      [[ENGINE_GONE, "degraded"]],
    );
    assert.equal(fsckExit(report), 4);
    const checked = report.checks.filter(({ status }) => status === "pass").map(({ check }) => check);
    assert.deepEqual(
      checked.join(),
      "files,records,journal,ledger,trust,policy,deployment,store,secrets,identities,disk",
    );
  }
});

const DAMAGES: readonly (readonly [
  what: string,
  harm: () => unknown,
  codes: readonly string[],
  exit: number,
  look?: Look,
])[] = [
  ["others may read the ledger", () => chmodSync(site.path("ledger"), 0o644), ["FSCK_FILE_MODE"], 3],
  ["others may enter a directory", () => chmodSync(site.path("trust"), 0o750), ["FSCK_FILE_MODE"], 3],
  ["others may write the switch", () => chmodSync(site.path("switch/active.map"), 0o666), ["FSCK_FILE_MODE"], 3],
  ["others may enter the state", () => chmodSync(site.directory, 0o755), ["STATE_UNSAFE"], 4],
  [
    "a link that leads to itself",
    () => {
      symlinkSync("loop", site.path("backups/loop"));
      symlinkSync(site.directory, site.path("site/around"));
    },
    ["FSCK_FILE_TYPE", "FSCK_FILE_TYPE"],
    3,
  ],
  [
    "a pipe in place of the switch",
    () => {
      rmSync(site.path("switch/active.map"));
      execFileSync("mkfifo", [site.path("switch/active.map")]);
    },
    ["FSCK_FILE_TYPE", "FSCK_SWITCH_DIFFERS"],
    3,
  ],
  [
    "a file that was not whole",
    () => writeFileSync(site.path("site/.site.json.new"), "{", { mode: 0o600 }),
    ["FSCK_LEFTOVER"],
    4,
  ],
  [
    "a backup that a killed restore left in clear",
    () => mkdirSync(site.path(".spool.new"), 0o700),
    ["FSCK_LEFTOVER"],
    4,
  ],
  [
    "a release that was not whole",
    () => mkdirSync(site.path(`store/.${"0".repeat(64)}.staging`), 0o700),
    ["FSCK_LEFTOVER"],
    4,
  ],
  [
    "a name that Sealift gives nothing",
    () => writeFileSync(site.path("\u001b[2Jnotes"), "", { mode: 0o600 }),
    ["FSCK_UNKNOWN_FILE"],
    4,
  ],
  ["something else in the store", () => mkdirSync(site.path("store/tmp"), 0o700), ["FSCK_UNKNOWN_FILE"], 4],
  ["a directory is gone", () => rmSync(site.path("backups"), { recursive: true }), ["FSCK_FILE_MISSING"], 4],
  ["who the site is cannot be read", () => overwrite(site.path("site/site.json"), "{}"), ["STATE_DAMAGED"], 6],
  [
    "parts of two sites were mixed",
    () => edit("site/site.json", /"siteId":"./, '"siteId":"f'),
    ["LEDGER_OTHER_SITE"],
    3,
  ],
  [
    "somebody edited the operators",
    () => edit("site/authority.json", '"version":1', '"version":2'),
    ["AUTHORITY_CHANGED"],
    3,
  ],
  [
    "what runs was edited",
    () => edit("site/deployment.json", '"colour":"blue"', '"colour":"green"'),
    ["DEPLOYMENT_CHANGED"],
    3,
  ],
  [
    "a record as large as a disk",
    () => truncateSync(site.path("site/deployment.json"), 2 ** 40),
    ["STATE_UNREADABLE"],
    4,
  ],
  [
    "what the audit log was told cannot be read",
    () => writeFileSync(site.path("site/audit-told.json"), "?", { mode: 0o600 }),
    ["STATE_DAMAGED"],
    6,
  ],
  [
    "the audit log was told another history",
    () => {
      const paths = statePaths(site.directory);
      writeToldMark(hostDisk, paths, { schemaVersion: 1, length: 2, head: digestOf("another"), index: 7 });
    },
    ["LEDGER_DIFFERS"],
    3,
  ],
  ["the root of the identities", () => overwrite(site.path("site/identity-root.pem"), "?"), ["STATE_DAMAGED"], 6],
  [
    "an operation that did not end",
    () => {
      const lines = readFileSync(site.path(endedJournal()), "utf8").split("\n");
      writeFileSync(site.path("journal/open"), `${lines.slice(0, 2).join("\n")}\n`, { mode: 0o600 });
    },
    ["JOURNAL_INCOMPLETE"],
    6,
  ],
  [
    "its journal is damaged",
    () => {
      const text = readFileSync(site.path(endedJournal()), "utf8");
      writeFileSync(site.path("journal/open"), text.replace('"intent"', '"intend"'), { mode: 0o600 });
    },
    ["JOURNAL_DAMAGED"],
    6,
  ],
  ["a journal that ended is gone", () => rmSync(site.path(endedJournal())), ["FSCK_JOURNAL_CHANGED"], 3],
  [
    "a journal that ended was edited",
    () => edit(endedJournal(), '"type":"intent"', '"type":"intend"'),
    ["FSCK_JOURNAL_CHANGED"],
    3,
  ],
  [
    "an entry of the ledger was edited",
    () => edit("ledger", '\\"reason\\":\\"test\\"', '\\"reason\\":\\"best\\"'),
    ["LEDGER_DAMAGED"],
    3,
  ],
  [
    "somebody moved the site without an authorization",
    () => {
      const data = { id: "0".repeat(32), operation: "upgrade", result: "committed", deployments: site.deployments };
      const paths = statePaths(site.directory);
      appendEntry(hostDisk, paths.ledger, "operation", data, site.clock.read());
    },
    ["LEDGER_UNAUTHORIZED"],
    3,
  ],
  [
    "a policy that nobody can read",
    () => {
      const paths = statePaths(site.directory);
      appendEntry(hostDisk, paths.ledger, POLICY_CHANGED, { policy: "?" }, site.clock.read());
    },
    ["STATE_DAMAGED"],
    6,
  ],
  [
    "a file of the release trust was edited",
    () => {
      const [name = ""] = readdirSync(site.path("trust"));
      appendFileSync(site.path(`trust/${name}/1.root.json`), " ");
    },
    ["TRUST_CHANGED"],
    3,
  ],
  [
    "a rendered file was edited",
    () => appendFileSync(site.path(`${rendered()}/base.json`), " "),
    ["DEPLOYMENT_DAMAGED"],
    3,
  ],
  [
    "the configuration was edited",
    () => appendFileSync(site.path(`${rendered()}/config.json`), " "),
    ["STATE_DAMAGED"],
    6,
  ],
  [
    "the switch leads elsewhere",
    () => writeFileSync(site.path("switch/active.map"), "active green\n"),
    ["FSCK_SWITCH_DIFFERS"],
    4,
  ],
  ["a layer was cut off", () => truncateSync(layer(), 3), ["FSCK_STORE_CHANGED"], 3],
  ["a layer is gone", () => rmSync(layer()), ["LAYOUT_BLOB_MISSING"], 3],
  ["others may write a layer", () => chmodSync(layer(), 0o622), ["FSCK_STORE_CHANGED"], 3],
  ["a bit of a layer flipped", () => flip(layer(), 5), ["FSCK_STORE_CHANGED"], 3, { content: true }],
  [
    "a blob that is not of the release",
    () => writeFileSync(site.path(`${release()}/blobs/sha256/${"0".repeat(64)}`), ""),
    ["FSCK_STORE_CHANGED"],
    3,
  ],
  ["a file that is of no layout", () => writeFileSync(site.path(`${release()}/more`), ""), ["RELEASE_NOT_STORED"], 4],
  ["the release is gone", () => rmSync(site.path(release()), { recursive: true }), ["RELEASE_NOT_STORED"], 4],
  [
    "a name for a layer elsewhere",
    () => linkSync(layer(), `${site.directory}.${Math.random()}`),
    ["FSCK_FOREIGN_LINK"],
    4,
  ],
  ["a secret is gone", () => rmSync(site.path("secrets/gateway/key")), ["FSCK_SECRET_MISSING"], 4],
  ["others may read a secret", () => chmodSync(site.path("secrets/gateway/key"), 0o444), ["FSCK_FILE_MODE"], 3],
  [
    "a secret has another name",
    () => linkSync(site.path("secrets/gateway/key"), site.path("secrets/k")),
    ["FSCK_FILE_MODE", "FSCK_SECRET_UNKNOWN"],
    3,
  ],
  [
    "a secret that nobody declares",
    () => writeFileSync(site.path("secrets/gateway/old"), "x", { mode: 0o400 }),
    ["FSCK_SECRET_UNKNOWN"],
    4,
  ],
  ["two files of one password differ", () => overwriteSecret("secrets/gateway/password", "x"), ["STATE_DAMAGED"], 6],
  [
    "an identity cannot be read",
    () => overwriteSecret("secrets/gateway/identity/identity.pem", "x"),
    ["FSCK_IDENTITY_UNUSABLE"],
    4,
  ],
  [
    "an identity of another site",
    () => {
      const rule = { service: "gateway", directory: "gateway/identity", uid: 10001 };
      const [file] = makeIdentity(rule, makeIdentityRoot());
      overwriteSecret("secrets/gateway/identity/identity.pem", file?.bytes ?? "");
    },
    ["FSCK_IDENTITY_UNUSABLE"],
    4,
  ],
  ["the certificate for clients has ended", () => {}, ["FSCK_CERTIFICATE"], 4, { now: "2035-01-01T00:00:00.000Z" }],
];

function overwriteSecret(name: string, bytes: string | Buffer): void {
  overwrite(site.path(name), bytes);
  chmodSync(site.path(name), 0o400);
}

for (const [what, harm, wanted, exit, look] of DAMAGES) {
  test(`${what}: ${[...new Set(wanted)].join(", ")}, exit ${exit}`, async () => {
    const { codes, report } = await codesAfter(harm, look);
    assert.deepEqual(codes, wanted, JSON.stringify(report.findings, null, 1));
    assert.equal(fsckExit(report), exit);
    for (const { code, message, hints } of report.findings) {
      assert.ok(hints.length > 0, `${code} has no hint: ${message}`);
    }
  });
}

test("a bit that flipped in a layer is not seen without --content, which says so", async () => {
  const { codes, report } = await codesAfter(() => flip(layer(), 5));
  assert.deepEqual(codes, []);
  assert.match(report.checks.find(({ check }) => check === "store")?.reason ?? "", /fsck --content/);
});

test("a secret of another owner is found by root", { skip: process.getuid?.() !== 0 && "needs root" }, async () => {
  const { codes } = await codesAfter(() => chownSync(site.path("secrets/gateway/key"), 4711, 4711));
  assert.deepEqual(codes, ["FSCK_FILE_MODE"]);
});

test("what a power cut tears off the ledger is no damage, and is told", async () => {
  const { codes, report } = await codesAfter(() => appendFileSync(site.path("ledger"), '{"bootId":"boot-1"'));
  assert.deepEqual(codes, []);
  assert.match(report.warnings.join(), /the ledger ends with 18 bytes that a power cut tore/);
});

test("no value of a secret is in a report, whatever is wrong with the secrets", async () => {
  const values: string[] = [];
  const { report } = await codesAfter(() => {
    for (const name of ["secrets/gateway/key", "secrets/gateway/password", "secrets/gateway/identity/identity.pem"]) {
      values.push(readFileSync(site.path(name), "latin1").slice(0, 40));
      overwrite(site.path(name), `${"CANARY".repeat(20)}\n`);
    }
  });
  const text = JSON.stringify(report);
  assert.ok(report.findings.length > 3);
  for (const value of ["CANARY", ...values]) assert.ok(!text.includes(value));
});

test("findings of one check are bounded, and what is left out is counted", async () => {
  const { codes, report } = await codesAfter(() => {
    for (let i = 0; i < FINDINGS_MAX + 50; i += 1) symlinkSync("x", site.path(`backups/${i}`));
  });
  assert.deepEqual([codes.length, report.omitted], [FINDINGS_MAX, 50]);
});

test("nothing of the site is changed by looking at it", async () => {
  const seen = (): string =>
    execFileSync("find", [site.directory, "-printf", "%p %m %U %s %T@ %i\n"], { encoding: "utf8" });
  let before = "";
  const remember = (): void => {
    before = seen();
  };
  await codesAfter(remember, { content: true });
  assert.equal(seen(), before);
  assert.ok(readLedger(statePaths(site.directory).ledger).entries.length > 2);
});

test("where there is no site, or one that was never whole, there is nothing to check", async () => {
  const options = { clock: site.clock.read, content: false, engine: noEngine };
  await assert.rejects(fsck(site.path("nowhere"), options), coded("STATE_NOT_FOUND"));
  await assert.rejects(fsck(site.path("backups"), options), coded("STATE_NOT_FOUND"));
  await assert.rejects(
    codesAfter(() => rmSync(site.path("site/site.json"))),
    coded("STATE_HALF_WRITTEN"),
  );
});
