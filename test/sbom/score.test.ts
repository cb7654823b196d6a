import assert from "node:assert/strict";
import { test } from "node:test";
import { scoreSbom } from "../../sbom/score/score.ts";

const FULL = {
  type: "library",
  "bom-ref": "a",
  name: "a",
  version: "1",
  purl: "pkg:npm/a@1",
  supplier: { name: "me", url: ["https://example.com"] },
  licenses: [{ license: { id: "MIT" } }],
  hashes: [{ alg: "SHA-512", content: "0".repeat(128) }],
  properties: ["filename", "executable", "archive", "structured"].map((name) => ({
    name: `bsi:component:${name}`,
    value: "x",
  })),
};

function documentOf(components: readonly object[], more: object = {}): object {
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: "urn:uuid:6f2f1c6e-8b9b-4c8f-9c0e-0a2b4c6d8e1f",
    metadata: { timestamp: "2026-01-01T00:00:00Z", authors: [{ name: "me", email: "me@example.com" }] },
    components,
    dependencies: components.map((one) => ({ ref: (one as { "bom-ref"?: string })["bom-ref"], dependsOn: [] })),
    compositions: [{ aggregate: "complete", dependencies: ["a"] }],
    ...more,
  };
}

function percents(document: object): Record<string, number> {
  return Object.fromEntries(scoreSbom(document).flatMap(({ rules }) => rules.map(({ id, percent }) => [id, percent])));
}

test("a document that has everything has 100 in both standards", () => {
  assert.deepEqual(
    scoreSbom(documentOf([FULL])).map(({ standard, percent }) => [standard, percent]),
    [
      ["NTIA minimum elements", 100],
      ["BSI TR-03183-2 2.1", 100],
    ],
  );
});

test("each thing that is left out lowers its rule, and no other", () => {
  const without = (member: string): object => ({ ...FULL, [member]: undefined });
  const cases: readonly (readonly [object, readonly string[]])[] = [
    [documentOf([without("version")]), ["ntia-version", "bsi-version"]],
    [documentOf([without("name")]), ["ntia-name", "bsi-name"]],
    [documentOf([without("purl")]), ["ntia-identifier", "bsi-identifier"]],
    [documentOf([without("supplier")]), ["ntia-supplier", "bsi-creator"]],
    [documentOf([{ ...FULL, supplier: { name: "me" } }]), ["bsi-creator"]],
    [documentOf([without("licenses")]), ["bsi-licence"]],
    [documentOf([{ ...FULL, licenses: [{ license: { name: "free" } }] }]), ["bsi-licence"]],
    [documentOf([without("hashes")]), ["bsi-sha512"]],
    [documentOf([without("properties")]), ["bsi-filename", "bsi-executable", "bsi-archive", "bsi-structured"]],
    [documentOf([FULL], { dependencies: [] }), ["ntia-dependencies", "bsi-dependencies"]],
    [documentOf([FULL], { compositions: [] }), ["bsi-dependencies"]],
    [documentOf([FULL], { specVersion: "1.5" }), ["bsi-format"]],
    [documentOf([FULL], { serialNumber: undefined }), ["bsi-sbom-uri"]],
    [documentOf([FULL], { metadata: {} }), ["ntia-author", "ntia-timestamp", "bsi-author-contact", "bsi-timestamp"]],
  ];
  for (const [document, want] of cases) {
    const low = Object.entries(percents(document)).flatMap(([id, percent]) => (percent < 100 ? [id] : []));
    assert.deepEqual(low.sort(), [...want].sort(), want.join());
  }
});

test("counts components nested in others, rounds down, and names what lacks it", () => {
  const bare = { type: "library", name: "bare", "bom-ref": "b" };
  const [ntia] = scoreSbom(documentOf([{ ...FULL, components: [bare, { ...bare, "bom-ref": "c" }] }]));
  const rule = ntia?.rules.find(({ id }) => id === "ntia-version");
  assert.deepEqual([rule?.met, rule?.of, rule?.percent, rule?.lacking], [1, 3, 33.3, ["b", "c"]]);
});

test("a document without components has none of what components must have", () => {
  const found = percents(documentOf([]));
  assert.equal(found["ntia-version"], 0);
  assert.throws(() => scoreSbom({}), { code: "SBOM_MALFORMED" });
});
