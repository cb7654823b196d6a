import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { symlink as makeSymlink, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { Parser } from "tar";
import { type TarHeader, TarReader } from "../../../sbom/generate/tar-reader.ts";
import {
  directory,
  END,
  file,
  gnuLong,
  hardlink,
  header,
  layer,
  padded,
  pax,
  paxRecord,
  resealed,
  symlink,
} from "../../support/layer-tar.ts";
import { scratch } from "../../support/scratch.ts";

interface Read extends TarHeader {
  readonly content: string;
}

function read(bytes: Buffer, chunkSize = 1 << 20): Read[] {
  const entries: Read[] = [];
  let current: TarHeader | undefined;
  let parts: Buffer[] = [];
  const reader = new TarReader({
    onEntry: (entry) => {
      current = entry;
      parts = [];
      return (chunk) => parts.push(Buffer.from(chunk));
    },
    onEntryEnd: () => entries.push({ ...(current as TarHeader), content: Buffer.concat(parts).toString("utf8") }),
  });
  for (let at = 0; at < bytes.length; at += chunkSize) reader.write(bytes.subarray(at, at + chunkSize));
  reader.end();
  return entries;
}

const names = (bytes: Buffer, chunkSize?: number): string[] => read(bytes, chunkSize).map((entry) => entry.path);
const malformed = { code: "SBOM_LAYER_MALFORMED" };

test("reads the same from chunks of any size", () => {
  const long = `${"d".repeat(90)}/${"ő".repeat(300)}/package.json`;
  const bytes = layer(
    pax({ path: long }),
    file("short", "one"),
    directory("d"),
    file("d/two", "2".repeat(1500)),
    symlink("s", "d"),
  );
  const whole = read(bytes);
  assert.deepEqual(
    whole.map((entry) => [entry.path, entry.kind, entry.link, entry.content.length]),
    [
      [long, "file", "", 3],
      ["d/", "directory", "", 0],
      ["d/two", "file", "", 1500],
      ["s", "symlink", "d", 0],
    ],
  );
  // A pax body cut inside a character is what `tar` 7.5 gets wrong.
  for (const size of [1, 7, 511, 512, 513, 1025, 1027]) assert.deepEqual(read(bytes, size), whole);
});

test("agrees with the tar package and with GNU tar on a directory that GNU tar packed as pax and as gnu", async (context) => {
  const root = await scratch(context);
  const deep = join(root, "tree", "a".repeat(80), "b".repeat(80));
  await mkdir(deep, { recursive: true });
  await writeFile(join(deep, "árvíztűrő.txt"), "x".repeat(5000));
  await writeFile(join(root, "tree", "plain"), "plain");
  await makeSymlink("../".repeat(60), join(root, "tree", "link"));
  for (const format of ["pax", "gnu"]) {
    const bytes = execFileSync("tar", [`--format=${format}`, "--sort=name", "-C", root, "-cf", "-", "tree"]);
    const theirs: string[] = [];
    const parser = new Parser({
      onReadEntry: (entry) => {
        theirs.push(`${entry.path} ${entry.size} ${entry.linkpath ?? ""}`);
        entry.resume();
      },
    });
    parser.write(bytes);
    parser.end();
    const ours = read(bytes).map((entry) => `${entry.path} ${entry.sizeBytes} ${entry.link}`);
    assert.ok(ours.length === 6 && ours.some((line) => line.includes("árvíztűrő")), ours.join("\n"));
    assert.deepEqual(ours, theirs, format);
  }
});

test("takes a name from a pax header, also with a line break in it", () => {
  assert.deepEqual(names(layer(pax({ path: "a\nb/package.json" }), file("short"))), ["a\nb/package.json"]);
});

test("takes names from GNU headers, and for one entry only", () => {
  const name = "n".repeat(300);
  const target = "t".repeat(300);
  const [first, second] = read(
    layer(gnuLong(name), gnuLong(target, "NextFileHasLongLinkpath"), symlink("short", "x"), file("other")),
  );
  assert.deepEqual([first?.path, first?.link, second?.path], [name, target, "other"]);
});

test("joins the prefix of a ustar header", () => {
  const path = `${"p".repeat(120)}/${"n".repeat(90)}`;
  assert.deepEqual(names(layer(header({ path, size: 0, type: "File" }))), [path]);
});

test("takes the size from a pax header, and no size from a global one", () => {
  const paxSized = Buffer.concat([pax({ size: "5" }), header({ path: "a", size: 0, type: "File" }), padded("hello")]);
  assert.equal(read(layer(paxSized))[0]?.content, "hello");
  const withGlobal = layer(pax({ size: "0", path: "zz" }, "GlobalExtendedHeader"), file("a", "hello"), file("b"));
  assert.deepEqual(
    read(withGlobal).map((entry) => [entry.path, entry.content]),
    [
      ["a", "hello"],
      ["b", ""],
    ],
  );
});

test("reads no content after a link whose header has a size, as Go's reader does", () => {
  const bytes = layer(header({ path: "l", size: 512, type: "Link", linkpath: "a" }), file("next", "x"));
  assert.deepEqual(names(bytes), ["l", "next"]);
});

test("keeps two names apart that differ only in bytes that are not UTF-8", () => {
  const named = (byte: number): Buffer => {
    const bytes = file("aXb");
    bytes[1] = byte;
    return resealed(bytes);
  };
  assert.deepEqual(names(layer(named(0xff), named(0xfe))), ["a\\xffb", "a\\xfeb"]);
});

test("gives a pax sparse file its real name and says that it is sparse", () => {
  const records = { "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "real/package.json" };
  const [entry] = read(layer(pax(records), file("GNUSparseFile.0/x", "map")));
  assert.deepEqual([entry?.path, entry?.isSparse], ["real/package.json", true]);
});

test("reads base-256 sizes and refuses negative and huge ones", () => {
  const sized = (first: number, last: number): Buffer => {
    const bytes = file("a", "hello");
    bytes.fill(0, 124, 136);
    bytes[124] = first;
    bytes[135] = last;
    return layer(resealed(bytes));
  };
  assert.equal(read(sized(0x80, 5))[0]?.content, "hello");
  assert.throws(() => read(sized(0xff, 5)), malformed);
  assert.throws(() => read(sized(0xbf, 5)), malformed);
});

test("ignores what follows the two zero blocks, in memory that does not grow", () => {
  const reader = new TarReader({ onEntry: () => undefined, onEntryEnd: () => {} });
  reader.write(layer(file("a")));
  const before = process.memoryUsage().arrayBuffers;
  const piece = Buffer.alloc(1 << 20, 1);
  for (let i = 0; i < 64; i += 1) reader.write(piece);
  reader.end();
  assert.ok(process.memoryUsage().arrayBuffers - before < 8 << 20);
});

test("takes an archive without entries, without any byte, and without its end", () => {
  assert.deepEqual(names(END), []);
  assert.deepEqual(names(Buffer.alloc(0)), []);
  assert.deepEqual(names(file("a", "x")), ["a"]);
});

const broken: Readonly<Record<string, Buffer>> = {
  "a wrong checksum": (() => {
    const bytes = layer(file("a"));
    bytes[0] = 0x62;
    return bytes;
  })(),
  "a size that is not octal": (() => {
    const bytes = file("a", "x");
    bytes.write("0000000001x", 124, "latin1");
    return layer(resealed(bytes));
  })(),
  "one zero block in the middle": Buffer.concat([file("a"), Buffer.alloc(512), file("b"), END]),
  "an end inside a header": layer(file("a")).subarray(0, 300),
  "an end inside content": file("a", "x".repeat(2000)).subarray(0, 1024),
  "an end inside padding": file("a", "x").subarray(0, 1000),
  "an unknown type": layer(resealed(Buffer.from(file("a").fill("V", 156, 157)))),
  "an old GNU sparse file": layer(resealed(Buffer.from(file("a").fill("S", 156, 157)))),
  "a pax header above 1 MiB": layer(pax({ comment: "c".repeat(1 << 20) }), file("a")),
  "a pax record with a wrong length": layer(
    Buffer.concat([header({ path: "x", size: 9, type: "ExtendedHeader" }), padded("99 a=b\n\n\n")]),
    file("a"),
  ),
  "a pax record without a key": layer(
    Buffer.concat([header({ path: "x", size: 6, type: "ExtendedHeader" }), padded("6 =bc\n")]),
    file("a"),
  ),
  "a pax path with a NUL": layer(pax({ path: Buffer.from("a\0b") }), file("a")),
  "a pax size that is no number": layer(pax({ size: "1e3" }), file("a")),
  text: Buffer.alloc(2048, "not a tar at all "),
};
for (const [what, bytes] of Object.entries(broken)) {
  test(`refuses ${what}`, () => {
    assert.throws(() => read(bytes), malformed);
    assert.throws(() => read(bytes, 100), malformed);
  });
}

test("never throws anything but its own error on bytes changed at random", () => {
  const good = layer(
    pax({ path: "ő".repeat(200) }),
    file("a", "x".repeat(700)),
    gnuLong("n".repeat(150)),
    hardlink("b", "a"),
    symlink("c", "a"),
  );
  let seed = 12345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  let refused = 0;
  for (let round = 0; round < 2000; round += 1) {
    const bytes = Buffer.from(good);
    for (let i = 0; i <= random(4); i += 1) bytes[random(bytes.length)] = random(256);
    // Half of the rounds keep the first checksum right, so that fields behind it are reached.
    if (round % 2 === 0) resealed(bytes.subarray(0, 512));
    try {
      read(bytes.subarray(0, random(bytes.length + 1)), 1 + random(3000));
    } catch (cause) {
      refused += 1;
      assert.equal((cause as { code?: string }).code, "SBOM_LAYER_MALFORMED", String(cause));
    }
  }
  assert.ok(refused > 500, `${refused} refused`);
});

test("makes pax records whose length counts itself", () => {
  assert.equal(
    paxRecord("path", "x".repeat(88)).length,
    Number.parseInt(paxRecord("path", "x".repeat(88)).toString(), 10),
  );
});
