import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { readTableBlobs } from "../../../sbom/generate/sqlite-table.ts";
import { RPM_SCHEMA } from "../../support/rpm-database.ts";

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor(state / 65536) % below;
  };
}

/** A table that grew and shrank, and what SQLite itself reads from it. */
function database(pageBytes: number, seed: number): { readonly bytes: Buffer; readonly truth: readonly Buffer[] } {
  const next = random(seed);
  const made = new DatabaseSync(":memory:");
  made.exec(`PRAGMA page_size = ${pageBytes}; CREATE TABLE before (x); ${RPM_SCHEMA}; CREATE INDEX i ON before (x)`);
  const insert = made.prepare("INSERT INTO Packages (blob) VALUES (?)");
  for (let i = 0; i < 300; i += 1) {
    insert.run(Buffer.alloc(next(8) === 0 ? next(40_000) : next(700), i));
    made.exec(`INSERT INTO before VALUES ('${"k".repeat(next(300))}')`);
  }
  made.exec("DELETE FROM Packages WHERE hnum % 3 = 1; INSERT INTO Packages (hnum, blob) VALUES (1000000007, x'00ff')");
  const rows = made.prepare("SELECT blob FROM Packages ORDER BY hnum").all() as { blob: Uint8Array }[];
  const bytes = Buffer.from(made.serialize());
  made.close();
  return { bytes, truth: rows.map(({ blob }) => Buffer.from(blob)) };
}

for (const pageBytes of [512, 1024, 4096, 65_536]) {
  test(`reads a table of pages of ${pageBytes} bytes as SQLite does`, () => {
    const { bytes, truth } = database(pageBytes, pageBytes);
    assert.ok(truth.length > 150);
    assert.deepEqual([...readTableBlobs(bytes, "Packages", 1)], truth);
  });
}

test("refuses what is no database, has no such table or no blob in it, and a view of that name", () => {
  const { bytes } = database(1024, 1);
  const read = (from: Buffer, table = "Packages", column = 1): Buffer[] => [...readTableBlobs(from, table, column)];
  for (const from of [
    Buffer.alloc(0),
    Buffer.alloc(1024),
    bytes.subarray(0, 600),
    bytes.subarray(0, bytes.length / 2),
  ]) {
    assert.throws(() => read(from), RangeError);
  }
  assert.throws(() => read(bytes, "packages"), /no table/);
  assert.throws(() => read(bytes, "before", 0), /no blob/);
  assert.throws(() => read(bytes, "Packages", 7), /no blob/);
  const hostile = new DatabaseSync(":memory:");
  hostile.exec(
    "CREATE VIEW Packages AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT n, n FROM r",
  );
  assert.throws(() => read(Buffer.from(hostile.serialize())), /no table/);
  hostile.close();
});

test("refuses pages that are used twice, so that a tree cannot grow out of a few", () => {
  const { bytes } = database(512, 3);
  const pages = bytes.length / 512;
  let refused = 0;
  for (let page = 2; page <= pages; page += 1) {
    const at = (page - 1) * 512;
    if (bytes[at] !== 0x05 || bytes.readUInt16BE(at + 3) === 0) continue;
    const changed = Buffer.from(bytes);
    // The last child is made the first one again.
    changed.copy(changed, at + 8, at + changed.readUInt16BE(at + 12), at + changed.readUInt16BE(at + 12) + 4);
    try {
      [...readTableBlobs(changed, "Packages", 1)];
    } catch (cause) {
      assert.match(String(cause), /used twice/);
      refused += 1;
    }
  }
  assert.ok(refused > 0);
});

test("ends with rows or a RangeError whatever bytes are changed", () => {
  const { bytes } = database(512, 5);
  const next = random(20261121);
  let refused = 0;
  for (let i = 0; i < 1500; i += 1) {
    const changed = Buffer.from(bytes);
    for (let n = 0; n <= next(3); n += 1) {
      // Half of them where a page's tree begins.
      const at = i % 2 === 0 ? next(changed.length / 512) * 512 + next(16) : next(changed.length);
      changed[at] = [0, 255, 1, next(256)][next(4)] as number;
    }
    let rows = 0;
    try {
      for (const blob of readTableBlobs(changed, "Packages", 1)) rows += blob.length;
    } catch (cause) {
      assert.ok(cause instanceof RangeError, String(cause));
      refused += 1;
    }
    assert.ok(rows <= bytes.length);
  }
  assert.ok(refused > 100, `${refused} refused`);
});
