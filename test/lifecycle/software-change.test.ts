import assert from "node:assert/strict";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { NOT_COMPARED, softwareLines } from "../../installer/lifecycle/software-change.ts";
import type { ChangeRow, Comparison, ImageChanges } from "../../verify/release-contents.ts";

const UNCHECKED = "vulnerabilities fixed and new: not checked: no vulnerability snapshot";

function change(kind: string, name: string, from: string, to: string, detail = ""): ChangeRow {
  return { kind, package: `pkg:npm/${name}`, from, to, detail };
}

function image(name: string, rows: readonly ChangeRow[], more: Partial<ImageChanges> = {}): ImageChanges {
  return { name, presence: "both", unchanged: 1, rows, ...more };
}

function comparison(images: readonly ImageChanges[], more: Partial<Comparison> = {}): Comparison {
  return {
    against: "demo 1.0.0, sha256:…",
    images,
    alarms: 0,
    isScanned: false,
    records: "not checked: no vulnerability snapshot",
    ...more,
  };
}

test("the plan tells each package that comes, goes and changes, the worst first, and what was not checked", () => {
  const rows = [
    change("upgraded", "up", "1.0.0", "1.1.0"),
    change("added", "new", "", "1.0.0"),
    change("removed", "gone", "1.0.0", ""),
    change("downgraded", "down", "2.0.0", "1.0.0"),
    change("licence-changed", "free", "1.0.0", "1.0.0", "MIT -> none"),
  ];
  assert.deepEqual(softwareLines(comparison([image("app", rows), image("other", [])])), [
    "software of app: 1 downgraded, 1 removed, 1 added, 1 upgraded, 1 licence-changed, 1 unchanged",
    "software of app: downgraded pkg:npm/down 2.0.0 -> 1.0.0",
    "software of app: removed pkg:npm/gone 1.0.0",
    "software of app: added pkg:npm/new 1.0.0",
    "software of app: upgraded pkg:npm/up 1.0.0 -> 1.1.0",
    "software of app: licence-changed pkg:npm/free 1.0.0: MIT -> none",
    UNCHECKED,
  ]);
  assert.deepEqual(softwareLines(comparison([image("app", [])])), [
    "software: the same packages in every image",
    UNCHECKED,
  ]);
});

test("vulnerabilities that are new come before what changed, fixed ones after it, and the rest is counted", () => {
  const rows = [
    change("upgraded", "up", "1.0.0", "1.1.0"),
    change("vulnerability fixed", "up", "1.0.0", "", "CVE-1 (high)"),
    change("vulnerability carried", "old", "1.0.0", "1.0.0", "CVE-2 (low)"),
    change("vulnerability introduced", "new", "", "1.0.0", "CVE-3 (critical)"),
  ];
  assert.deepEqual(
    softwareLines(comparison([image("app", rows)], { isScanned: true, records: "newest of T, sha256:x" })),
    [
      "software of app: 1 vulnerability introduced, 1 upgraded, 1 vulnerability fixed, 1 unchanged",
      "software of app: vulnerability introduced pkg:npm/new 1.0.0: CVE-3 (critical)",
      "software of app: upgraded pkg:npm/up 1.0.0 -> 1.1.0",
      "software of app: vulnerability fixed pkg:npm/up 1.0.0: CVE-1 (high)",
      "vulnerabilities: 1 new, 1 fixed, 1 as before; records: newest of T, sha256:x",
    ],
  );
});

test("the same version with other bytes is an alarm before everything else", () => {
  const rows = [change("hash-changed", "a", "1.0", "1.0", "SHA-512:aa -> SHA-512:bb")];
  const [first, , second] = softwareLines(comparison([image("app", rows)], { alarms: 1 }));
  assert.match(first ?? "", /^ALARM: 1 packages/);
  assert.equal(second, "software of app: SAME VERSION, OTHER BYTES pkg:npm/a 1.0: SHA-512:aa -> SHA-512:bb");
});

test("an image that comes or goes is one line, and its vulnerabilities", () => {
  const added = [change("added", "a", "", "1"), change("vulnerability introduced", "a", "", "1", "CVE-1 (low)")];
  const images = [
    image("app", [change("removed", "a", "1", "")], { presence: "removed" }),
    image("other", added, { presence: "added" }),
  ];
  assert.deepEqual(softwareLines(comparison(images)).slice(0, -1), [
    "software of app: image removed, 1 packages",
    "software of other: image added, 1 packages, 1 vulnerability introduced",
    "software of other: vulnerability introduced pkg:npm/a 1: CVE-1 (low)",
  ]);
});

test("many and long changes stay within what a request may hold, and half a surrogate pair does not break it", () => {
  const rows = Array.from({ length: 3000 }, (_, i) => change("added", `${"\u{1f600}".repeat(300)}${i}`, "", "1.0.0"));
  const found = softwareLines(comparison([image("app", rows)]));
  assert.equal(found.length, 202);
  assert.match(found.at(-2) ?? "", /^software: 2801 more lines/);
  assert.ok(Buffer.byteLength(found.join("")) < 200_000);
  assert.doesNotThrow(() => canonicalJson(found));
});

test("releases that could not be compared are told as such, and not as the same", () => {
  const [first, second] = softwareLines(NOT_COMPARED);
  assert.equal(first, "software: not checked: the verifier did not compare the releases");
  assert.equal(second, "vulnerabilities fixed and new: not checked");
});
