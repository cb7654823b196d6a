import assert from "node:assert/strict";
import { createHash, createPublicKey } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { parseCheckpoint } from "../../../installer/audit/checkpoint.ts";
import { type EntryFilter, exportHead, exportLine, isChosen } from "../../../installer/audit/export-log.ts";
import { openLog, testKey } from "../../compose/services/audit/audit-directory.ts";
import { sealift } from "../../support/command-line.ts";
import { random } from "../../support/faulty-disk.ts";
import { scratch } from "../../support/scratch.ts";

const ENTRIES = 600;
const START = Date.parse("2026-11-21T07:00:00.000Z");

/** Events of three tenants, by a seed. */
function events(count: number): Record<string, unknown>[] {
  const next = random(7);
  const one = (of: readonly string[]): string => of[Math.floor(next() * of.length)] as string;
  return Array.from({ length: count }, (_, i) => ({
    ...{ v: 1, id: `id-${i}`, ts: new Date(START + i * 1000).toISOString(), service: "gateway" },
    type: one(["request.allowed", "request.settled", "request.refused.model"]),
    requestId: `r-${Math.floor(i / 2)}`,
    tenant: one(["a", "b", "c"]),
    decision: one(["allow", "deny"]),
    findings: { email: Math.floor(next() * 3) },
  }));
}

/** RFC 4180, written here anew. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [[]];
  let cell = "";
  let isQuoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i] as string;
    if (isQuoted && c === '"' && text[i + 1] === '"') {
      cell += '"';
      i += 1;
    } else if (c === '"') {
      isQuoted = !isQuoted;
    } else if (!isQuoted && (c === "," || c === "\n")) {
      rows.at(-1)?.push(cell.replace(/\r$/, ""));
      cell = "";
      if (c === "\n") rows.push([]);
    } else {
      cell += c;
    }
  }
  return rows.filter((row) => row.length > 0);
}

const hashOf = (...parts: readonly (string | Buffer)[]): Buffer => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** RFC 6962, by its own words. */
function rootOf(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 1) return leaves[0] as Buffer;
  let split = 1;
  while (split * 2 < leaves.length) split *= 2;
  return hashOf("\x01", rootOf(leaves.slice(0, split)), rootOf(leaves.slice(split)));
}

async function exportedLog(
  root: string,
): Promise<{ directory: string; key: string; given: Record<string, unknown>[] }> {
  const [directory, key] = [join(root, "log"), join(root, "key.pem")];
  const log = await openLog(directory);
  const given = events(ENTRIES);
  for (let i = 0; i < ENTRIES; i += 100) {
    await log.append(given.slice(i, i + 100).map((event) => Buffer.from(JSON.stringify(event))));
  }
  await log.close();
  const publicKey = createPublicKey(testKey.export({ format: "pem", type: "pkcs8" }));
  await writeFile(key, publicKey.export({ format: "pem", type: "spki" }));
  return { directory, key, given };
}

test("an export of all entries gives the root of the checkpoint beside it", async (t) => {
  const root = await scratch(t);
  const { directory, key, given } = await exportedLog(root);
  const out = join(root, "all.jsonl");
  const done = await sealift(["audit", "export", directory, "--out", out, "--key", key]);
  assert.equal(done.exit, 0, done.stderr);
  const lines = readFileSync(out, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ event }) => event),
    given,
  );
  const checkpoint = parseCheckpoint(readFileSync(`${out}.checkpoint`), "checkpoint");
  assert.equal(checkpoint.size, ENTRIES);
  assert.ok(rootOf(lines.map(({ leafHash }) => Buffer.from(leafHash, "base64"))).equals(checkpoint.root));
  const again = await sealift(["audit", "export", directory, "--out", out]);
  assert.equal(again.exit, 4, "a file is never written over");
  assert.match(again.stderr, /\[FILE_EXISTS\]/);
});

const MEMBER_OF: Readonly<Record<string, string>> = { request: "requestId" };

function pairs(options: readonly string[]): [string, string][] {
  return options.flatMap((name, i): [string, string][] => (i % 2 === 0 ? [[name.slice(2), options[i + 1] ?? ""]] : []));
}

