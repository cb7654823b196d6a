import assert from "node:assert/strict";
import { createPublicKey, generateKeyPairSync, hash } from "node:crypto";
import { cp, mkdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { before, type TestContext } from "node:test";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { signCheckpoint, verifierKey } from "../../../compose/services/audit/src/checkpoint.ts";
import { leafHash } from "../../../compose/services/audit/src/merkle.ts";
import { encodeEntries } from "../../../compose/services/audit/src/tile-path.ts";
import { TileTree } from "../../../compose/services/audit/src/tile-tree.ts";
import { type LogKey, parseCheckpoint, parseLogKey } from "../../../installer/audit/checkpoint.ts";
import { verifyAuditLog } from "../../../installer/audit/verify-log.ts";
import { breakableDisk, ORIGIN, openLog, testKey, treelessDisk } from "../../compose/services/audit/audit-directory.ts";
import { scratch } from "../../support/scratch.ts";

const SIGNER = { origin: ORIGIN, privateKey: testKey };
const KEY: LogKey = { publicKey: createPublicKey(testKey.export({ format: "pem", type: "pkcs8" })), origin: undefined };
const SIZE = 700;

function event(number: number): Buffer {
  return Buffer.from(JSON.stringify({ id: number, ts: new Date(1_800_000_000_000 + number).toISOString() }));
}

function throwsCode(code: string, work: () => unknown): SealiftError {
  let thrown: unknown;
  assert.throws(work, (cause) => {
    thrown = cause;
    return cause instanceof SealiftError && cause.code === code;
  });
  return thrown as SealiftError;
}

/** A log of 700 entries in which a checkpoint was also made at 300. */
async function writtenLog(t: TestContext): Promise<{ directory: string; older: Buffer }> {
  const directory = join(await scratch(t), "log");
  const log = await openLog(directory);
  const append = (from: number, to: number) => log.append(Array.from({ length: to - from }, (_, i) => event(from + i)));
  await append(0, 300);
  await log.checkpoint();
  const older = await readFile(join(directory, "checkpoint"));
  await append(300, SIZE);
  await log.close();
  return { directory, older };
}

test("a log as the service wrote it holds", async (t) => {
  const { directory, older } = await writtenLog(t);
  const progress: number[] = [];
  const result = verifyAuditLog(directory, {
    key: KEY,
    from: { note: older, name: "older" },
    onProgress: (done) => progress.push(done),
  });
  assert.deepEqual(result, {
    origin: ORIGIN,
    entries: SIZE,
    root: (await readFile(join(directory, "checkpoint"), "utf8")).split("\n")[2],
    firstTime: "2027-01-15T08:00:00.000Z",
    lastTime: "2027-01-15T08:00:00.699Z",
    isSignatureChecked: true,
    continues: 300,
    behindCheckpoint: 0,
  });
  assert.deepEqual(progress, [256, 512, 700]);
  assert.equal(verifyAuditLog(directory).isSignatureChecked, false);
});

test("what is durable behind the checkpoint is counted", async (t) => {
  const directory = join(await scratch(t), "log");
  const disk = breakableDisk();
  const log = await openLog(directory, { disk });
  await log.append([event(0)]);
  await log.checkpoint();
  assert.equal(verifyAuditLog(directory).behindCheckpoint, 0);
  const { makeDirectory } = disk;
  disk.makeDirectory = treelessDisk().makeDirectory;
  for (let i = 1; i < 41; i += 1) await log.append([event(i), Buffer.alloc(3_000, "x")]);
  const result = verifyAuditLog(directory);
  assert.deepEqual([result.entries, result.behindCheckpoint], [1, 80]);
  disk.makeDirectory = makeDirectory;
  await log.close();
  assert.equal(verifyAuditLog(directory).behindCheckpoint, 0);
});

test("a log of no entries, of one full tile and of three levels hold", async (t) => {
  for (const size of [0, 1, 255, 256, 257, 512, 65_536]) {
    const directory = join(await scratch(t), "log");
    const log = await openLog(directory, { segmentBytes: 8 * 1024 * 1024, checkpointEntries: 100_000 });
    if (size > 0) await log.append(Array.from({ length: size }, (_, i) => Buffer.from(`entry ${i}`)));
    await log.close();
    const { entries, firstTime } = verifyAuditLog(directory, { key: KEY });
    assert.deepEqual([entries, firstTime], [size, undefined]);
  }
});

test("any bit that is flipped in what a checkpoint covers is found", async (t) => {
  const { directory } = await writtenLog(t);
  // Of the partial tiles those of the last checkpoint.
  const files = [
    "checkpoint",
    ...["entries", "0"].flatMap((row) => [`${row}/000`, `${row}/001`, `${row}/002.p/188`]),
    "1/000.p/2",
  ].map((name) => join(directory, name === "checkpoint" ? name : `tile/${name}`));
  let seed = 1;
  for (const path of files) {
    const bytes = await readFile(path);
    for (let i = 0; i < 40; i += 1) {
      seed = (seed * 48_271) % 2_147_483_647;
      const changed = Buffer.from(bytes);
      const at = seed % bytes.length;
      changed[at] = (changed[at] ?? 0) ^ (1 << (seed % 8));
      await writeFile(path, changed);
      assert.throws(() => verifyAuditLog(directory, { key: KEY }), SealiftError, `${path}, byte ${at}`);
    }
    await writeFile(path, bytes);
  }
  verifyAuditLog(directory, { key: KEY });
});

test("a changed entry is found and named", async (t) => {
  const { directory } = await writtenLog(t);
  const path = join(directory, "tile/entries/001");
  const bytes = await readFile(path);
  bytes.write("9", bytes.indexOf(`{"id":300`) + 6);
  await writeFile(path, bytes);
  assert.match(throwsCode("AUDIT_ENTRY_CHANGED", () => verifyAuditLog(directory)).message, /^entry 300 /);
});

/** Writes the entries of bundle `index` anew. */
async function editBundle(path: string, edit: (entries: Buffer[]) => Buffer[]): Promise<void> {
  const bytes = await readFile(path);
  const entries: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 2 + bytes.readUInt16BE(at)) {
    entries.push(bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at)));
  }
  await writeFile(path, encodeEntries(edit(entries)));
}

