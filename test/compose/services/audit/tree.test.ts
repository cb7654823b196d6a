import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import {
  CheckpointError,
  readCheckpoint,
  signCheckpoint,
  verifierKey,
} from "../../../../compose/services/audit/src/checkpoint.ts";
import { EMPTY_ROOT, leafHash, nodeHash, rootOf } from "../../../../compose/services/audit/src/merkle.ts";
import { decodeEntries, encodeEntries, tilePath } from "../../../../compose/services/audit/src/tile-path.ts";
import { TileTree } from "../../../../compose/services/audit/src/tile-tree.ts";
import { scratch } from "../../../support/scratch.ts";
import { keyFromSeed, ORIGIN, testKey } from "./audit-directory.ts";

/** The entries and roots that implementations of RFC 6962 share as test vectors. */
const ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS = [
  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

test("roots are those of RFC 6962", () => {
  const hashes = ENTRIES.map((hex) => leafHash(Buffer.from(hex, "hex")));
  assert.deepEqual(
    ROOTS.map((_, size) => rootOf(hashes.slice(0, size)).toString("hex")),
    ROOTS,
  );
  assert.equal(EMPTY_ROOT.toString("hex"), ROOTS[0]);
});

/** RFC 6962, section 2.1, word for word: split at the largest power of two below the size. */
function recursiveRoot(hashes: readonly Buffer[]): Buffer {
  if (hashes.length <= 1) return hashes[0] ?? EMPTY_ROOT;
  let split = 1;
  while (split * 2 < hashes.length) split *= 2;
  return nodeHash(recursiveRoot(hashes.slice(0, split)), recursiveRoot(hashes.slice(split)));
}

test("a tree that grows in steps of any size has the same root and the same files at the end", () => {
  const leaves = Array.from({ length: 70_000 }, (_, i) => {
    const entry = Buffer.from(`entry ${i}`);
    return { entry, hash: leafHash(entry) };
  });
  const whole = TileTree.empty().grow(leaves);
  assert.ok(whole.tree.root().equals(recursiveRoot(leaves.map(({ hash }) => hash))));
  const counts = new Map<string, number>();
  for (const { path } of whole.files) {
    const kind = path.replace(/^(tile\/\w+)\/.*?(\.p\/\d+)?$/, "$1$2");
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  // The example of the specification.
  assert.deepEqual(Object.fromEntries(counts), {
    "tile/0": 273,
    "tile/0.p/112": 1,
    "tile/1": 1,
    "tile/1.p/17": 1,
    "tile/2.p/1": 1,
    "tile/entries": 273,
    "tile/entries.p/112": 1,
  });
  let tree = TileTree.empty();
  const files = new Map<string, Buffer>();
  for (let at = 0, step = 1; at < leaves.length; at += step, step = (step * 7 + 3) % 1999) {
    const grown = tree.grow(leaves.slice(at, at + step));
    for (const { path, bytes } of grown.files) {
      assert.ok(!files.has(path), `${path} is written again, and a kill just then tears what a checkpoint needs`);
      files.set(path, bytes);
    }
    const hashes = leaves.slice(0, grown.tree.size).map(({ hash }) => hash);
    if (at < 800) assert.ok(grown.tree.root().equals(recursiveRoot(hashes)), `size ${grown.tree.size}`);
    tree = grown.tree;
  }
  assert.ok(tree.root().equals(whole.tree.root()));
  for (const { path, bytes } of whole.files) assert.ok(files.get(path)?.equals(bytes), path);
});

test("a tree of 256 entries is one full tile and a tile of one hash above it", () => {
  const leaves = Array.from({ length: 256 }, () => ({ entry: Buffer.from("x"), hash: leafHash(Buffer.from("x")) }));
  assert.deepEqual(
    TileTree.empty()
      .grow(leaves)
      .files.map(({ path, bytes }) => [path, bytes.length]),
    [
      ["tile/entries/000", 256 * 3],
      ["tile/0/000", 8192],
      ["tile/1/000.p/1", 32],
    ],
  );
});

test("paths are those of tlog-tiles", () => {
  assert.equal(tilePath(0, 1_234_067), "tile/0/x001/x234/067");
  assert.equal(tilePath("entries", 0), "tile/entries/000");
  assert.equal(tilePath("entries", 1000, 7), "tile/entries/x001/000.p/7");
});

test("a bundle that is not whole entries is none", () => {
  const bundle = encodeEntries([Buffer.from("a"), Buffer.alloc(65_535), Buffer.alloc(0)]);
  assert.deepEqual(
    decodeEntries(bundle)?.map(({ length }) => length),
    [1, 65_535, 0],
  );
  assert.equal(decodeEntries(bundle.subarray(0, -1)), undefined);
  assert.equal(decodeEntries(Buffer.concat([bundle, Buffer.of(0, 1)])), undefined);
});

/**
 * The test log of Tessera, the Go implementation: its key, its fifteen entries, and roots and signatures
 * that it made. Ed25519 has one signature for a key and a text, so ours must be the same bytes.
 */
const PEER = {
  origin: "example.com/log/testdata",
  // As in a signed note's private key: the key's type, one byte, then the 32 secret bytes.
  privateKey: "AeymY/SZAX0jZcJ8enZ5FY1Dz+wTML2yWSkK+9DSF3eg",
  verifierKey: "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx",
  entries: "one two three four five six seven eit nain ten ileven twelf threeten fourten fivten".split(" "),
  heads: {
    0: [
      "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
      "M9e0lhxJACzE1KoUdqKuPa+9p6R7dSW8BlEvrg/noo8FkGg6PbJoRNOcdjqjOq89wVvTA60eubCc4oufo5BvIVEgtQc=",
    ],
    1: [
      "0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek=",
      "M9e0lhr9kuLxGdAtaUrhm84TQffVsLdcy808sN0a3WyniNlfcr9+bywoiIke1YYciCNjJGkCgIlQ8b16jhsmg/SChAM=",
    ],
    3: [
      "Wqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=",
      "M9e0lvAQRtH832pk2RTbeSeZMkp4FZSdJYFBUjO5SKxuRbywPUF3cx+HUrb50kjd3rUWW/fj53Wj1dwcwh9bGQnqVAg=",
    ],
    15: [
      "rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=",
      "M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=",
    ],
  } as Readonly<Record<number, readonly [string, string]>>,
};

test("checkpoints are, byte for byte, those of the Go implementation", () => {
  const signer = { origin: PEER.origin, privateKey: keyFromSeed(Buffer.from(PEER.privateKey, "base64").subarray(1)) };
  assert.equal(verifierKey(signer), PEER.verifierKey);
  const leaves = PEER.entries.map((text) => ({ entry: Buffer.from(text), hash: leafHash(Buffer.from(text)) }));
  for (const [size, [root, signature]] of Object.entries(PEER.heads)) {
    const { tree } = TileTree.empty().grow(leaves.slice(0, Number(size)));
    const note = signCheckpoint(signer, { size: tree.size, root: tree.root() });
    assert.equal(note.toString(), `${PEER.origin}\n${size}\n${root}\n\n— ${PEER.origin} ${signature}\n`);
    assert.deepEqual(readCheckpoint(signer, note), { size: tree.size, root: tree.root() });
  }
});

test("openssl verifies a checkpoint's signature, as runbooks/audit-log.md says", async (t) => {
  const directory = await scratch(t);
  const runbook = await readFile(join(import.meta.dirname, "../../../../runbooks/audit-log.md"), "utf8");
  const [, commands = ""] = /```sh\n(head [^`]*)```/.exec(runbook) ?? [];
  const run = () => spawnSync("sh", ["-e", "-c", commands], { cwd: directory, encoding: "utf8" });
  const note = signCheckpoint({ origin: ORIGIN, privateKey: testKey }, { size: 12, root: EMPTY_ROOT });
  const publicKey = createPublicKey(testKey.export({ format: "pem", type: "pkcs8" }));
  await writeFile(join(directory, "checkpoint-key.pub"), publicKey.export({ format: "pem", type: "spki" }));
  await writeFile(join(directory, "checkpoint"), note);
  const good = run();
  assert.equal(good.status, 0, good.stderr);
  assert.match(good.stdout, /Signature Verified Successfully/);
  await writeFile(join(directory, "checkpoint"), note.toString().replace("\n12\n", "\n13\n"));
  assert.notEqual(run().status, 0);
});

test("a checkpoint of another log, key or content is refused, and one with a witness's signature is not", () => {
  const signer = { origin: ORIGIN, privateKey: testKey };
  const note = signCheckpoint(signer, { size: 5, root: EMPTY_ROOT }).toString();
  const witness = `— witness.example ${Buffer.alloc(76).toString("base64")}\n`;
  assert.equal(readCheckpoint(signer, Buffer.from(note + witness)).size, 5);
  const other = keyFromSeed(Buffer.alloc(32, 7));
  const bad = [
    signCheckpoint({ origin: ORIGIN, privateKey: other }, { size: 5, root: EMPTY_ROOT }),
    signCheckpoint({ origin: "another.example/log", privateKey: testKey }, { size: 5, root: EMPTY_ROOT }),
    note.replace("\n5\n", "\n6\n"),
    note.replace("\n5\n", "\n05\n"),
    note.replace("\n\n", "\nextension\n\n"),
    note.slice(0, note.indexOf("\n\n") + 2),
    "",
    "\n\n",
    Buffer.alloc(100_000),
  ];
  for (const text of bad) assert.throws(() => readCheckpoint(signer, Buffer.from(text)), CheckpointError);
});
