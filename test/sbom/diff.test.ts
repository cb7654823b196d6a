import assert from "node:assert/strict";
import { test } from "node:test";
import { type Change, type DiffSide, diffReleases, type ReleaseDiff } from "../../sbom/diff/diff.ts";
import { diffLines, diffMarkdown } from "../../sbom/diff/diff-text.ts";
import { parseSbom } from "../../sbom/document.ts";
import type { Finding } from "../../sbom/scan/report.ts";
import { UNKNOWN } from "../../sbom/scan/severity.ts";
import { sbomWith } from "../support/scan-inputs.ts";

interface Parts {
  readonly name?: string;
  readonly findings?: readonly Finding[];
}

function side(components: readonly (string | object)[], { name = "app", findings }: Parts = {}): DiffSide {
  const items = components.map((one) => (typeof one === "string" ? { type: "library", name: "x", purl: one } : one));
  return { name, document: parseSbom(sbomWith([], { components: items })), findings };
}

function changes(before: readonly (string | object)[], after: readonly (string | object)[]): Change[] {
  return diffReleases([side(before)], [side(after)]).images.flatMap((image) => image.changes);
}

function briefly(found: readonly Change[]): string[] {
  return found.map(({ kind, package: name, from, to }) => `${kind} ${name} ${from} ${to}`);
}

test("tells what is added, removed, upgraded and downgraded, by each ecosystem's own order", () => {
  const before = [
    "pkg:npm/gone@1.0.0",
    "pkg:npm/up@9.0.0",
    "pkg:npm/%40s/down@2.0.0",
    "pkg:npm/same@1.0.0",
    "pkg:deb/debian/libc6@2.41-12~deb13u1?arch=amd64&distro=debian-13",
    "pkg:pypi/a@1.0rc1",
    "pkg:maven/g/a@1.0-sp",
    "pkg:gem/g@1.0.0",
  ];
  const after = [
    "pkg:npm/new@1.0.0",
    "pkg:npm/up@10.0.0",
    "pkg:npm/%40s/down@1.9.0",
    "pkg:npm/same@1.0.0",
    "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13",
    "pkg:pypi/a@1.0",
    "pkg:maven/g/a@1.0-rc1",
    "pkg:gem/g@1.0.1",
  ];
  assert.deepEqual(briefly(changes(before, after)), [
    "upgraded pkg:deb/debian/libc6?arch=amd64 2.41-12~deb13u1 2.41-12",
    "replaced pkg:gem/g 1.0.0 1.0.1",
    "downgraded pkg:maven/g/a 1.0-sp 1.0-rc1",
    "downgraded pkg:npm/%40s/down 2.0.0 1.9.0",
    "removed pkg:npm/gone 1.0.0 null",
    "added pkg:npm/new null 1.0.0",
    "upgraded pkg:npm/up 9.0.0 10.0.0",
    "upgraded pkg:pypi/a 1.0rc1 1.0",
  ]);
  assert.deepEqual(changes(before, before), []);
});

test("read backwards it tells the opposite", () => {
  const before = ["pkg:npm/a@1.0.0", "pkg:npm/b@2.0.0", "pkg:npm/c@1.0.0"];
  const after = ["pkg:npm/a@2.0.0", "pkg:npm/b@1.0.0", "pkg:npm/d@1.0.0"];
  const opposite: Readonly<Record<string, string>> = {
    added: "removed",
    upgraded: "downgraded",
    removed: "added",
    downgraded: "upgraded",
  };
  const forwards = changes(before, after).map(({ kind, package: name }) => `${opposite[kind]} ${name}`);
  assert.deepEqual(
    changes(after, before).map(({ kind, package: name }) => `${kind} ${name}`),
    forwards,
  );
});

test("versions side by side stay apart: what is on both sides stays, of the rest the highest are paired", () => {
  const found = changes(
    ["pkg:npm/a@1.0.0", "pkg:npm/a@2.0.0", "pkg:npm/a@3.0.0"],
    ["pkg:npm/a@1.0.0", "pkg:npm/a@4.0.0"],
  );
  assert.deepEqual(briefly(found), ["upgraded pkg:npm/a 3.0.0 4.0.0", "removed pkg:npm/a 2.0.0 null"]);
});

test("the same version with other bytes is an alarm, another algorithm is none", () => {
  const hashed = (...hashes: readonly (readonly [string, string])[]): object => ({
    type: "library",
    name: "a",
    purl: "pkg:npm/a@1.0.0",
    hashes: hashes.map(([alg, content]) => ({ alg, content })),
  });
  const [one, other] = ["1".repeat(64), "2".repeat(64)];
  const alarm = diffReleases([side([hashed(["SHA-256", one])])], [side([hashed(["SHA-256", other])])]);
  assert.equal(alarm.alarms, 1);
  assert.equal(alarm.images[0]?.changes[0]?.kind, "hash-changed");
  assert.match(diffLines(alarm).join("\n"), /ALARM/);
  assert.deepEqual(changes([hashed(["SHA-256", one])], [hashed(["SHA-256", one], ["SHA-512", other])]), []);
  assert.deepEqual(changes([hashed(["SHA-256", one])], [hashed()]), []);
});

