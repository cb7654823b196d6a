import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import test, { after, before } from "node:test";
import { digestOf } from "../../../bundles/model/digest.ts";
import type { SealiftError } from "../../../bundles/model/sealift-error.ts";
import type { Engine } from "../../../compose/engine/engine.ts";
import { engineError } from "../../../compose/engine/error.ts";
import { projectName } from "../../../compose/render.ts";
import { appendEntry } from "../../../installer/lifecycle/ledger.ts";
import {
  gatherSupport,
  type SupportBundle,
  type SupportOptions,
  writeSupport,
} from "../../../installer/lifecycle/support-bundle/support-bundle.ts";
import { hostDisk } from "../../../installer/site/disk.ts";
import { statePaths } from "../../../installer/site/state.ts";
import { openLog } from "../../compose/services/audit/audit-directory.ts";
import { type FakeEngineContent, fakeEngine } from "../../support/fake-engine.ts";
import { type InstalledSite, installedSite, overwrite } from "../../support/installed-site.ts";
import { scratch } from "../../support/scratch.ts";
import { coded } from "../../support/test-trust.ts";

const CANARIES = {
  password: "CanaryPassw0rd",
  apiKey: "sealift_canaryabcd23_CanaryKeyCanaryKeyCanaryKey",
  prompt: "What does the canary sing at dawn?",
  name: "Canary Birdsong",
  hex: "ca11a24e".repeat(8),
};

const cleanups: (() => unknown)[] = [];
const context = { after: (work: () => unknown) => void cleanups.unshift(work) };
let site: InstalledSite;

before(async () => {
  site = await installedSite(context);
  plant(site);
  execFileSync("cp", ["-a", site.directory, `${site.directory}.whole`]);
});
after(async () => {
  for (const work of cleanups) await work();
});

const all = Object.values(CANARIES).join(" ");

/** Canaries wherever somebody might leave something. */
function plant({ directory, path, clock }: InstalledSite): void {
  const failed = path("failed/0123456789abcdef0123456789abcdef");
  mkdirSync(failed, { recursive: true, mode: 0o700 });
  writeFileSync(join(failed, "gateway.log"), log());
  writeFileSync(join(failed, `${CANARIES.hex}.log`), log());
  writeFileSync(path(`backups/${CANARIES.password}`), all);
  writeFileSync(path(CANARIES.hex), all);
  writeFileSync(path("secrets/gateway/stray"), CANARIES.hex);
  writeFileSync(path("lock"), JSON.stringify({ pid: 1, user: CANARIES.name, what: all }));
  writeFileSync(path("site/audit-told.json"), JSON.stringify({ note: all }));
  symlinkSync(CANARIES.password, path("backups/link"));
  const paths = statePaths(directory);
  const data = { reason: all, operation: CANARIES.name, action: CANARIES.apiKey, release: CANARIES.hex };
  appendEntry(hostDisk, paths.ledger, "note", data, clock.read());
}

function log(): string {
  const stamp = "2026-11-21T08:00:00.000000000Z";
  const line = { time: "2026-11-21T08:00:00.000Z", level: "info", service: "gateway", event: "listening", port: 8443 };
  return [
    JSON.stringify(line),
    JSON.stringify({ ...line, prompt: CANARIES.prompt, apiKey: CANARIES.apiKey, requestId: CANARIES.hex }),
    JSON.stringify({ ...line, event: CANARIES.password, service: CANARIES.name, code: CANARIES.apiKey }),
    `2026-11-21 08:00:00.000 UTC [7] ERROR:  canary ${all}`,
    all,
    Buffer.from(all).toString("base64"),
  ]
    .map((said) => `${stamp} ${said}\n`)
    .join("");
}

function engineContent(): FakeEngineContent {
  const { siteId } = site.open();
  const project = projectName(siteId, "blue");
  const Labels = {
    "com.docker.compose.project": project,
    "com.docker.compose.service": "gateway",
    "com.docker.compose.oneoff": "False",
    "sealift.site": siteId,
    note: all,
  };
  const inspected = {
    Name: `/${project}-gateway-1`,
    Args: [all],
    RestartCount: 3,
    State: { Status: "running", Running: true, Error: all, Health: { Status: "unhealthy", Log: [{ Output: all }] } },
    Config: { Labels, Env: [`PASSWORD=${CANARIES.password}`, CANARIES.apiKey], Cmd: [all], User: CANARIES.hex },
    HostConfig: { Binds: [all], SecurityOpt: [all] },
    Mounts: [{ Type: "bind", Source: `/${CANARIES.hex}`, Destination: `/${all}` }],
    NetworkSettings: { Networks: {} },
  };
  return {
    containers: [{ Id: "c1", Names: [`/${project}-gateway-1`], Labels }],
    inspected: new Map([["c1", inspected]]),
    info: { Containers: 4, Name: CANARIES.name, Labels: [all], HttpProxy: CANARIES.password, KernelVersion: "6.12.0" },
    log: log(),
  };
}

