/**
 * What happens to a site's own state, and to what it keeps: each is found before it does harm, and has a way
 * back that an operator can type.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
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

  it("a bit flips in a file that containers read: start refuses it; recover brings it back from the medium", async () => {
    const files = JSON.parse(await succeed("status", "--json")) as { current: { release: string } };
    assert.equal(files.current.release, release());
    const [model = ""] = mountedFiles(await whole.docker("inspect", await containerOf("model")), store());
    assert.ok(model.startsWith(store()), "the model's container mounts a file of the store");
    flipBit(model, 1_000);
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
    const edited = saved.replace(`"securityFloor":${floor}`, '"securityFloor":"0.0.0-lowered"');
    assert.notEqual(edited, saved);
    writeFileSync(path, edited);
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