test("an entry that was removed, added, or changed places is found", async (t) => {
  const { directory } = await writtenLog(t);
  const path = join(directory, "tile/entries/000");
  const bytes = await readFile(path);
  const edits: readonly (readonly [string, (entries: Buffer[]) => Buffer[]])[] = [
    ["AUDIT_LOG_INCOMPLETE", (entries) => entries.toSpliced(7, 1)],
    ["AUDIT_ENTRY_CHANGED", (entries) => entries.toSpliced(7, 0, event(7))],
    ["AUDIT_ENTRY_CHANGED", ([first, second, ...rest]) => [second as Buffer, first as Buffer, ...rest]],
  ];
  for (const [code, edit] of edits) {
    await editBundle(path, edit);
    throwsCode(code, () => verifyAuditLog(directory));
    await writeFile(path, bytes);
  }
});

test("a log that was cut off, and one of which files are missing, is found", async (t) => {
  const { directory } = await writtenLog(t);
  for (const name of [
    "tile/entries/002.p/188",
    "tile/0/002.p/188",
    "tile/entries/000",
    "tile/0/001",
    "tile/1/000.p/2",
  ]) {
    const path = join(directory, name);
    await rename(path, `${path}-away`);
    throwsCode("AUDIT_LOG_INCOMPLETE", () => verifyAuditLog(directory));
    await rename(`${path}-away`, path);
  }
  const path = join(directory, "tile/entries/002.p/188");
  await truncate(path, 1000);
  assert.match(
    throwsCode("AUDIT_LOG_INCOMPLETE", () => verifyAuditLog(directory)).message,
    /^entries 5\d\d to 699 are missing/,
  );
});

async function swap(directory: string, one: string, two: string): Promise<void> {
  const paths = [one, two].map((name) => join(directory, name));
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = await Promise.all(paths.map((path) => readFile(path)));
  await writeFile(paths[0] ?? "", second);
  await writeFile(paths[1] ?? "", first);
}

