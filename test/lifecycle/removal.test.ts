/** What prune takes, and what it leaves, on a site that has gone through three releases. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { digestOf, hexOf } from "../../bundles/model/digest.ts";
import { engineError } from "../../compose/engine/error.ts";
import { protectiveTag } from "../../compose/engine/load-images.ts";
import { imageReference } from "../../compose/image-reference.ts";
import { backupDirectory } from "../../installer/lifecycle/backup.ts";
import { type DeployContext, SILENT } from "../../installer/lifecycle/deploy-context.ts";
import { execute } from "../../installer/lifecycle/execute.ts";
import { planPrune, pruneKind } from "../../installer/lifecycle/removal.ts";
import { type Deployment, NOTHING_DEPLOYED, writeDeployments } from "../../installer/site/deployment.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { storedPath } from "../../installer/site/store.ts";
import { type FakeEngineContent, fakeEngine } from "../support/fake-engine.ts";
import { scratch } from "../support/scratch.ts";
import { bundleFiles, type SmallRelease, smallRelease, writeDirectory } from "../support/small-bundle.ts";
import { makeTestSite } from "../support/test-site.ts";

/** Each release has a gateway of its own; all have the same audit. */
const [first, second, third, failed] = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"].map((version) =>
  smallRelease({ version, images: [{ name: "gateway", layers: [{ "app/main.js": version }] }, { name: "audit" }] }),
) as [SmallRelease, SmallRelease, SmallRelease, SmallRelease];
/** From the oldest to the newest. */
const BACKUPS = ["a", "b", "c"].map((digit) => digit.repeat(32));

const deployment = ({ release }: SmallRelease): Deployment => ({
  id: "0".repeat(32),
  release: release.descriptor.digest,
  appliance: release.manifest.appliance,
  version: release.manifest.version,
  colour: "blue",
  config: digestOf("config"),
  base: digestOf("base"),
  containers: digestOf("containers"),
});

/** Both names by which the engine knows an image of a release. */
function namesOf({ release: { manifest } }: SmallRelease, image: string): string[] {
  const { digest } = manifest.images.find(({ name }) => name === image) ?? assert.fail(image);
  const { repo, tag } = protectiveTag(manifest.appliance, image, digest);
  return [`${repo}:${tag}`, imageReference(manifest.appliance, `${image}@${digest}`)];
}

/** Of `failed` the engine has its images, and the site nothing: a change to it was taken back. */
const ALL_NAMES = [first, second, third, failed].flatMap((one) =>
  ["gateway", "audit"].flatMap((image) => namesOf(one, image)),
);

async function siteOfThree(t: TestContext) {
  const { directory, open } = makeTestSite(await scratch(t));
  for (const one of [first, second, third]) {
    await writeDirectory(storedPath(directory, one.release.descriptor.digest), bundleFiles(one));
  }
  const site = open();
  const previous = deployment(second);
  writeDeployments(hostDisk, site.paths, { ...NOTHING_DEPLOYED, current: deployment(third), previous });
  for (const [age, id] of BACKUPS.entries()) {
    const path = backupDirectory(site.paths, id);
    mkdirSync(path);
    writeFileSync(join(path, "dump"), id);
    utimesSync(path, 1_000 + age, 1_000 + age);
  }
  const left = () => ({
    store: readdirSync(join(directory, "store")).sort(),
    backups: readdirSync(join(directory, "backups")).sort(),
  });
  return { site, left };
}

type EngineOptions = Pick<FakeEngineContent, "usedImages" | "containers"> & { readonly images?: readonly string[] };

