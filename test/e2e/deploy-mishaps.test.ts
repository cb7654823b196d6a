/**
 * What happens to a site's own state, and to what it keeps: each is found before it does harm, and has a way
 * back that an operator can type.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { type Digest, hexOf } from "../../bundles/model/digest.ts";
import { storedPath } from "../../installer/site/store.ts";
import { KillCampaign } from "../support/kill-campaign.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";
import { smallRelease, writeSmallBundle } from "../support/small-bundle.ts";

const PORT = 18_943;

inOwnMachine(import.meta.url, "a site's own state is damaged, and put right", defineTests, () =>
  prepareReleases("first", "next"),
);

function defineTests(): void {
  const cleanups: (() => Promise<void>)[] = [];
  let directory: string;
  let site: RunningSite;
  let whole: KillCampaign;
  let [first, next] = ["", ""];

  before(async () => {
    directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    site = await RunningSite.start(directory, "containerd");
    cleanups.unshift(() => site.engine.stop());
    whole = new KillCampaign(site, directory, PORT);
    [first, next] = [(await realRelease("first")).bundle, (await realRelease("next")).bundle];
    await whole.complete("install");
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  const succeed = async (...args: readonly string[]): Promise<string> => {
    const { exit, stdout, stderr } = await site.run(...args);
    assert.equal(exit, 0, stdout + stderr);
    return stdout;
  };
  const release = (): Digest => whole.deployments().current?.release as Digest;
  const store = (): string => storedPath(site.site.state, release());

  it("fsck finds nothing on a whole site, and each thing that happens to its containers with a way back", async () => {
    const clean = await look("--content");
    assert.deepEqual([clean.exit, clean.findings, clean.warnings], [0, [], []], clean.said);
    assert.deepEqual(clean.passed, clean.checks, clean.said);
    const unpacked = execFileSync("find", [join(directory, "engine"), "-path", "*/fs/etc/os-release"], {
      encoding: "utf8",
    });
    // Not every snapshot on the disk is below a container: two pulls can unpack one layer, and one of them is left.
    const mounted = readFileSync("/proc/mounts", "utf8");
    const isBelow = (path: string): boolean => mounted.includes(path.slice(0, -"/etc/os-release".length));
    const file = unpacked.trim().split("\n").find(isBelow) ?? "";
    const bytes = readFileSync(file);
    appendFileSync(file, "HOME_URL=x\n");
    const spoilt = await look("--content");
    writeFileSync(file, bytes);
    assert.equal(spoilt.exit, 3, spoilt.said);
    assert.deepEqual([...new Set(spoilt.codes)], ["FSCK_IMAGE_FILES_DIFFER"], spoilt.said);
    assert.match(spoilt.said, /os-release.*: has other bytes/);
    const [gateway, postgres] = [await containerOf("gateway"), await containerOf("postgres")];
    await docker("update", "--memory", "300m", "--memory-swap", "300m", gateway);
    const changed = await look();
    assert.deepEqual([changed.exit, changed.codes], [3, ["ENGINE_CONTAINER_DIFFERS"]], changed.said);
    await docker("rm", "--force", gateway);
    const tag = (await docker("images", "--format", "{{.Repository}}:{{.Tag}}"))
      .split("\n")
      .find((one) => one.includes("/pii:"));
    await docker("image", "rm", tag ?? "");
    await docker("stop", postgres, await containerOf("audit"));
    const unsigned = await site.run("audit", "verify", "--checkpoint");
    assert.equal(unsigned.exit, 4, unsigned.stderr);
    assert.match(unsigned.stderr, /\[AUDIT_CHECKPOINT_NOT_MADE\]/);
    const broken = await look();
    assert.equal(broken.exit, 3, broken.said);
    for (const code of ["FSCK_TAG_MISSING", "ENGINE_CONTAINER_DIFFERS", "FSCK_NOT_RUNNING", "SITE_DATABASE_DOWN"]) {
      assert.ok(broken.codes.includes(code), `${code}: ${broken.said}`);
    }
    const [command = ""] = broken.findings.find(({ code }) => code === "FSCK_TAG_MISSING")?.hints ?? [];
    assert.match(command, /^docker tag \S+ sealift\.invalid\/\S+$/);
    await docker(...command.split(" ").slice(1));
    await succeed("start");
    const mended = await look();
    assert.deepEqual([mended.exit, mended.findings], [0, []], mended.said);
    const signed = JSON.parse(await succeed("audit", "verify", "--checkpoint", "--json"));
    assert.deepEqual([signed.holds, signed.behindCheckpoint], [true, 0]);
    assert.ok(signed.ledgerEntries > 0);
  });

  it("a support bundle of a site that runs has all its parts, and no secret of the site", async () => {
    const out = join(directory, "support.tar");
    const made = JSON.parse(await succeed("support-bundle", "--out", out, "--json")) as {
      readonly files: readonly { readonly name: string }[];
      readonly notGathered: readonly unknown[];
    };
    assert.deepEqual(made.notGathered, []);
    for (const service of ["front", "postgres", "audit", "gateway", "pii", "model"]) {
      const isLog = ({ name }: { readonly name: string }): boolean =>
        /^logs\/.*-([a-z]+)\.jsonl$/.exec(name)?.[1] === service;
      assert.ok(made.files.some(isLog), service);
    }
    const text = readFileSync(out, "latin1").toLowerCase();
    assert.match(text, /"level":"info","service":"gateway","event":"listening"/);
    const secrets = readdirSync(join(site.site.state, "secrets"), { recursive: true, withFileTypes: true })
      .filter((one) => one.isFile())
      .flatMap((one) => readFileSync(join(one.parentPath, one.name), "latin1").trim().split("\n"))
      .filter((line) => !line.startsWith("-----") && line.length > 10);
    assert.ok(secrets.length > 20);
    for (const secret of secrets) {
      const bytes = Buffer.from(secret, "latin1");
      for (const form of [secret, bytes.toString("hex"), bytes.toString("base64").replace(/.{0,3}=*$/, "")]) {
        assert.ok(!text.includes(form.toLowerCase()), form);
      }
    }
  });

  it("a bit flips in a file that containers read: start refuses it; recover brings it back from the medium", async () => {
    const files = JSON.parse(await succeed("status", "--json")) as { current: { release: string } };
    assert.equal(files.current.release, release());
    const [model = ""] = mountedFiles(await whole.docker("inspect", await containerOf("model")), store());
    assert.ok(model.startsWith(store()), "the model's container mounts a file of the store");
    flipBit(model, 1_000);
    assert.equal((await look()).exit, 0, "nobody read it");
    const found = await look("--content");
    assert.deepEqual([found.exit, found.codes], [3, ["FSCK_STORE_CHANGED"]], found.said);
    const refused = await site.run("start");
    assert.equal(refused.exit, 4, refused.stderr);
    assert.match(refused.stderr, /\[RELEASE_DAMAGED\].*\n {2}hint: sealift recover --bundle BUNDLE /);
    const other = await site.run("recover", "--bundle", next);
    assert.equal(other.exit, 4, other.stderr);
    assert.match(other.stderr, /\[RELEASE_NOT_NEEDED\]/);
    const unsigned = join(directory, "unsigned.tar");
    await writeSmallBundle(unsigned, smallRelease());
    const denied = await site.run("recover", "--bundle", unsigned);
    assert.equal(denied.exit, 3, denied.stderr);
    assert.match(denied.stderr, /SIGNATURE_/);
    assert.match(await succeed("recover", "--bundle", first), /^release 1\.0\.0 is whole in the site's store$/m);
    await succeed("start");
    await whole.assertWhole();
    assert.match(await succeed("ledger", "show"), /release-restored/);
  });

  it("what says what the release is gets lost: status tells, upgrade refuses, uninstall could go on, recover mends", async () => {
    flipBit(join(store(), "blobs/sha256", hexOf(release())), 50);
    const { exit, stdout } = await site.run("status");
    assert.equal(exit, 4, stdout);
    assert.match(stdout, /PROBLEM release .* is not whole in the site's store/);
    assert.match(stdout, /PROBLEM sealift recover --bundle BUNDLE/);
    const refused = await site.refused(4, "RELEASE_NOT_STORED", "upgrade", next);
    assert.match(refused.stderr, /hint: sealift recover --bundle BUNDLE/);
    assert.match(await succeed("uninstall", "--plan"), /its copy is damaged, so its images stay in the engine/);
    await succeed("recover", "--bundle", first);
    await whole.assertWhole();
    await site.assertAt("1.0.0");
  });

  it("somebody lowers the security floor in deployment.json: no verb relies on it, and recover puts it right", async () => {
    const path = join(site.site.state, "site/deployment.json");
    const saved = readFileSync(path, "utf8");
    const floor = JSON.stringify(whole.deployments().securityFloor);
    const lowered = saved.replace(`"securityFloor":${floor}`, '"securityFloor":"0.0.0-lowered"');
    assert.notEqual(lowered, saved);
    writeFileSync(path, lowered);
    for (const verb of [["upgrade", next], ["prune"], ["uninstall"], ["stop"]]) {
      const keys = verb[0] === "stop" ? [] : ["--key", site.site.operatorKey];
      const { exit, stderr } = await site.run(...verb, ...keys);
      assert.equal(exit, 3, stderr);
      assert.match(stderr, /\[DEPLOYMENT_CHANGED\]/);
      assert.ok(stderr.includes(`securityFloor: got "0.0.0-lowered", want ${floor}`), stderr);
    }
    const { exit, stdout } = await site.run("status");
    assert.equal(exit, 6, stdout);
    assert.match(stdout, /PROBLEM sealift recover writes /);
    const edited = await look();
    assert.deepEqual([edited.exit, edited.codes], [3, ["DEPLOYMENT_CHANGED"]], edited.said);
    await succeed("recover");
    assert.equal(readFileSync(path, "utf8"), saved);
    await whole.assertWhole();
  });

  it("after an uninstall the data stays: only what could have run on it is installed there", async () => {
    await whole.complete("upgrade");
    await whole.complete("uninstall");
    assert.equal(whole.deployments().data?.version, "1.1.0");
    // 1.1.0 lets a site return to 1.0.0, so its data does, too.
    assert.match(await succeed("install", first, "--plan"), /data: kept from 1\.1\.0, and used again/);
    await whole.complete("install");
    assert.equal(whole.deployments().data?.version, "1.1.0");
    await site.assertAt("1.0.0");
    await site.change("uninstall", "--purge-data");
    assert.equal(await whole.docker("volume", "ls", "--quiet"), "");
    assert.equal(whole.deployments().data, null);
  });

  it("data of which nobody knows who wrote it is not used", async () => {
    const { siteId } = await site.status();
    await whole.docker("volume", "create", "--label", `sealift.site=${siteId}`, "left");
    const { stderr } = await site.refused(4, "INSTALL_DATA_UNKNOWN", "install", first);
    assert.match(stderr, /: left\n {2}hint: docker volume ls --filter label=sealift.site=/);
    await whole.docker("volume", "rm", "left");
  });

  interface Look {
    readonly exit: number | null;
    readonly said: string;
    readonly findings: readonly { readonly code: string; readonly hints: readonly string[] }[];
    readonly codes: readonly string[];
    readonly warnings: readonly string[];
    readonly checks: readonly string[];
    readonly passed: readonly string[];
  }

  async function look(...options: readonly string[]): Promise<Look> {
    const { exit, stdout, stderr } = await site.run("fsck", ...options, "--json");
    const report = JSON.parse(stdout || "{}") as Pick<Look, "findings" | "warnings"> & {
      readonly checks: readonly { readonly check: string; readonly status: string }[];
    };
    return {
      exit,
      said: stdout + stderr,
      findings: report.findings,
      codes: report.findings.map(({ code }) => code),
      warnings: report.warnings,
      checks: report.checks.map(({ check }) => check),
      passed: report.checks.filter(({ status }) => status === "pass").map(({ check }) => check),
    };
  }

  function docker(...args: readonly string[]): Promise<string> {
    return whole.docker(...args);
  }

  async function containerOf(service: string): Promise<string> {
    return whole.docker("ps", "--quiet", "--filter", `label=com.docker.compose.service=${service}`);
  }
}

function mountedFiles(inspected: string, below: string): string[] {
  const [{ Mounts }] = JSON.parse(inspected) as [{ readonly Mounts: readonly { readonly Source: string }[] }];
  return Mounts.map(({ Source }) => Source).filter((source) => source.startsWith(below));
}

function flipBit(path: string, position: number): void {
  const bytes = readFileSync(path);
  bytes[position] = (bytes[position] as number) ^ 1;
  writeFileSync(path, bytes);
}