test("tiles and bundles that changed places are found", async (t) => {
  const { directory } = await writtenLog(t);
  await swap(directory, "tile/0/000", "tile/0/001");
  throwsCode("AUDIT_ENTRY_CHANGED", () => verifyAuditLog(directory));
  await swap(directory, "tile/entries/000", "tile/entries/001");
  assert.match(throwsCode("AUDIT_TILE_CHANGED", () => verifyAuditLog(directory)).message, /tile\/1\/000", hash 0/);
  const upper = join(directory, "tile/1/000.p/2");
  const bytes = await readFile(upper);
  await writeFile(upper, Buffer.concat([bytes.subarray(32), bytes.subarray(0, 32)]));
  throwsCode("AUDIT_ROOT_DIFFERS", () => verifyAuditLog(directory));
});

/** Rewrites the whole log consistently, as somebody with every right on the host can, but without the key. */
async function rewrite(directory: string, entries: readonly Buffer[], signer = SIGNER): Promise<void> {
  await rm(join(directory, "tile"), { recursive: true });
  const { tree, files } = TileTree.empty().grow(entries.map((entry) => ({ entry, hash: leafHash(entry) })));
  for (const { path, bytes } of files) {
    await mkdir(join(directory, path, ".."), { recursive: true });
    await writeFile(join(directory, path), bytes);
  }
  await writeFile(join(directory, "checkpoint"), signCheckpoint(signer, { size: tree.size, root: tree.root() }));
}

const entries = (count: number, changed?: number): Buffer[] =>
  Array.from({ length: count }, (_, i) => (i === changed ? Buffer.from("{}") : event(i)));

test("a whole log written anew is found by its key, or by an older checkpoint if the key was used", async (t) => {
  const { directory, older } = await writtenLog(t);
  const other = generateKeyPairSync("ed25519").privateKey;
  await rewrite(directory, entries(SIZE, 100), { origin: ORIGIN, privateKey: other });
  verifyAuditLog(directory);
  throwsCode("AUDIT_SIGNATURE_INVALID", () => verifyAuditLog(directory, { key: KEY }));
  await rewrite(directory, entries(SIZE, 100));
  verifyAuditLog(directory, { key: KEY });
  throwsCode("AUDIT_LOG_FORKED", () => verifyAuditLog(directory, { key: KEY, from: { note: older, name: "older" } }));
  await rewrite(directory, entries(SIZE, 300));
  verifyAuditLog(directory, { key: KEY, from: { note: older, name: "older" } });
});

test("a rewound log is found by an older checkpoint that is longer", async (t) => {
  const { directory, older } = await writtenLog(t);
  await rewrite(directory, entries(299));
  verifyAuditLog(directory, { key: KEY });
  throwsCode("AUDIT_LOG_REWOUND", () => verifyAuditLog(directory, { key: KEY, from: { note: older, name: "older" } }));
  await rewrite(directory, entries(300));
  assert.equal(verifyAuditLog(directory, { key: KEY, from: { note: older, name: "older" } }).continues, 300);
  const empty = signCheckpoint(SIGNER, { size: 0, root: hash("sha256", "", "buffer") });
  assert.equal(verifyAuditLog(directory, { key: KEY, from: { note: empty, name: "empty" } }).continues, 0);
});

test("a forged checkpoint, and one of another key or log, is refused", async (t) => {
  const { directory, older } = await writtenLog(t);
  const path = join(directory, "checkpoint");
  const note = await readFile(path, "utf8");
  const refuse = async (code: string, text: string | Buffer): Promise<void> => {
    await writeFile(path, text);
    throwsCode(code, () => verifyAuditLog(directory, { key: KEY }));
  };
  await refuse("AUDIT_SIGNATURE_INVALID", note.replace("\n700\n", "\n699\n"));
  await refuse("AUDIT_SIGNATURE_INVALID", note.replaceAll(ORIGIN, "another.example/log"));
  await refuse("AUDIT_SIGNATURE_INVALID", note.replace("\n\n", "\nextension\n\n"));
  for (const text of [
    "",
    note.slice(0, -1),
    note.replace("\n\n", "\n"),
    note.replace("\n700\n", "\n0700\n"),
    note.replace("\n700\n", "\n-1\n"),
    note.replace("\n700\n", "\n7e2\n"),
    note.replace("\n700\n", "\r\n700\n"),
    note.replace("\u2014", "-"),
    note.replace(/(\n\n.{30}).*/, "$1\n"),
    note.slice(0, note.indexOf("\n\n") + 2),
    Buffer.concat([Buffer.from(note), Buffer.of(0xff, 0x0a)]),
  ]) {
    await refuse("AUDIT_CHECKPOINT_MALFORMED", text);
  }
  await writeFile(path, note);
  for (const from of [
    { note: older.subarray(0, 20), code: "AUDIT_CHECKPOINT_MALFORMED" },
    { note: Buffer.from(older.toString().replace("\n300\n", "\n299\n")), code: "AUDIT_SIGNATURE_INVALID" },
    {
      note: signCheckpoint({ origin: "another.example/log", privateKey: testKey }, { size: 3, root: Buffer.alloc(32) }),
      code: "AUDIT_LOG_FORKED",
    },
  ]) {
    throwsCode(from.code, () => verifyAuditLog(directory, { key: KEY, from: { note: from.note, name: "from" } }));
  }
  const witness = `\u2014 witness.example ${Buffer.alloc(76).toString("base64")}\n`;
  await writeFile(path, note + witness);
  assert.equal(verifyAuditLog(directory, { key: KEY }).entries, SIZE);
});

test("a directory without a log is none", async (t) => {
  throwsCode("AUDIT_LOG_NOT_FOUND", () => verifyAuditLog("/nonexistent"));
  const directory = await scratch(t);
  throwsCode("AUDIT_LOG_NOT_FOUND", () => verifyAuditLog(directory));
});

test("while a log grows, a partial tile that became full is read from the full one", async (t) => {
  const { directory, older } = await writtenLog(t);
  await cp(directory, `${directory}-2`, { recursive: true });
  await writeFile(join(`${directory}-2`, "checkpoint"), older);
  assert.equal(verifyAuditLog(`${directory}-2`, { key: KEY }).entries, 300);
});

test("keys are Ed25519 public keys in PEM or verifier keys of a signed note", () => {
  const pem = KEY.publicKey.export({ format: "pem", type: "spki" }).toString();
  assert.equal(parseLogKey(pem, "key").origin, undefined);
  const line = verifierKey(SIGNER);
  assert.equal(parseLogKey(`${line}\n`, "key").origin, ORIGIN);
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
  for (const text of [
    "",
    "text",
    testKey.export({ format: "pem", type: "pkcs8" }).toString(),
    ec.publicKey.export({ format: "pem", type: "spki" }).toString(),
    line.replace("site", "sire"),
    line.replace("+A", "+B"),
  ]) {
    throwsCode("AUDIT_KEY_MALFORMED", () => parseLogKey(text, "key"));
  }
});

/** Facts of the test log of Tessera, the Go implementation: entries, key, and the checkpoint that it signed. */
const PEER_ENTRIES = "one two three four five six seven eit nain ten ileven twelf threeten fourten fivten".split(" ");
const PEER_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx";
const PEER_CHECKPOINT = [
  "example.com/log/testdata",
  "15",
  "rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=",
  "",
  "\u2014 example.com/log/testdata M9e0luh4jTG+UMBqOUo9/q+yAEvx1ilBEniMvjf1zfcBOhg+CKubMt53MvIt/uEWP6zdkdIQzd/fmwlM/dlPWF74ewI=",
  "",
].join("\n");

let peerLeaves: Buffer[] = [];
before(() => {
  peerLeaves = PEER_ENTRIES.map((text) => hash("sha256", Buffer.from(`\0${text}`), "buffer"));
});

test("the Go implementation's log holds, with the checkpoint that it signed", async (t) => {
  const directory = await scratch(t);
  await mkdir(join(directory, "tile/entries/000.p"), { recursive: true });
  await mkdir(join(directory, "tile/0/000.p"), { recursive: true });
  const bundle = PEER_ENTRIES.map((text) => Buffer.concat([Buffer.of(0, text.length), Buffer.from(text)]));
  await writeFile(join(directory, "tile/entries/000.p/15"), Buffer.concat(bundle));
  await writeFile(join(directory, "tile/0/000.p/15"), Buffer.concat(peerLeaves));
  await writeFile(join(directory, "checkpoint"), PEER_CHECKPOINT);
  const result = verifyAuditLog(directory, { key: parseLogKey(PEER_KEY, "peer") });
  assert.deepEqual([result.entries, result.behindCheckpoint], [15, 0]);
  assert.equal(parseCheckpoint(Buffer.from(PEER_CHECKPOINT), "peer").signatures[0]?.keyId, "33d7b496");
});
