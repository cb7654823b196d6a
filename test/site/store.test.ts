import assert from "node:assert/strict";
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { blobName, type Extent, LAYOUT_FILE, Layout } from "../../bundles/layout/layout.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf, hexOf } from "../../bundles/model/digest.ts";
import { type Disk, hostDisk } from "../../installer/site/disk.ts";
import {
  damagedFiles,
  removeStored,
  stageRelease,
  storedPath,
  storedReleases,
  tidyStore,
} from "../../installer/site/store.ts";
import { allowRelease } from "../../verify/allowed-release.ts";
import { type OpenAllowed, openAllowed } from "../support/allowed-bundle.ts";
import { judge } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import {
  type SignedBundle,
  signedBundle,
  signedFiles,
  writeSignedBundle,
  writeSignedDirectory,
} from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";
import { coded } from "../support/test-trust.ts";

const WEIGHTS = Buffer.alloc(300_000, "weights ");
const files = [{ name: "model", mediaType: "application/octet-stream", bytes: WEIGHTS }];
const first = signedBundle({ small: smallRelease({ files }) });
/** Of the same publisher, with the same carried file, the same image layers and another version. */
const second = signedBundle({ small: smallRelease({ files, version: "1.1.0" }), signers: first.signers });

interface Place extends OpenAllowed {
  readonly state: string;
  readonly path: string;
  readonly digest: Digest;
}

async function place(t: TestContext, bundle: SignedBundle = first, kind: "tar" | "directory" = "tar"): Promise<Place> {
  const directory = await scratch(t);
  const [state, path] = [join(directory, "state"), join(directory, "bundle")];
  mkdirSync(join(state, "store"), { recursive: true });
  await (kind === "tar" ? writeSignedBundle : writeSignedDirectory)(path, bundle);
  const open = await openAllowed(t, path, bundle.trustFiles);
  return { ...open, state, path, digest: bundle.small.release.descriptor.digest };
}

/** Where a blob's bytes lie. */
function extentOf(layout: Layout, digest: Digest): Extent {
  return layout.blob(digest)?.extents[0] as Extent;
}

function flipBit(path: string, position: number): void {
  const bytes = readFileSync(path);
  bytes[position] = (bytes[position] as number) ^ 1;
  writeFileSync(path, bytes);
}

/** Every file below `root` by name, with its bytes and mode. */
function contentOf(root: string): Map<string, { mode: number; digest: Digest }> {
  const found = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    found.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(root.length + 1), { mode: statSync(path).mode & 0o777, digest: digestOf(readFileSync(path)) }];
    }),
  );
}

for (const kind of ["tar", "directory"] as const) {
  test(`a release staged from a ${kind} is the same layout, which verify allows, with modes for containers`, async (t) => {
    const { state, allowed, digest } = await place(t, first, kind);
    const seen: [number, number][] = [];
    const path = await stageRelease(hostDisk, state, allowed, (...at) => void seen.push(at));
    assert.equal(path, storedPath(state, digest));
    assert.deepEqual(storedReleases(state), [digest]);
    const content = contentOf(path);
    const wanted = signedFiles(first);
    assert.deepEqual([...content.keys()].sort(), wanted.map(([name]) => name).sort());
    for (const [name, bytes] of wanted) assert.equal(content.get(name)?.digest, digestOf(bytes), name);
    const shared = [...content].filter(([, { mode }]) => mode === 0o644).map(([name]) => name);
    assert.deepEqual(shared, [blobName(digestOf(WEIGHTS))]);
    assert.ok([...content.values()].every(({ mode }) => mode === 0o644 || mode === 0o600));
    assert.equal(statSync(path).mode & 0o777, 0o700);
    assert.equal((await judge(path, first)).decision, "allow");
    const total = wanted.reduce((sum, [, bytes]) => sum + bytes.length, 0);
    assert.deepEqual(seen.at(-1), [total, total]);
    assert.deepEqual(readdirSync(join(state, "store")), [hexOf(digest)]);
  });
}

