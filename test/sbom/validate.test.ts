import assert from "node:assert/strict";
import { test } from "node:test";
import { lintSbom } from "../../sbom/lint.ts";
import { validateSbom } from "../../sbom/validate.ts";

const component = (ref: string, more: object = {}): object => ({ type: "library", name: ref, "bom-ref": ref, ...more });
const good = {
  bomFormat: "CycloneDX",
  specVersion: "1.6",
  version: 1,
  serialNumber: "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
  metadata: { timestamp: "2026-01-02T03:04:05Z", component: component("subject", { type: "container" }) },
  components: [
    component("a", { purl: "pkg:npm/%40s/a@1.0.0", licenses: [{ expression: "MIT OR Apache-2.0" }] }),
    component("b", { purl: "pkg:deb/debian/b@1:2?arch=amd64", components: [component("c")] }),
  ],
  dependencies: [
    { ref: "subject", dependsOn: ["a", "b"] },
    { ref: "a", dependsOn: ["c"] },
  ],
  compositions: [{ aggregate: "complete", assemblies: ["subject"], dependencies: ["a"] }],
};

async function problemsOf(value: object): Promise<string[]> {
  const { problems } = await validateSbom(Buffer.from(JSON.stringify(value)));
  return problems.map(({ rule, pointer }) => `${rule} ${pointer}`);
}

test("finds nothing wrong with a good document", async () => {
  assert.deepEqual(await problemsOf(good), []);
  assert.deepEqual(await problemsOf({ ...good, specVersion: "1.7" }), []);
  assert.deepEqual(await problemsOf({ ...good, specVersion: "1.5" }), []);
});

/** What each change breaks; all but the last three pass CycloneDX's own schema. */
const broken: readonly (readonly [what: string, change: object, problems: readonly string[]])[] = [
  ["a dependency of nothing", { dependencies: [{ ref: "gone" }] }, ["reference-dangling /dependencies/0/ref"]],
  [
    "a dependency on nothing",
    { dependencies: [{ ref: "a", dependsOn: ["b", "gone"] }] },
    ["reference-dangling /dependencies/0/dependsOn/1"],
  ],
  [
    "one component described twice",
    { dependencies: [{ ref: "a" }, { ref: "a", dependsOn: ["b"] }] },
    ["dependency-duplicate /dependencies/1/ref"],
  ],
  [
    "a composition of nothing",
    { compositions: [{ aggregate: "complete", assemblies: ["gone"] }] },
    ["reference-dangling /compositions/0/assemblies/0"],
  ],
  [
    "a vulnerability that affects nothing",
    { vulnerabilities: [{ id: "CVE-2026-1", affects: [{ ref: "gone" }] }] },
    ["reference-dangling /vulnerabilities/0/affects/0/ref"],
  ],
  [
    "one bom-ref twice",
    { components: [...good.components, component("x", { components: [component("a")] })] },
    ["bom-ref-duplicate /components/2/components/0/bom-ref"],
  ],
  [
    "a bom-ref that is the subject's",
    { components: [...good.components, component("subject")] },
    ["bom-ref-duplicate /components/2/bom-ref"],
  ],
  [
    "a purl that is none",
    { components: [...good.components, component("x", { purl: "npm/x@1" })] },
    ["purl-malformed /components/2/purl"],
  ],
  [
    "a purl without a name",
    { components: [...good.components, component("x", { purl: "pkg:npm" })] },
    ["purl-malformed /components/2/purl"],
  ],
  [
    "a license expression that is none",
    { components: [...good.components, component("x", { licenses: [{ expression: "MIT OR" }] })] },
    ["license-expression-malformed /components/2/licenses/0/expression"],
  ],
  [
    "no subject",
    { metadata: { timestamp: "2026-01-02T03:04:05Z" }, dependencies: [], compositions: [] },
    ["subject-missing /metadata"],
  ],
  [
    "no time",
    { metadata: { component: component("subject", { type: "container" }) } },
    ["timestamp-missing /metadata"],
  ],
  ["a member that CycloneDX does not have", { invented: true }, ["schema "]],
  [
    "a license id that SPDX does not have",
    { components: [component("a", { licenses: [{ license: { id: "Nope-1.0" } }] }), ...good.components.slice(1)] },
    ["schema /components/0/licenses/0/license/id"],
  ],
  ["a time that is none", { metadata: { ...good.metadata, timestamp: "yesterday" } }, ["schema /metadata/timestamp"]],
];
for (const [what, change, problems] of broken) {
  test(`finds ${what}`, async () => {
    const found = await problemsOf({ ...good, ...change });
    for (const problem of problems) assert.ok(found.includes(problem), `${problem} is not in ${found.join("; ")}`);
    if (!problems.some((problem) => problem.startsWith("schema"))) assert.deepEqual(found, problems);
  });
}

test("does not follow BOM-Links", async () => {
  const link = "urn:cdx:f08a6ccd-4dce-4759-bd84-c626675d60a7/1#x";
  assert.deepEqual(await problemsOf({ ...good, dependencies: [{ ref: "a", dependsOn: [link] }] }), []);
});

test("lints a value of any shape without an exception", () => {
  for (const value of [
    null,
    1,
    "x",
    [],
    {},
    { components: {}, dependencies: 3, compositions: [null], vulnerabilities: [[]] },
  ]) {
    assert.ok(Array.isArray(lintSbom(value)));
  }
});

test("lints a deeply nested value without overflowing the stack", () => {
  let value: object = {};
  for (let i = 0; i < 100_000; i += 1) value = { value };
  assert.ok(lintSbom(value).length > 0);
});

test("refuses what is no CycloneDX document", async () => {
  await assert.rejects(validateSbom(Buffer.from("{}")), { code: "SBOM_MALFORMED" });
});
