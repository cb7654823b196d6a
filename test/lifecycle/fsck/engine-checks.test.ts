import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { parseImageConfig } from "../../../bundles/model/oci.ts";
import { protectiveTag } from "../../../compose/engine/load-images.ts";
import { imageReference } from "../../../compose/image-reference.ts";
import { projectName } from "../../../compose/render.ts";
import { type FsckReport, fsck } from "../../../installer/lifecycle/fsck/fsck.ts";
import { withStoredRelease } from "../../../installer/lifecycle/stored-release.ts";
import { statePaths } from "../../../installer/site/state.ts";
import { entry, ORIGIN, openLog } from "../../compose/services/audit/audit-directory.ts";
import { type FakeEngineContent, fakeEngine } from "../../support/fake-engine.ts";
import { type InstalledSite, installedSite } from "../../support/installed-site.ts";
import { scratch } from "../../support/scratch.ts";

const cleanups: (() => unknown)[] = [];
const context = { after: (work: () => unknown) => void cleanups.unshift(work) };
let site: InstalledSite;
let siteId: string;

before(async () => {
  site = await installedSite(context);
  ({ siteId } = site.open());
});
after(async () => {
  for (const work of cleanups) await work();
});

/** The images of the release as an engine with the containerd store has them, tags too. */
async function rightImages(): Promise<Map<string, object>> {
  const { release } = site.deployments.current ?? assert.fail();
  return withStoredRelease(statePaths(site.directory), release, async ({ layout, release: stored }) => {
    const found = new Map<string, object>();
    for (const [name, { descriptor, manifest }] of stored.images) {
      const config = parseImageConfig(layout.readDescriptor(manifest.config, 1_000_000));
      const reference = imageReference("demo", `${name}@${descriptor.digest}`);
      const image = {
        Id: descriptor.digest,
        RepoDigests: [reference],
        RootFS: { Layers: config.rootfs.diff_ids },
        Architecture: config.architecture,
        Os: config.os,
        Config: config.config ?? {},
      };
      const { repo, tag } = protectiveTag("demo", name, descriptor.digest);
      found.set(reference, image).set(`${repo}:${tag}`, image);
    }
    return found;
  });
}

async function look(content: FakeEngineContent, isContent = false): Promise<FsckReport> {
  const engine = await fakeEngine(context, content);
  return fsck(site.directory, { clock: site.clock.read, content: isContent, engine: async () => engine });
}

const codesOf = ({ findings }: FsckReport, check: string): string[] =>
  findings.filter((finding) => finding.check === check).map(({ code }) => code);

test("images that are the release's, with their tags, are no finding", async () => {
  const report = await look({ images: await rightImages() });
  assert.deepEqual(codesOf(report, "images"), []);
  assert.deepEqual(codesOf(report, "engine"), []);
});

test("an image that is gone, one that differs, and one that no tag protects are three findings", async () => {
  const images = await rightImages();
  const [gateway = "", , audit = ""] = [...images.keys()];
  images.delete(gateway);
  assert.deepEqual(codesOf(await look({ images }), "images"), ["FSCK_IMAGE_MISSING"]);
  const other = new Map(await rightImages());
  other.set(audit, { ...other.get(audit), Config: { User: "0:0" } });
  assert.deepEqual(codesOf(await look({ images: other }), "images"), ["ENGINE_IMAGE_DIFFERS"]);
  const untagged = new Map([...(await rightImages())].filter(([name]) => !name.startsWith("sealift.invalid/")));
  const report = await look({ images: untagged });
  assert.deepEqual(codesOf(report, "images"), ["FSCK_TAG_MISSING", "FSCK_TAG_MISSING"]);
  assert.match(report.findings.find(({ code }) => code === "FSCK_TAG_MISSING")?.hints[0] ?? "", /^docker tag 127\./);
});

test("containers that are not there, of another site, or of no site in the site's project are found", async () => {
  const project = projectName(siteId, "blue");
  const container = (name: string, Labels: Readonly<Record<string, string>>): object => ({
    Names: [`/${name}`],
    Labels,
  });
  const containers = [
    container("stranger", { "com.docker.compose.project": project }),
    container("copy\u001b[2J", { "com.docker.compose.project": "mine", "sealift.site": siteId }),
    container("unrelated", { "com.docker.compose.project": "theirs", "sealift.site": "0".repeat(32) }),
    container("plain", {}),
  ] as NonNullable<FakeEngineContent["containers"]>;
  const report = await look({ containers, images: await rightImages() });
  assert.deepEqual(codesOf(report, "engine"), ["FSCK_LABEL_DIFFERS", "FSCK_LABEL_DIFFERS"]);
  assert.ok(!JSON.stringify(report.findings.map(({ message }) => message)).includes("unrelated"));
  const running = codesOf(await look({ images: await rightImages() }), "containers");
  assert.ok(running.filter((code) => code === "FSCK_NOT_RUNNING").length >= 3, running.join());
});

