import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { blobName } from "../../bundles/layout/layout.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { DeployParameters } from "../../installer/lifecycle/deploy-context.ts";
import { openJournalPath } from "../../installer/lifecycle/execute.ts";
import { Journal } from "../../installer/lifecycle/journal.ts";
import { lastOfType, readLedger } from "../../installer/lifecycle/ledger.ts";
import { neededReleases, RELEASE_RESTORED, restoreRelease } from "../../installer/lifecycle/restore-release.ts";
import type { Site } from "../../installer/lifecycle/site.ts";
import { withStoredRelease } from "../../installer/lifecycle/stored-release.ts";
import { type Deployment, NOTHING_DEPLOYED, writeDeployments } from "../../installer/site/deployment.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { stageRelease, storedPath } from "../../installer/site/store.ts";
import type { AllowedRelease } from "../../verify/allowed-release.ts";
import { openAllowed } from "../support/allowed-bundle.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";
import { makeTestSite } from "../support/test-site.ts";

const bundle = signedBundle({ small: smallRelease({}) });

function deployment(release: Digest, version: string): Deployment {
  return {
    id: "0123456789abcdef0123456789abcdef",
    release,
    appliance: "gateway",
    version,
    colour: "blue",
    config: digestOf("config"),
    base: digestOf("base"),
    containers: digestOf("containers"),
  };
}

async function place(t: TestContext): Promise<{ site: Site; allowed: AllowedRelease; release: Digest }> {
  const directory = await scratch(t);
  const path = join(directory, "bundle.tar");
  await writeSignedBundle(path, bundle);
  const { allowed } = await openAllowed(t, path, bundle.trustFiles);
  return { site: makeTestSite(directory).open(), allowed, release: allowed.release.descriptor.digest };
}

function install(site: Site, release: Digest): void {
  writeDeployments(site.disk, site.paths, { ...NOTHING_DEPLOYED, current: deployment(release, "1.0.0") });
}

test("a damaged copy says how it comes back, does, and the ledger tells of it", async (t) => {
  const { site, allowed, release } = await place(t);
  install(site, release);
  await stageRelease(hostDisk, site.paths.directory, allowed);
  const read = (): Promise<string> =>
    withStoredRelease(site.paths, release, async (parts) => parts.release.manifest.version);
  assert.equal(await read(), "1.0.0");
  const index = join(storedPath(site.paths.directory, release), blobName(release));
  const bytes = readFileSync(index);
  bytes[50] = (bytes[50] as number) ^ 1;
  writeFileSync(index, bytes);
  await assert.rejects(read(), (error: { code: string; hints: readonly string[] }) => {
    assert.equal(error.code, "RELEASE_NOT_STORED");
    assert.match(error.hints.join(), /^sealift recover --bundle BUNDLE /);
    return true;
  });
  await restoreRelease(site, allowed, () => {});
  assert.equal(await read(), "1.0.0");
  const entry = lastOfType(readLedger(site.paths.ledger), RELEASE_RESTORED);
  assert.deepEqual(entry?.data, { release, version: "1.0.0" });
});

test("a release that the site does not need is not taken in", async (t) => {
  const { site, allowed, release } = await place(t);
  await assert.rejects(
    restoreRelease(site, allowed, () => {}),
    { code: "RELEASE_NOT_NEEDED", message: /nothing is installed/ },
  );
  install(site, digestOf("another"));
  await assert.rejects(
    restoreRelease(site, allowed, () => {}),
    { code: "RELEASE_NOT_NEEDED", message: /want 1\.0\.0 \(sha256:/ },
  );
  assert.ok(!neededReleases(site).some((one) => one.release === release));
});

test("the release to which an operation that was cut off was under way is needed too", async (t) => {
  const { site, allowed, release } = await place(t);
  const parameters: DeployParameters = {
    action: "install",
    before: NOTHING_DEPLOYED,
    to: deployment(release, "1.0.0"),
    after: NOTHING_DEPLOYED,
    config: "{}",
    newSecrets: [],
    hasOldVolumes: false,
    parts: { stage: true, base: true, backup: false, rehearse: false, migrate: false, credentials: false },
    watchSeconds: 0,
    drainSeconds: 60,
  };
  const journal = Journal.begin(hostDisk, openJournalPath(site.paths), {
    type: "begin",
    schemaVersion: 1,
    id: "0123456789abcdef0123456789abcdef",
    operation: "install",
    parameters: { ...parameters },
    steps: ["stage"],
    authorization: digestOf("authorization"),
    time: site.clock().now.toISOString(),
  });
  journal.close();
  assert.deepEqual(neededReleases(site), [{ release, version: "1.0.0" }]);
  await restoreRelease(site, allowed, () => {});
});