async function prune(
  t: TestContext,
  keep: number,
  content: EngineOptions = {},
  make: (t: TestContext) => ReturnType<typeof siteOfThree> = siteOfThree,
) {
  const { site, left } = await make(t);
  const plan = await planPrune(site, keep);
  const removed: string[] = [];
  const images = new Map([...ALL_NAMES, ...(content.images ?? [])].map((name) => [name, {}]));
  const engine = await fakeEngine(t, { ...content, images, onRemoved: (name) => removed.push(name) });
  const details: string[] = [];
  const tell = (text: string): void => void details.push(text);
  const report = { ...SILENT, detail: tell, remark: tell };
  const context: DeployContext = {
    ...site,
    engine: async () => engine,
    source: undefined,
    report,
    signal: undefined,
    showOnce: () => {},
  };
  await execute(site, pruneKind, context, { ...plan.parameters }, digestOf("authorization"));
  return { plan, removed: removed.sort(), details, left: left(), again: await planPrune(site, keep) };
}

const kept = [second, third].map(({ release }) => hexOf(release.descriptor.digest)).sort();

test("prune removes the release to which nobody can return, its own images, and all but the newest backups", async (t) => {
  const { plan, removed, left, again } = await prune(t, 1);
  const gone = [first, failed].flatMap((one) => namesOf(one, "gateway"));
  assert.deepEqual(removed, gone.sort(), "audit is an image of the releases that stay");
  assert.deepEqual(left, { store: kept, backups: BACKUPS.slice(2) });
  assert.deepEqual(plan.subject.details, [
    `removes release ${first.release.descriptor.digest} from the store, and its images from the engine`,
    ...BACKUPS.slice(0, 2)
      .toReversed()
      .map((id) => `removes backup ${id}`),
    "removes images that a change loaded which was taken back, if the engine has any",
    "kept: the current and the previous release, and the 1 newest backups",
  ]);
  assert.equal(again.subject.details[0], "removes no release and no backup: none is to spare");
});

test("prune keeps as many backups as it is told, and an image that a container uses", async (t) => {
  const used = [first, failed].map((one) => namesOf(one, "gateway")[1] ?? "");
  const running = used.map((Image) => ({ Image, Names: [], Labels: {} }));
  const { removed, details, left } = await prune(t, 9, { usedImages: namesOf(first, "gateway"), containers: running });
  assert.deepEqual(removed, []);
  assert.ok(details.includes("gateway is used by a container and stays"), details.join());
  assert.deepEqual(left, { store: kept, backups: BACKUPS });
  assert.deepEqual((await prune(t, 0)).left.backups, []);
});

test("an engine that does not answer holds up no removal of backups", async (t) => {
  const { site, left } = await siteOfThree(t);
  const release = storedPath(site.paths.directory, first.release.descriptor.digest);
  rmSync(release, { recursive: true });
  const remarks: string[] = [];
  const { parameters } = await planPrune(site, 1);
  const context: DeployContext = {
    ...site,
    engine: async () => {
      throw engineError("ENGINE_UNREACHABLE", "nobody answers");
    },
    source: undefined,
    report: { ...SILENT, remark: (text) => void remarks.push(text) },
    signal: undefined,
    showOnce: () => {},
  };
  await execute(site, pruneKind, context, { ...parameters }, digestOf("authorization"));
  assert.deepEqual(left().backups, BACKUPS.slice(2));
  assert.deepEqual(remarks, ["images that were left in the engine stay: nobody answers"]);
});

test("of a first install that was taken back nothing stays in the engine, and what is not ours does", async (t) => {
  const { removed } = await prune(t, 1, { images: ["debian:13", "127.83.76.1:5000/a/b/c@sha256:0"] }, async () => {
    const { directory, open } = makeTestSite(await scratch(t));
    const left = () => ({ store: readdirSync(join(directory, "store")), backups: [] });
    return { site: open(), left };
  });
  assert.deepEqual(removed, [...new Set(ALL_NAMES)].sort());
});

test("images of which only another site may know are left where there is one", async (t) => {
  const container = { Names: [], Labels: { "sealift.site": "f".repeat(32) } };
  const { removed } = await prune(t, 1, { containers: [container] });
  assert.deepEqual(removed, namesOf(first, "gateway").sort());
});
