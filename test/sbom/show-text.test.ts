import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSbom } from "../../sbom/document.ts";
import { type ShowOptions, sbomLines } from "../../sbom/show-text.ts";
import { sbomWith } from "../support/scan-inputs.ts";

function lines(components: readonly object[], more: object = {}, options: ShowOptions = {}): string[] {
  const all = components.map((one) => ({ type: "library", ...one }));
  return sbomLines(parseSbom(sbomWith([], { components: all, ...more })), options);
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
  const properties = [{ name: "sealift:package:changed-file", value: hostile }];
  const one = { name: hostile, version: hostile, group: hostile, purl: `pkg:npm/${hostile}`, licenses, properties };
  for (const [columns, width] of [
    [undefined, 80],
    [80, 80],
    [133, 133],
    [10, 60],
    [100_000, 240],
  ] as const) {
    const found = lines([one], {}, { columns });
    for (const line of found) {
      assert.ok(line.length <= width, line);
      assert.doesNotMatch(line, /[\p{Cc}\p{Cf}\p{Cs}]/u);
    }
    assert.ok(found.some((line) => line.length === width));
    assert.ok(found.some((line) => line.includes("\\u{1b}") && line.includes("…")));
  }
});

test("what the image has and the document does not list is said", () => {
  const properties = [{ name: "sealift:sbom:not-catalogued", value: "gem" }];
  const metadata = { component: { type: "container", name: "x", properties } };
  assert.equal(lines([], { metadata }).at(-1), "  NOT LISTED: packages of gem are in the image");
});

test("a wider terminal shows longer names and licences", () => {
  const name = "a-package-with-a-name-that-is-longer-than-the-column";
  const licenses = [{ license: { name: "A licence whose name is rather long" } }];
  const [, , narrow = ""] = lines([{ name, version: "1", licenses }]);
  const [, , wide = ""] = lines([{ name, version: "1", licenses }], {}, { columns: 160 });
  assert.ok(!narrow.includes(name) && wide.includes(name));
  assert.ok(wide.endsWith("rather long"));
});

test("a filter looks at name, version, kind, purl and licence in any case, and says how many it left out", () => {
  const components = [
    { name: "OpenSSL", version: "3.0.7", purl: "pkg:rpm/redhat/openssl@3.0.7" },
    {
      name: "b",
      group: "@scope",
      version: "2.0",
      purl: "pkg:npm/%40scope/b@2.0",
      licenses: [{ license: { id: "MIT" } }],
    },
  ];
  for (const [filter, name] of [
    ["openssl", "OpenSSL"],
    ["3.0.7", "OpenSSL"],
    ["RPM", "OpenSSL"],
    ["@scope/b", "@scope/b"],
    ["mit", "@scope/b"],
  ] as const) {
    const found = lines(components, {}, { filter });
    assert.match(found[0] ?? "", /, 1 of 2 components$/, filter);
    assert.ok(found[2]?.startsWith(`    ${name} `), filter);
  }
  assert.deepEqual(lines(components, {}, { filter: "nothing" }).slice(1), []);
});

test("files that are not as packaged are said, also of packages that a filter leaves", () => {
  const properties = [
    { name: "sealift:package:changed-file", value: "/usr/bin/x" },
    { name: "sealift:package:changed-files", value: "2" },
  ];
  const components = [
    { name: "x", version: "1", properties },
    { name: "zed", version: "1" },
  ];
  const text = "  NOT AS PACKAGED: x@1: 2 files: /usr/bin/x and 1 more";
  assert.ok(lines(components).includes(text));
  assert.ok(!lines(components, {}, { filter: "zed" }).includes(text));
});