test("a store whose directory is gone is empty, and is made again", async (t) => {
  const { state, allowed, digest } = await place(t);
  rmdirSync(join(state, "store"));
  assert.deepEqual(storedReleases(state), []);
  removeStored(hostDisk, state, digest);
  await stageRelease(hostDisk, state, allowed);
  assert.deepEqual(storedReleases(state), [digest]);
});

test("the mode of a carried file does not depend on the umask", async (t) => {
  const { state, allowed } = await place(t);
  const strict: Disk = { ...hostDisk, open: (path, flags, mode) => hostDisk.open(path, flags, mode & 0o700) };
  const path = await stageRelease(strict, state, allowed);
  assert.equal(statSync(join(path, blobName(digestOf(WEIGHTS)))).mode & 0o777, 0o644);
});

test("a second release shares equal blobs with the first as one file, and outlives it", async (t) => {
  const { state, allowed, digest } = await place(t);
  const other = await place(t, second);
  const [a, b] = [
    await stageRelease(hostDisk, state, allowed),
    await stageRelease(hostDisk, state, other.allowed),
  ] as const;
  const weights = blobName(digestOf(WEIGHTS));
  assert.equal(statSync(join(a, weights)).ino, statSync(join(b, weights)).ino);
  const isLinked = (name: string): boolean => lstatSync(join(b, name)).nlink === 2;
  const unequal = [...contentOf(b).keys()].filter((name) => !isLinked(name));
  assert.ok(unequal.includes(LAYOUT_FILE) && unequal.length < contentOf(b).size / 2 + 12, unequal.join());
  assert.deepEqual(storedReleases(state), [digest, other.digest].sort());
  removeStored(hostDisk, state, digest);
  assert.deepEqual(storedReleases(state), [other.digest]);
  assert.equal((await judge(b, second)).decision, "allow");
  removeStored(hostDisk, state, digest);
});

test("a neighbour's blob that has rotted is not linked; the bundle's own bytes are taken", async (t) => {
  const { state, allowed } = await place(t);
  const other = await place(t, second);
  const weights = blobName(digestOf(WEIGHTS));
  const rotten = join(await stageRelease(hostDisk, state, allowed), weights);
  writeFileSync(rotten, Buffer.alloc(WEIGHTS.length, "rotten! "));
  const path = await stageRelease(hostDisk, state, other.allowed);
  assert.ok(readFileSync(join(path, weights)).equals(WEIGHTS));
  assert.equal((await judge(path, second)).decision, "allow");
});

test("where the filesystem gives no second name, blobs are copied", async (t) => {
  const { state, allowed } = await place(t);
  const other = await place(t, second);
  await stageRelease(hostDisk, state, allowed);
  const noLinks: Disk = {
    ...hostDisk,
    link: () => {
      throw Object.assign(new Error("EPERM: operation not permitted, link"), { code: "EPERM" });
    },
  };
  const path = await stageRelease(noLinks, state, other.allowed);
  assert.equal(statSync(join(path, blobName(digestOf(WEIGHTS)))).nlink, 1);
  assert.equal((await judge(path, second)).decision, "allow");
});

test("a release that is there is kept without a write, and one that is not whole is replaced", async (t) => {
  const { state, allowed, digest } = await place(t);
  const path = await stageRelease(hostDisk, state, allowed);
  const before = statSync(path).ino;
  const none = new Proxy(hostDisk, {
    get: (_, name) => () => assert.fail(`wrote with ${String(name)}`),
  });
  assert.equal(await stageRelease(none, state, allowed), path);
  const weights = join(path, blobName(digestOf(WEIGHTS)));
  const index = join(path, blobName(digest));
  for (const damage of [
    () => truncateSync(weights, 10),
    () => unlinkSync(index),
    () => chmodSync(weights, 0o600),
    () => writeFileSync(join(path, "blobs/sha256/stray"), ""),
    // The right size and mode: only who reads the bytes finds out.
    () => writeFileSync(weights, Buffer.alloc(WEIGHTS.length, "rotten! ")),
    () => flipBit(join(path, "index.json"), 40),
  ]) {
    damage();
    await stageRelease(hostDisk, state, allowed);
    assert.equal((await judge(path, first)).decision, "allow");
    assert.equal(statSync(weights).mode & 0o777, 0o644);
  }
  assert.notEqual(statSync(path).ino, before);
  assert.deepEqual(readdirSync(join(state, "store")), [hexOf(digest)]);
});

