import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { bufferAccess, readAhead, readZipMember, zipMembers } from "../../sbom/zip-reader.ts";
import { scratch } from "../support/scratch.ts";
import { zipFile } from "../support/zip-file.ts";

const MAX = 1 << 20;

function contents(zip: Buffer): Record<string, string> {
  const access = bufferAccess(zip);
  const members = [...zipMembers(access)];
  return Object.fromEntries(members.map((one) => [one.name, readZipMember(access, one, MAX).toString()]));
}

test("reads stored and deflated members, names with any letters, and an empty archive", () => {
  const large = "x".repeat(100_000);
  const zip = zipFile([
    { name: "a.txt", content: "one" },
    { name: "ä/b.txt", content: large },
    { name: "c", content: "three", isStored: true },
    { name: "empty", content: "" },
  ]);
  assert.deepEqual(contents(zip), { "a.txt": "one", "ä/b.txt": large, c: "three", empty: "" });
  assert.deepEqual(contents(zipFile([])), {});
  // A comment after the end.
  const commented = Buffer.concat([zip.subarray(0, zip.length - 2), Buffer.of(3, 0), Buffer.from("end")]);
  assert.equal(contents(commented)["a.txt"], "one");
});

test("reads what other tools write, with 64-bit sizes too", { skip: !hasPython() }, async (context) => {
  const directory = await scratch(context);
  await mkdir(join(directory, "in"));
  await writeFile(join(directory, "in/a.txt"), "one");
  const path = join(directory, "a.zip");
  const script = [
    "import sys, zipfile",
    "with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as z:",
    "  z.write(sys.argv[2], 'a.txt')",
    "  with z.open('wide.txt', 'w', force_zip64=True) as f: f.write(b'two')",
  ].join("\n");
  execFileSync("python3", ["-c", script, path, join(directory, "in/a.txt")]);
  assert.deepEqual(contents(readFileSync(path)), { "a.txt": "one", "wide.txt": "two" });
});

function hasPython(): boolean {
  try {
    execFileSync("python3", ["-c", ""]);
    return true;
  } catch {
    return false;
  }
}

test("refuses an archive that is cut short, damaged, encrypted or lies about its members", () => {
  const zip = zipFile([{ name: "a.txt", content: "some content that is deflated" }]);
  const changed = (offset: number, ...bytes: number[]): Buffer => {
    const copy = Buffer.from(zip);
    copy.set(bytes, offset < 0 ? copy.length + offset : offset);
    return copy;
  };
  const directory = zip.indexOf("PK\x01\x02");
  const cases: Record<string, Buffer> = {
    empty: Buffer.alloc(0),
    "cut short": zip.subarray(0, zip.length - 1),
    "only its start": zip.subarray(0, 40),
    "content changed": changed(40, 0xff),
    "checksum changed": changed(directory + 16, 1, 2, 3, 4),
    "size above the content": changed(directory + 24, 0xff),
    encrypted: changed(directory + 8, 1),
    "unknown method": changed(directory + 10, 99),
    "offset outside": changed(directory + 42, 0xff, 0xff, 0xff, 0x7f),
    "count above the members": changed(-12, 2),
    "count below the members": changed(-12, 0),
    "no entry": changed(directory, 0),
    "no local header": changed(0, 0),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    assert.throws(() => contents(bytes), { code: "SBOM_ZIP_MALFORMED" }, name);
  }
});

test("of thousands of members no read takes more than one window, and each is as it was", () => {
  const all = Array.from({ length: 4000 }, (_, i) => ({ name: `${i}-${"n".repeat(i % 90)}`, content: `content ${i}` }));
  const zip = bufferAccess(zipFile(all));
  const lengths: number[] = [];
  const counted = {
    size: zip.size,
    read: (offset: number, length: number, room?: Buffer) => {
      lengths.push(length);
      const bytes = zip.read(offset, length);
      if (room === undefined) return bytes;
      bytes.copy(room);
      return room.subarray(0, length);
    },
  };
  const ahead = readAhead(counted);
  const found = zipMembers(counted).map((one) => ({
    name: one.name,
    content: readZipMember(ahead, one, MAX).toString(),
  }));
  assert.deepEqual(found.toArray(), all);
  assert.ok(Math.max(...lengths) <= 65_557, `${Math.max(...lengths)} bytes at once`);
  assert.ok(lengths.length < 30, `${lengths.length} reads`);
});

test("reads no more compressed bytes than content of the allowed size can have", () => {
  const lying = zipFile([{ name: "a.txt", content: "one" }]);
  lying.writeUInt32LE(2 * MAX + 1, lying.indexOf("PK\x01\x02") + 20);
  assert.throws(() => contents(lying), { code: "SBOM_ZIP_MALFORMED", message: /compressed bytes/ });
});

test("inflates no more than the member says, and no more than it may", () => {
  const bomb = zipFile([{ name: "bomb", content: Buffer.alloc(2 * MAX) }]);
  assert.throws(() => contents(bomb), { code: "SBOM_ZIP_MALFORMED" });
  const lying = Buffer.from(bomb);
  lying.writeUInt32LE(10, lying.indexOf("PK\x01\x02") + 24);
  assert.throws(() => contents(lying), { code: "SBOM_ZIP_MALFORMED" });
});
