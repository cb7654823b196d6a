/**
 * A site that requires attestation, on a real engine: nothing is installed, moved or made before an allow; what was installed
 * before may be started, and only with its secrets. No allow can be had without AMD's or Intel's hardware.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeVerifier, sitePolicyFor } from "../support/attested-site.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const PORT = 18661;

inOwnMachine(
  import.meta.url,
  "attestation is a gate of every change on a real engine",
  () => describe("a site that requires attestation", { timeout: 300_000 }, suite),
  () => prepareReleases("first"),
);

function suite(): void {
  const cleanups: (() => Promise<void>)[] = [];
  const verifier = makeVerifier();
  let site: RunningSite;
  let directory: string;

  before(async () => {
    directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    site = await RunningSite.start(directory, "classic");
    cleanups.unshift(() => site.engine.stop());
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  const ask = async (mode: "required" | "not-required", version: number): Promise<void> => {
    const path = join(directory, `policy-${version}.json`);
    await writeFile(path, sitePolicyFor(mode, verifier, version));
    await site.change("policy", "import", path);
  };
  const secrets = (): string => join(site.site.state, "secrets");

  it("installs nothing, loads nothing and makes no secret before a verifier has allowed the host", async () => {
    const { bundle } = await realRelease("first");
    await writeFile(join(directory, "install.json"), JSON.stringify({ clientPort: PORT }));
    await ask("required", 1);
    const install = ["install", bundle, "--config", join(directory, "install.json")];
    const denied = await site.run(...install, "--key", site.site.operatorKey);
    assert.equal(denied.exit, 3, denied.stderr);
    assert.match(`${denied.stdout}${denied.stderr}`, /ATTEST_REQUIRED/);
    assert.deepEqual(existsSync(secrets()) ? readdirSync(secrets()) : [], []);
    assert.deepEqual((await site.status()).containers, []);
    await ask("not-required", 2);
    await site.change(...install);
  });

  it("starts what was installed without asking, because that moves nothing, but never without its secrets", async () => {
    await ask("required", 3);
    assert.equal((await site.run("stop")).exit, 0);
    renameSync(secrets(), `${secrets()}.elsewhere`);
    mkdirSync(secrets(), { mode: 0o700 });
    const closed = await site.run("start");
    assert.equal(closed.exit, 4, closed.stderr);
    assert.match(closed.stderr, /\[SITE_SECRETS_AWAY\][\s\S]*sealift attest unseal/);
    assert.deepEqual(readdirSync(secrets()), [], "nothing is made anew in their place");
    rmdirSync(secrets());
    renameSync(`${secrets()}.elsewhere`, secrets());
    const started = await site.run("start");
    assert.equal(started.exit, 0, started.stderr);
    const status = await site.run("status");
    assert.equal(status.exit, 0, status.stdout);
    assert.match(status.stderr, /ATTEST_REQUIRED/, "status says that the next change needs it");
  });

  it("moves and rotates nothing while the host is not attested", async () => {
    const { current } = await site.status();
    for (const verb of [
      ["rotate", "secrets"],
      ["rotate", "certificates"],
    ]) {
      const denied = await site.run(...verb, "--key", site.site.operatorKey);
      assert.equal(denied.exit, 3, verb.join(" "));
      assert.match(`${denied.stdout}${denied.stderr}`, /ATTEST_REQUIRED/, verb.join(" "));
    }
    assert.deepEqual((await site.status()).current, current);
  });
}