test("what filters choose is what a search by hand finds, as JSON and as CSV", async (t) => {
  const root = await scratch(t);
  const { directory, given } = await exportedLog(root);
  const [since, until] = [new Date(START + 100_000), new Date(START + 400_000)];
  const filters: readonly (readonly [string[], (event: Record<string, unknown>) => boolean])[] = [
    [["--tenant", "b"], (event) => event["tenant"] === "b"],
    [
      ["--type", "request.settled", "--decision", "deny"],
      (e) => e["type"] === "request.settled" && e["decision"] === "deny",
    ],
    [["--request", "r-12"], (event) => event["requestId"] === "r-12"],
    [["--tenant", "nobody"], () => false],
    [
      ["--since", since.toISOString(), "--until", until.toISOString(), "--tenant", "a"],
      ({ ts, tenant }) => String(ts) >= since.toISOString() && String(ts) < until.toISOString() && tenant === "a",
    ],
  ];
  for (const [i, [options, isWanted]] of filters.entries()) {
    // Those between go the same way, and each is a second of a new process.
    if (i > 0 && i < filters.length - 1) {
      const members = Object.fromEntries(pairs(options).map(([name, value]) => [MEMBER_OF[name] ?? name, value]));
      for (const event of given) assert.equal(isChosen(event, { members }), isWanted(event), options.join(" "));
      continue;
    }
    const wanted = given.flatMap((event, index) => (isWanted(event) ? [index] : []));
    const [json, csv] = [join(root, `${i}.jsonl`), join(root, `${i}.csv`)];
    assert.equal((await sealift(["audit", "export", directory, "--out", json, ...options])).exit, 0);
    const text = readFileSync(json, "utf8").trimEnd();
    const lines = text === "" ? [] : text.split("\n").map((line) => JSON.parse(line) as { index: number });
    assert.deepEqual(
      lines.map(({ index }) => index),
      wanted,
      options.join(" "),
    );
    if (i > 0) continue;
    assert.equal((await sealift(["audit", "export", directory, "--out", csv, "--format", "csv", ...options])).exit, 0);
    const [head = [], ...rows] = parseCsv(readFileSync(csv, "utf8"));
    assert.deepEqual(
      rows.map(([index]) => Number(index)),
      wanted,
    );
    const at = (row: readonly string[], name: string): string => row[head.indexOf(name)] ?? "";
    for (const row of rows) {
      const event = given[Number(row[0])] ?? {};
      assert.equal(row.length, head.length);
      assert.deepEqual([at(row, "ts"), at(row, "id")], [event["ts"], event["id"]]);
      assert.deepEqual(JSON.parse(at(row, "findings")), event["findings"], "a cell with commas and quotes comes back");
    }
  }
});

test("a log that does not hold gives no file, and what is asked wrongly gives none either", async (t) => {
  const root = await scratch(t);
  const { directory } = await exportedLog(root);
  const out = join(root, "out");
  for (const options of [
    ["--format", "xml"],
    ["--since", "yesterday"],
    ["--until", "2026-11-21T07:00:00"],
  ]) {
    assert.equal((await sealift(["audit", "export", directory, "--out", out, ...options])).exit, 2, options.join(" "));
  }
  assert.equal((await sealift(["audit", "export", directory])).exit, 2);
  const bundle = join(directory, "tile/entries/001");
  const bytes = readFileSync(bundle);
  bytes[200] = (bytes[200] as number) ^ 1;
  writeFileSync(bundle, bytes);
  const bad = await sealift(["audit", "export", directory, "--out", out]);
  assert.equal(bad.exit, 3, bad.stderr);
  assert.match(bad.stderr, /\[AUDIT_ENTRY_CHANGED\]/);
  assert.ok(!existsSync(out) && !existsSync(`${out}.checkpoint`));
});

test("a cell that a spreadsheet would run begins with a quote, and what is no event is there too", () => {
  const none: EntryFilter = { members: {} };
  const line = (value: unknown): string[] =>
    parseCsv(exportLine(Buffer.from(JSON.stringify(value)), 3, "csv", none) ?? "")[0] ?? [];
  const head = parseCsv(exportHead("csv"))[0] ?? [];
  for (const text of ["=1+1", "+1", "-1", "@x", "\tx", "\rx"]) {
    assert.equal(line({ reason: text })[head.indexOf("reason")], `'${text}`, JSON.stringify(text));
  }
  assert.equal(line({ reason: 'a "b", c\n' })[head.indexOf("reason")], 'a "b", c\n');
  assert.equal(line({ next: true })[head.indexOf("other")], '{"next":true}');
  const odd = exportLine(Buffer.from("no JSON"), 3, "jsonl", none) ?? "";
  assert.equal(Buffer.from((JSON.parse(odd) as { event: string }).event, "base64").toString(), "no JSON");
  assert.equal(exportLine(Buffer.from("no JSON"), 3, "jsonl", { members: { tenant: "a" } }), undefined);
  assert.ok(!isChosen({}, { members: {}, since: new Date(0) }), "without a time it is of no time");
});
