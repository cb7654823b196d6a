/** A bundle that leaves out what the site has: the same release, whole when it is in the store. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { groupBlobs, leftOut } from "../../bundles/layout/contents.ts";
import { blobName, closeStore, openLayout, openStore } from "../../bundles/layout/layout.ts";
import { tarBytes } from "../../bundles/layout/tar-bytes.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { storedContents } from "../../installer/lifecycle/site-inventory.ts";
import { verifyForSite } from "../../installer/lifecycle/site-verify.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { stageRelease, storedPath } from "../../installer/site/store.ts";
import { verifyInCage } from "../../verify/cage/run-cage.ts";
import { DEFAULT_POLICY_BYTES } from "../../verify/policy.ts";
import { importTrust } from "../support/enrolled-site.ts";
import { judge } from "../support/judge.ts";
import { contents, makeParts } from "../support/parts.ts";
import { scratch } from "../support/scratch.ts";
import { SMALL_NOW, signedBundle, writeSignedBundle, writeSignedDirectory } from "../support/signed-bundle.ts";
import { bundleFiles, smallRelease, writeTar } from "../support/small-bundle.ts";
import { makeTestSite } from "../support/test-site.ts";

/** Larger than what the judge hashes itself. */
const LARGE = Buffer.alloc(400_000, "large");
const images = [{ name: "gateway", layers: [{ "app/x": "1" }] }, { name: "audit" }];
const files = [{ name: "model", mediaType: "application/octet-stream", bytes: LARGE }];
const first = signedBundle({ small: smallRelease({ files }) });
const next = signedBundle({
  small: smallRelease({ version: "1.1.0", images, files }),
  signers: first.signers,
});
const payload = (bundle: typeof first): readonly Digest[] => groupBlobs(bundle.small.release, []).payload;
const shared = payload(next).filter((digest) => payload(first).includes(digest));
const quiet = (): void => {};

/** `next` without what `first` has. */
async function writeThin(path: string, leaveOut: readonly Digest[] = shared): Promise<string> {
  const names = new Set(leaveOut.map(blobName));
  const all = bundleFiles(next.small, next.objects);
  await writeTar(
    path,
    all.filter(([name]) => !names.has(name)),
  );
  return path;
}

async function siteWith(t: TestContext, bundles: readonly (typeof first)[]) {
  const parent = await scratch(t);
  const site = makeTestSite(parent);
  await importTrust(site.open(), first.trustFiles, site.alice);
  for (const [i, bundle] of bundles.entries()) {
    const path = join(parent, `bundle${i}`);
    await writeSignedBundle(path, bundle);
    const { allowed, close } = await verifyForSite(site.open(), path, quiet);
    assert.ok(allowed);
    await stageRelease(hostDisk, site.directory, allowed);
    close();
  }
  return { ...site, parent, thin: await writeThin(join(parent, "thin")) };
}

async function verdictAt(site: Awaited<ReturnType<typeof siteWith>>, path: string) {
  const { verdict, close } = await verifyForSite(site.open(), path, quiet);
  close();
  const wrong = verdict.findings.filter(({ status }) => status === "fail" || status === "error");
  return { verdict, wrong };
}

test("the fixture leaves out a layer and a large file, and carries another layer", () => {
  assert.ok(shared.length >= 2 && shared.length < payload(next).length);
});

test("a thin bundle has the whole one's verdict at a site that has the rest, and is whole in the store", async (t) => {
  const site = await siteWith(t, [first]);
  const { verdict, allowed, close } = await verifyForSite(site.open(), site.thin, quiet);
  assert.equal(verdict.decision, "allow");
  assert.equal(verdict.subject.digest, next.small.release.descriptor.digest);
  await writeSignedBundle(join(site.parent, "whole"), next);
  const whole = await verdictAt(site, join(site.parent, "whole"));
  const statuses = ({ findings }: typeof verdict) =>
    findings.map(({ check, subject, status, code }) => [check, subject, status, code]);
  assert.deepEqual(statuses(verdict), statuses(whole.verdict));
  const said = (check: string) => verdict.findings.find((finding) => finding.check === check)?.message;
  assert.match(said("layout") ?? "", new RegExp(`${shared.length} more that a thin bundle leaves out`));
  assert.equal(said("digests"), whole.verdict.findings.find(({ check }) => check === "digests")?.message);

  assert.ok(allowed);
  await stageRelease(hostDisk, site.directory, allowed);
  close();
  // What it was made from may go: the stored release is whole by itself.
  const { digest } = next.small.release.descriptor;
  await rm(storedPath(site.directory, first.small.release.descriptor.digest), { recursive: true });
  await rm(site.thin);
  assert.equal((await verdictAt(site, storedPath(site.directory, digest))).verdict.decision, "allow");
  const stored = openLayout(storedPath(site.directory, digest));
  assert.deepEqual(leftOut(stored.layout, next.small.release), []);
  closeStore(stored.store);
});

test("a thin bundle is denied where the rest is not, and what is missing is named", async (t) => {
  const site = await siteWith(t, []);
  const { verdict, wrong } = await verdictAt(site, site.thin);
  assert.equal(verdict.decision, "deny");
  for (const digest of shared) {
    const finding = wrong.find(({ subject }) => subject === blobName(digest));
    assert.equal(finding?.code, "LAYOUT_BLOB_MISSING");
    assert.match(finding?.message ?? "", /neither in the bundle nor in what the site or --base has/);
  }
});