test("a bit that flips in a carried file after staging is found, before a container reads it", async (t) => {
  const { state, allowed, digest } = await place(t);
  const path = await stageRelease(hostDisk, state, allowed);
  assert.deepEqual(await damagedFiles(state, allowed.release), []);
  const weights = join(path, blobName(digestOf(WEIGHTS)));
  flipBit(weights, 200_000);
  assert.deepEqual(await damagedFiles(state, allowed.release), ["model"]);
  unlinkSync(weights);
  assert.deepEqual(await damagedFiles(state, allowed.release), ["model"]);
  removeStored(hostDisk, state, digest);
});

test("a bundle that is changed while it is copied is refused, and nothing of it is in the store", async (t) => {
  const { state, allowed, path } = await place(t);
  const { position } = extentOf(allowed.layout, digestOf(WEIGHTS));
  const bytes = readFileSync(path);
  bytes[position + 250_000] = 0;
  writeFileSync(path, bytes);
  await assert.rejects(stageRelease(hostDisk, state, allowed), coded("LAYOUT_DIGEST_MISMATCH"));
  assert.deepEqual(readdirSync(join(state, "store")), []);
  truncateSync(path, position + 100);
  await assert.rejects(stageRelease(hostDisk, state, allowed), coded("LAYOUT_TRUNCATED"));
  assert.deepEqual(readdirSync(join(state, "store")), []);
});

test("an index.json that is changed after the verdict is refused", async (t) => {
  const { state, allowed, path } = await place(t, first, "directory");
  const index = JSON.parse(readFileSync(join(path, "index.json"), "utf8")) as { manifests: unknown[] };
  const [release, ...others] = index.manifests;
  const reordered = canonicalJson({ ...index, manifests: [release, ...others.reverse()] });
  writeFileSync(join(path, "index.json"), reordered);
  await assert.rejects(stageRelease(hostDisk, state, allowed), coded("LAYOUT_FOREIGN_FILE"));
  assert.deepEqual(readdirSync(join(state, "store")), []);
});

test("a medium that cannot be read is an error of its own, not one of the site's disk", async (t) => {
  const { state, allowed } = await place(t);
  const { layout, verdict } = allowed;
  // Reading from a directory fails as reading from a bad block does: in the system call.
  const fd = openSync(state, "r");
  t.after(() => closeSync(fd));
  const weights = blobName(digestOf(WEIGHTS));
  const extents = [{ ...extentOf(layout, digestOf(WEIGHTS)), fd }];
  const scratched = layout.files.map((file) => (file.name === weights ? { ...file, extents } : file));
  const broken = allowRelease(verdict, new Layout(layout.kind, layout.location, scratched));
  await assert.rejects(stageRelease(hostDisk, state, broken), coded("LAYOUT_UNREADABLE"));
  assert.deepEqual(readdirSync(join(state, "store")), []);
});

test("what a crash left is put right: work that did not end goes, a release that was being replaced comes back", async (t) => {
  const { state, allowed, digest } = await place(t);
  const path = await stageRelease(hostDisk, state, allowed);
  const work = (what: string): string => join(state, "store", `.${hexOf(digest)}.${what}`);
  hostDisk.rename(path, work("replaced"));
  mkdirSync(work("staging"));
  writeFileSync(join(work("staging"), "half"), "x");
  mkdirSync(work("removed"));
  writeFileSync(join(state, "store", ".hidden"), "somebody else's");
  tidyStore(hostDisk, state);
  assert.deepEqual(readdirSync(join(state, "store")).sort(), [".hidden", hexOf(digest)]);
  assert.equal((await judge(path, first)).decision, "allow");
  hostDisk.rename(path, work("replaced"));
  await stageRelease(hostDisk, state, allowed);
  assert.ok(existsSync(path) && !existsSync(work("replaced")));
});