test("containers are not compared with what nobody authorized, which is told once", async () => {
  for (const [name, code] of [
    ["site/deployment.json", "DEPLOYMENT_CHANGED"],
    [`deployments/${site.deployments.current?.id}/base.json`, "DEPLOYMENT_DAMAGED"],
  ] as const) {
    const bytes = readFileSync(site.path(name));
    const changed = name.startsWith("site/") ? bytes.toString().replace('"blue"', '"green"') : `${bytes} `;
    writeFileSync(site.path(name), changed);
    const report = await look({ images: await rightImages() });
    writeFileSync(site.path(name), bytes);
    assert.equal(report.findings.filter((finding) => finding.code === code).length, 1);
    assert.deepEqual(codesOf(report, "containers"), []);
    const check = report.checks.find((one) => one.check === "containers");
    assert.deepEqual(check, { check: "containers", status: "not-checked", reason: "the site's records do not hold" });
  }
});

test("a release that does not answer and a disk without room are found", async () => {
  const report = await look({ rootDirectory: "/proc" });
  assert.deepEqual(codesOf(report, "database"), ["CANARY_FAILED"]);
  assert.deepEqual(codesOf(report, "disk"), ["SITE_DISK_SHORT"]);
});

/** A volume with an audit log that the site's own key signs. */
async function volumeWithLog(): Promise<string> {
  const volume = await scratch(context as Parameters<typeof scratch>[0]);
  const privateKey = createPrivateKey(readFileSync(site.path("secrets/audit/checkpoint-key")));
  const log = await openLog(volume, { signer: { origin: ORIGIN, privateKey } });
  await Promise.all(Array.from({ length: 300 }, (_, i) => log.append([entry(i)])));
  await log.checkpoint();
  await log.close();
  return volume;
}

test("an audit log that is whole is no finding; with --content each of its entries was read", async () => {
  const volume = await volumeWithLog();
  const quick = await look({ mountpoints: [volume] });
  assert.deepEqual(codesOf(quick, "audit-log"), []);
  assert.match(quick.checks.find(({ check }) => check === "audit-log")?.reason ?? "", /entries of the audit log/);
  const whole = await look({ mountpoints: [volume] }, true);
  assert.deepEqual(codesOf(whole, "audit-log"), []);
  assert.equal(whole.checks.find(({ check }) => check === "audit-log")?.status, "pass");
});

test("an audit log that is gone, doubled, of another key, or edited is found", async () => {
  assert.deepEqual(codesOf(await look({ mountpoints: [] }), "audit-log"), ["AUDIT_LOG_NOT_FOUND"]);
  const volume = await volumeWithLog();
  const doubled = await look({ mountpoints: [volume, await volumeWithLog()] });
  assert.deepEqual(codesOf(doubled, "audit-log"), ["FSCK_AUDIT_LOG_AMBIGUOUS"]);
  const foreign = await scratch(context as Parameters<typeof scratch>[0]);
  const log = await openLog(foreign);
  await log.append([entry(1)]);
  await log.checkpoint();
  await log.close();
  assert.deepEqual(codesOf(await look({ mountpoints: [foreign] }), "audit-log"), ["AUDIT_SIGNATURE_INVALID"]);
  const bundle = join(volume, "tile/entries/000");
  const bytes = readFileSync(bundle);
  bytes[40] = (bytes[40] as number) ^ 1;
  writeFileSync(bundle, bytes);
  assert.deepEqual(codesOf(await look({ mountpoints: [volume] }), "audit-log"), []);
  assert.deepEqual(codesOf(await look({ mountpoints: [volume] }, true), "audit-log"), ["AUDIT_ENTRY_CHANGED"]);
  truncateSync(join(volume, "checkpoint"), 0);
  assert.deepEqual(codesOf(await look({ mountpoints: [volume] }), "audit-log"), ["AUDIT_CHECKPOINT_MALFORMED"]);
  mkdirSync(join(volume, "deep"));
  appendFileSync(join(volume, "deep/checkpoint"), "x");
});