test("a blob of the store that has rotted does not pass for what the bundle leaves out", async (t) => {
  const large = shared.filter((digest) => first.small.blobs.get(digest)?.length === LARGE.length);
  assert.equal(large.length, 1);
  for (const digest of large) {
    const site = await siteWith(t, [first]);
    const path = join(storedPath(site.directory, first.small.release.descriptor.digest), blobName(digest));
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
    writeFileSync(path, bytes);
    const { verdict, wrong } = await verdictAt(site, site.thin);
    assert.equal(verdict.decision, "deny");
    assert.ok(wrong.some(({ code, subject }) => code === "LAYOUT_DIGEST_MISMATCH" && subject === digest));
    const [stored] = await storedContents(site.directory, () => {});
    assert.equal(stored?.damaged, 1);
    assert.ok(!stored?.blobs.includes(digest), "and an inventory does not list it");
  }
});

test("a release in the store that cannot be read is no help and no harm", async (t) => {
  const site = await siteWith(t, [first]);
  const stored = storedPath(site.directory, first.small.release.descriptor.digest);
  writeFileSync(join(stored, "foreign"), "");
  const { wrong } = await verdictAt(site, site.thin);
  assert.ok(wrong.some(({ code }) => code === "LAYOUT_BLOB_MISSING"));
  assert.equal((await storedContents(site.directory, () => {}))[0]?.damaged, "all");
});

test("nothing but layers and carried files may be left out", async (t) => {
  const root = await scratch(t);
  const whole = join(root, "whole");
  await writeSignedBundle(whole, next);
  const { documents } = groupBlobs(next.small.release, []);
  const judged = (leaveOut: readonly Digest[]) =>
    writeThin(join(root, "thin"), leaveOut).then((thin) =>
      judge(thin, { trustFiles: first.trustFiles, base: [whole] }),
    );
  assert.equal((await judged(payload(next))).decision, "allow");
  for (const digest of documents) {
    // The base has every byte of it, but the bundle must say by itself what it is.
    const { decision, findings } = await judged([digest]);
    assert.equal(decision, "deny", digest);
    assert.ok(findings.some(({ code, subject }) => code === "LAYOUT_BLOB_MISSING" && subject === blobName(digest)));
  }
});

test("a reviewer who has the base gets the same verdict, from a directory or parts", async (t) => {
  const root = await scratch(t);
  const thin = await writeThin(join(root, "thin"));
  await writeSignedBundle(join(root, "base"), first);
  await writeSignedDirectory(join(root, "layout"), first);
  const tar = openLayout(join(root, "base"));
  const { size } = await stat(join(root, "base"));
  const options = { bundle: tarBytes(tar.store, tar.layout), sizeBytes: Math.ceil(size / 3), parity: 0 };
  await makeParts(join(root, "parts"), options);
  closeStore(tar.store);
  const verdict = async (...base: string[]) => {
    const store = openStore(thin, base);
    try {
      return await verifyInCage({
        store,
        trustFiles: first.trustFiles,
        policyBytes: DEFAULT_POLICY_BYTES,
        time: { at: SMALL_NOW, source: "option" },
        scope: "advisory",
        sealiftVersion: "0.1.0",
        onProgress: quiet,
      });
    } finally {
      closeStore(store);
    }
  };
  const decisions = [];
  for (const base of ["layout", "parts"]) decisions.push((await verdict(join(root, base))).decision);
  assert.deepEqual(decisions, ["allow", "allow"]);
  assert.throws(() => openStore(thin, [join(root, "nothing")]), { code: "LAYOUT_NOT_FOUND" });

  // Media parts of the thin bundle itself: the cage says which one is damaged, and not that the release is bad.
  const opened = openLayout(thin);
  const name = "thin-1.1.0-12345678";
  const split = { bundle: tarBytes(opened.store, opened.layout), name, sizeBytes: 20_000, parity: 0 };
  await makeParts(join(root, "thin-parts"), split);
  closeStore(opened.store);
  const inParts = [...(await contents(join(root, "thin-parts"))).keys()].filter((file) => file.includes(".part"));
  const [, damaged = ""] = inParts;
  const bytes = await readFile(join(root, "thin-parts", damaged));
  bytes[100] = (bytes[100] as number) ^ 1;
  writeFileSync(join(root, "thin-parts", damaged), bytes);
  const store = openStore(join(root, "thin-parts"), [join(root, "base")]);
  t.after(() => closeStore(store));
  const question = {
    store,
    trustFiles: first.trustFiles,
    policyBytes: DEFAULT_POLICY_BYTES,
    scope: "advisory",
  } as const;
  const rest = { time: { at: SMALL_NOW, source: "option" }, sealiftVersion: "0.1.0", onProgress: quiet } as const;
  await assert.rejects(verifyInCage({ ...question, ...rest }), (error: { code?: string; message?: string }) => {
    assert.equal(error.code, "PARTS_DAMAGED");
    return error.message?.includes(damaged) === true;
  });
});