test("a changed licence is told, of the same version and of an upgrade", () => {
  const licensed = (version: string, ...ids: readonly string[]): object => ({
    type: "library",
    name: "a",
    purl: `pkg:npm/a@${version}`,
    licenses: ids.map((id) => ({ license: { id } })),
  });
  const same = changes([licensed("1.0.0", "MIT")], [licensed("1.0.0", "BUSL-1.1")]);
  assert.deepEqual(
    same.map(({ kind, before, after }) => [kind, before, after]),
    [["licence-changed", ["MIT"], ["BUSL-1.1"]]],
  );
  assert.deepEqual(changes([licensed("1.0.0", "MIT", "ISC")], [licensed("1.0.0", "ISC", "MIT")]), []);
  const kinds = changes([licensed("1.0.0", "MIT")], [licensed("2.0.0")]).map(({ kind }) => kind);
  assert.deepEqual(kinds, ["upgraded", "licence-changed"]);
});

test("images are compared by name, and one that is new or gone is told", () => {
  const older = [side(["pkg:npm/a@1.0.0"], { name: "a" }), side(["pkg:npm/b@1.0.0"], { name: "b" })];
  const newer = [side(["pkg:npm/a@1.0.0"], { name: "a" }), side(["pkg:npm/c@1.0.0"], { name: "c" })];
  const { images } = diffReleases(older, newer);
  assert.deepEqual(
    images.map(({ name, presence, changes: found }) => [name, presence, found.length]),
    [
      ["a", "both", 0],
      ["b", "removed", 1],
      ["c", "added", 1],
    ],
  );
});

function finding(id: string, purl: string, more: Partial<Finding> = {}): Finding {
  const one = { purl, bomRef: purl, recordName: "x", version: "1" };
  const rest = {
    summary: "",
    severity: UNKNOWN,
    decision: "affected",
    fixed: [],
    status: "open",
    statements: [],
  } as const;
  return { id, records: [id], aliases: [id], upstream: [], package: one, ...rest, ...more };
}

test("tells which vulnerabilities are introduced, fixed and carried, and when nobody looked", () => {
  const [old, now] = ["pkg:npm/a@1.0.0", "pkg:npm/a@2.0.0"];
  const before = side([old], {
    findings: [finding("CVE-1", old), finding("GHSA-2", old, { aliases: ["CVE-2", "GHSA-2"] })],
  });
  const after = side([now], { findings: [finding("CVE-2", now, { aliases: ["CVE-2"] }), finding("CVE-3", now)] });
  const told = (diff: ReleaseDiff): string[] =>
    (diff.images[0]?.vulnerabilities ?? []).map(({ kind, id, from, to }) => `${kind} ${id} ${from} ${to}`);
  assert.deepEqual(told(diffReleases([before], [after])), [
    "carried CVE-2 1.0.0 2.0.0",
    "fixed CVE-1 1.0.0 null",
    "introduced CVE-3 null 2.0.0",
  ]);
  const unseen = diffReleases([before], [side([now])]);
  assert.equal(unseen.images[0]?.vulnerabilities, undefined);
  assert.match(diffLines(unseen).join("\n"), /not checked/);
  assert.match(diffMarkdown(unseen), /not checked/);
});

test("nothing from an SBOM acts as Markdown or on a terminal", () => {
  const name = "x|`*[a](b)<b>\u{1b}[31m\n# y";
  const diff = diffReleases([side([])], [side([{ type: "library", name, version: "1|2" }])]);
  const text = diffMarkdown(diff);
  assert.equal(text.split("\n").filter((line) => line.startsWith("# ")).length, 1);
  for (const bad of ["[a](b)", "<b>", "\u{1b}", "1|2"]) assert.ok(!text.includes(bad), bad);
  assert.ok(!diffLines(diff).join("\n").includes("\u{1b}"));
});

test("orders rpm packages by their epoch, version and release", () => {
  const rpm = (version: string) => [
    { type: "library", name: "a", version, purl: `pkg:rpm/redhat/a@${version.replace(/^\d+:/, "")}?arch=x86_64` },
  ];
  const name = "pkg:rpm/redhat/a?arch=x86_64";
  assert.deepEqual(briefly(changes(rpm("1-2.el9_2"), rpm("1-2.el9_10"))), [`upgraded ${name} 1-2.el9_2 1-2.el9_10`]);
  assert.deepEqual(briefly(changes(rpm("1:1-1"), rpm("9-1"))), [`downgraded ${name} 1:1-1 9-1`]);
});
