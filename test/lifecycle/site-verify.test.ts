import assert from "node:assert/strict";
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { closeStore } from "../../bundles/layout/layout.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { openCurrentRelease, verifyForSite } from "../../installer/lifecycle/site-verify.ts";
import { type Deployment, NOTHING_DEPLOYED, writeDeployments } from "../../installer/site/deployment.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { stageRelease, storedPath } from "../../installer/site/store.ts";
import { importTrust } from "../support/enrolled-site.ts";
import { scratch } from "../support/scratch.ts";
import { type SignedBundle, signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";
import { makeTestSite, type TestSite } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";

const bundle = signedBundle();
const quiet = (): void => {};

/** A site that trusts the bundle's publisher, and the bundle beside it. */
async function enrolled(t: TestContext, trusted: SignedBundle = bundle): Promise<TestSite & { readonly path: string }> {
  const parent = await scratch(t);
  const site = makeTestSite(parent);
  await importTrust(site.open(), trusted.trustFiles, site.alice);
  await writeSignedBundle(join(parent, "bundle"), bundle);
  return { ...site, path: join(parent, "bundle") };
}

test("a site's own verdict allows, and staging reads the verified file even if another took its name", async (t) => {
  const { directory, open, path, clock } = await enrolled(t);
  clock.pass(60_000);
  const { verdict, allowed, close } = await verifyForSite(open(), path, quiet);
  assert.deepEqual([verdict.decision, verdict.scope, verdict.time.source], ["allow", "site", "host-clock"]);
  assert.equal(verdict.time.at, clock.read().now.toISOString());
  assert.ok(allowed);
  const other = join(directory, "..", "other");
  await writeSignedBundle(other, signedBundle({ small: smallRelease({ version: "6.6.6" }) }));
  renameSync(other, path);
  await stageRelease(hostDisk, directory, allowed);
  close();
  const { digest } = bundle.small.release.descriptor;
  const again = await verifyForSite(open(), storedPath(directory, digest), quiet);
  assert.equal(again.allowed?.release.descriptor.digest, digest);
  again.close();
});

test("a site's verification compares the bundle with the release that runs, in the cage, from the site's own store", async (t) => {
  const { directory, open, path } = await enrolled(t);
  const site = open();
  assert.equal(openCurrentRelease(site, path), undefined, "nothing runs yet");
  const first = await verifyForSite(site, path, quiet);
  assert.ok(first.allowed);
  await stageRelease(hostDisk, directory, first.allowed);
  first.close();
  const { digest } = bundle.small.release.descriptor;
  const rendered = digestOf("rendered");
  const current: Deployment = {
    id: "0".repeat(32),
    release: digest,
    appliance: "demo",
    version: "1.0.0",
    colour: "blue",
    config: rendered,
    base: rendered,
    containers: rendered,
  };
  writeDeployments(hostDisk, site.paths, { ...NOTHING_DEPLOYED, current });
  assert.equal(openCurrentRelease(site, storedPath(directory, digest)), undefined, "it is the same");
  const images = [{ name: "gateway", layers: [{ "app/x": "1" }] }, { name: "audit" }];
  const small = smallRelease({ version: "1.1.0", images });
  const next = join(directory, "..", "next");
  await writeSignedBundle(next, signedBundle({ small, signers: bundle.signers }));
  const earlier = openCurrentRelease(site, next);
  assert.ok(earlier);
  const { contents, close } = await verifyForSite(site, next, quiet, { describe: { earlier } });
  close();
  closeStore(earlier.store);
  const { against = "", images: compared = [], records } = contents?.comparison ?? {};
  assert.equal(against, `demo 1.0.0, ${digest}`);
  assert.deepEqual(
    compared.map(({ name, presence }) => `${name} ${presence}`),
    ["audit both", "gateway both"],
  );
  assert.equal(records, "not checked: no vulnerability snapshot");
});

test("a release of a publisher whom the site does not trust is denied, and nothing is allowed", async (t) => {
  const { open, path } = await enrolled(t, signedBundle());
  const { verdict, allowed, close } = await verifyForSite(open(), path, quiet);
  close();
  assert.deepEqual([verdict.decision, verdict.scope, allowed], ["deny", "site", undefined]);
});

test("a site without a trust, with an edited trust or policy, or without a bundle verifies nothing", async (t) => {
  const bare = makeTestSite(await scratch(t));
  const { directory, open, path } = await enrolled(t);
  await assert.rejects(verifyForSite(bare.open(), path, quiet), coded("TRUST_NOT_ENROLLED"));
  await assert.rejects(verifyForSite(open(), join(directory, "nothing"), quiet), coded("LAYOUT_NOT_FOUND"));

  const [name = ""] = readdirSync(join(directory, "trust"));
  const timestamp = join(directory, "trust", name, "timestamp.json");
  writeFileSync(timestamp, `${readFileSync(timestamp, "utf8")}\n`);
  await assert.rejects(verifyForSite(open(), path, quiet), coded("TRUST_CHANGED"));
});

test("a clock that went back or jumped is not believed, unless an operator vouches for it", async (t) => {
  const { open, path, clock } = await enrolled(t);
  clock.set("2026-11-21T10:00:00.000Z");
  await assert.rejects(verifyForSite(open(), path, quiet), coded("CLOCK_JUMPED"));
  clock.set("2026-11-21T07:00:00.000Z");
  await assert.rejects(verifyForSite(open(), path, quiet), coded("CLOCK_BACKWARDS"));
  await assert.rejects(verifyForSite(open(), path, quiet, { confirms: ["CLOCK_JUMPED"] }), coded("CLOCK_BACKWARDS"));
  const { verdict, close } = await verifyForSite(open(), path, quiet, { confirms: ["CLOCK_BACKWARDS"] });
  close();
  assert.deepEqual([verdict.decision, verdict.time.at], ["allow", "2026-11-21T07:00:00.000Z"]);
});
