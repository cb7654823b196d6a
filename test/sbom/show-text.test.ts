import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSbom } from "../../sbom/document.ts";
import { sbomLines } from "../../sbom/show-text.ts";
import { sbomWith } from "../support/scan-inputs.ts";

function lines(components: readonly object[], more: object = {}): string[] {
  return sbomLines(
    parseSbom(sbomWith([], { components: components.map((one) => ({ type: "library", ...one })), ...more })),
  );
}

test("lists by kind and name, with version and licence, and counts what has none", () => {
  const found = lines([
    { name: "b", version: "2.0", purl: "pkg:npm/b@2.0", licenses: [{ license: { id: "MIT" } }] },
    { group: "@s", name: "a", version: "1.0", purl: "pkg:npm/%40s/a@1.0" },
    { name: "libc6", version: "2.41-12", purl: "pkg:deb/debian/libc6@2.41-12" },
    { type: "application", name: "own" },
  ]);
  assert.deepEqual(found, [
    "  CycloneDX 1.6, 2026-01-02T03:04:05Z, 4 components",
    "  application (1)",
    `    ${"own".padEnd(32)} ${"-".padEnd(22)} -`,
    "  deb (1)",
    `    ${"libc6".padEnd(32)} ${"2.41-12".padEnd(22)} -`,
    "  npm (2)",
    `    ${"@s/a".padEnd(32)} ${"1.0".padEnd(22)} -`,
    `    ${"b".padEnd(32)} ${"2.0".padEnd(22)} MIT`,
    "  no licence stated: 3 of 4",
  ]);
});

test("no line is wider than 80 columns, ends early or acts on the terminal, whatever a package is called", () => {
  const hostile = `\u001b[2J\u202e\n${"\u{1f600}".repeat(60)}`;
  const licenses = [{ license: { name: hostile } }];
  const found = lines([{ name: hostile, version: hostile, group: hostile, purl: `pkg:npm/${hostile}`, licenses }]);
  for (const line of found) {
    assert.ok(line.length <= 80, line);
    assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Cs}]/u);
  }
  assert.ok(found.some((line) => line.includes("\\u{1b}") && line.includes("…")));
});

test("what the image has and the document does not list is said", () => {
  const properties = [{ name: "sealift:sbom:not-catalogued", value: "gem" }];
  const metadata = { component: { type: "container", name: "x", properties } };
  assert.equal(lines([], { metadata }).at(-1), "  NOT LISTED: packages of gem are in the image");
});