async function gather(engine: () => Promise<Engine>, options: Partial<SupportOptions> = {}): Promise<SupportBundle> {
  const doctor = async () =>
    [
      { check: "engine", status: "fail", message: all, fix: all, reason: all },
      { check: CANARIES.password, status: "pass", message: all },
    ] as const;
  return gatherSupport(site.directory, { clock: site.clock.read, engine, doctor, ...options });
}

const gone = async (): Promise<never> => {
  throw engineError("ENGINE_UNREACHABLE", all);
};

function files({ tar }: SupportBundle): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; tar[at] !== 0; ) {
    const name = tar.toString("latin1", at, at + 100).replace(/\0.*$/s, "");
    const size = Number.parseInt(tar.toString("latin1", at + 124, at + 135), 8);
    found.set(name, tar.toString("utf8", at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return found;
}

/** No canary and no secret of the site, in plain, base64 or hexadecimal. */
function assertClean({ tar }: SupportBundle): number {
  const secrets = ["secrets", "site"].flatMap((name) =>
    readdirSync(site.path(name), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && (name === "secrets" || entry.name.endsWith(".pem")))
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1").trim()),
  );
  const lines = secrets.flatMap((secret) => secret.split("\n")).filter((line) => !line.startsWith("-----"));
  const words = all.split(" ");
  const needles = [...Object.values(CANARIES), ...words, ...lines].filter((needle) => needle.length >= 10);
  const text = tar.toString("latin1").toLowerCase();
  for (const needle of needles) {
    const bytes = Buffer.from(needle);
    const forms = [
      needle,
      bytes.toString("hex"),
      bytes.toString("base64").replace(/.{0,3}=*$/, ""),
      bytes.toString("base64url"),
    ];
    for (const form of forms) assert.ok(!text.includes(form.toLowerCase()), `${needle} as ${form}`);
  }
  return needles.length;
}

test("nothing that was planted, and no secret of the site, is in the bundle", async () => {
  const volume = await scratch(context as Parameters<typeof scratch>[0]);
  const log = await openLog(volume);
  await log.append([Buffer.from(JSON.stringify({ note: all }))]);
  await log.checkpoint();
  await log.close();
  const engine = await fakeEngine(context, { ...engineContent(), mountpoints: [volume] });
  const bundle = await gather(async () => engine);
  assert.deepEqual(bundle.manifest.notGathered, []);
  assert.ok(assertClean(bundle) > 30);
  const found = files(bundle);
  for (const name of [
    ...["README.txt", "manifest.json", "versions.json", "doctor.json", "site.json", "fsck.json", "ledger.json"],
    ...["journal.json", "deployment.json", "compose/base.json", "compose/containers.json", "engine.json"],
    ...["audit-log.json", "containers.json", "disk.json", "failed/0123456789abcdef0123456789abcdef-gateway.jsonl"],
  ]) {
    assert.ok(found.has(name), name);
  }
  const [, logged = ""] = [...found].find(([name]) => name.startsWith("logs/")) ?? [];
  assert.match(logged, /"event":"listening","port":8443/);
  assert.match(logged, /\{"linesShown":3,"linesLeftOut":3\}\n$/);
  assert.match(found.get("containers.json") ?? "", /"RestartCount": 3/);
  assert.match(
    found.get("compose/containers.json") ?? "",
    /"gateway-key": \{\s+"file": "\/\S+\/secrets\/gateway\/key"/,
  );
});

test("the same with contents that hold no canary would be found: the test can fail", async () => {
  const bundle = await gather(gone);
  assert.throws(() => assertClean({ ...bundle, tar: Buffer.concat([bundle.tar, Buffer.from(CANARIES.hex)]) }));
  const secret = readFileSync(site.path("secrets/gateway/key"));
  for (const form of [secret, Buffer.from(secret.toString("hex")), Buffer.from(secret.toString("base64"))]) {
    assert.throws(() => assertClean({ ...bundle, tar: Buffer.concat([bundle.tar, form]) }));
  }
});

test("the manifest has the digest of each file, and says what is not here and why", async () => {
  const bundle = await gather(gone);
  const found = files(bundle);
  assert.deepEqual(JSON.parse(found.get("manifest.json") ?? ""), bundle.manifest);
  const [first, second, ...rest] = [...found.keys()];
  assert.deepEqual([first, second], ["README.txt", "manifest.json"]);
  assert.deepEqual(
    rest,
    bundle.manifest.files.map(({ name }) => name),
  );
  assert.deepEqual(rest, rest.toSorted());
  for (const { name, digest, bytes } of bundle.manifest.files) {
    const text = found.get(name) ?? "";
    assert.deepEqual([digestOf(text), Buffer.byteLength(text)], [digest, bytes], name);
    assert.doesNotMatch(text, /[^\x20-\x7e\n]/, name);
  }
  const codes = new Set(bundle.manifest.notGathered.map(({ code }) => code));
  assert.deepEqual([...codes], ["ENGINE_UNREACHABLE"]);
  assert.match(found.get("README.txt") ?? "", /containers\.json: ENGINE_UNREACHABLE\n.*Deliberately not in here/s);
});

test("a site whose state is half-written, damaged or not there is told as far as it goes", async () => {
  for (const [harm, lacks, has] of [
    [() => writeFileSync(site.path("journal/open"), "\u0000".repeat(500)), [], ["journal.json", "ledger.json"]],
    [() => overwrite(site.path("ledger"), "{"), ["ledger.json", "site.json"], ["journal.json", "doctor.json"]],
    [() => overwrite(site.path("site/site.json"), "{"), ["site.json"], ["ledger.json", "fsck.json"]],
    [() => overwrite(site.path("site/deployment.json"), all), ["deployment.json", "compose"], ["ledger.json"]],
    [
      () => overwrite(site.path(`deployments/${site.deployments.current?.id}/base.json`), all),
      ["compose"],
      ["fsck.json"],
    ],
    [() => rmSync(site.path("site/site.json")), ["site.json", "fsck.json"], ["doctor.json", "disk.json"]],
    [() => rmSync(site.directory, { recursive: true }), ["site.json", "ledger.json"], ["doctor.json", "versions.json"]],
  ] as const) {
    try {
      harm();
      const bundle = await gather(gone);
      const found = files(bundle);
      const missing = bundle.manifest.notGathered.map(({ name }) => name);
      for (const name of lacks) assert.ok(missing.includes(name) && !found.has(name), `${harm}: ${name} ${missing}`);
      for (const name of has) assert.ok(found.has(name), `${harm}: ${name}`);
      assert.ok(!bundle.manifest.notGathered.some(({ code }) => code === "INTERNAL"), `${harm}`);
      assert.ok(!bundle.tar.includes(CANARIES.password), `${harm}`);
    } finally {
      rmSync(site.directory, { recursive: true, force: true });
      execFileSync("cp", ["-a", `${site.directory}.whole`, site.directory]);
    }
  }
});

test("a secret that an allow list would let through is found by a second look, and its file left out", async () => {
  const words = "correct-horse-battery";
  overwrite(site.path("secrets/gateway/stray"), `${words}\n`);
  const doctor = async () => [{ check: words, status: "pass", message: "" }] as const;
  const bundle = await gather(gone, { doctor });
  assert.ok(
    bundle.manifest.notGathered.some(({ name, code }) => name === "doctor.json" && code === "SUPPORT_SECRET_FOUND"),
  );
  assert.ok(!bundle.tar.includes(words));
});

test("a secret that cannot be looked for is told: what was not found may still be there", async () => {
  const told = async (): Promise<boolean> =>
    (await gather(gone)).manifest.notGathered.some(({ name }) => name === "search for the site's secrets");
  const path = site.path("secrets/gateway/large");
  assert.equal(await told(), false);
  try {
    writeFileSync(path, "x".repeat(65_537));
    assert.equal(await told(), true);
  } finally {
    rmSync(path);
  }
});

test("a defect in one part costs that part only, and nothing of what was thrown is told", async () => {
  const doctor = async (): Promise<never> => {
    throw new TypeError(all);
  };
  const bundle = await gather(gone, { doctor });
  assert.ok(bundle.manifest.notGathered.some(({ name, code }) => name === "doctor.json" && code === "INTERNAL"));
  assertClean(bundle);
});

test("it is written for its owner alone, whole, and in place of nothing", async (t) => {
  const directory = await scratch(t);
  const path = join(directory, "support.tar");
  const { tar } = await gather(gone);
  writeSupport(hostDisk, path, tar);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.ok(readFileSync(path).equals(tar));
  assert.match(execFileSync("tar", ["-tf", path], { encoding: "utf8" }), /^README\.txt\nmanifest\.json\n/);
  assert.throws(() => writeSupport(hostDisk, path, tar), coded("FILE_EXISTS"));
  assert.throws(
    () => writeSupport(hostDisk, join(directory, "no/x"), tar),
    ({ code, message }: SealiftError) => code === "FILE_WRITE_FAILED" && message.split("destination").length === 2,
  );
  assert.deepEqual(
    readdirSync(directory).map((name) => relative(directory, join(directory, name))),
    ["support.tar"],
  );
});
