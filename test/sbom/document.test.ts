import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { parseSbom, SBOM_MAX_BYTES } from "../../sbom/document.ts";

const bytesOf = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const minimal = { bomFormat: "CycloneDX", specVersion: "1.6", version: 1 };

test("reads the subject, all components however nested, and the dependencies", () => {
  const leaf = { type: "library", name: "leaf", version: "2", purl: "pkg:npm/leaf@2", "bom-ref": "leaf" };
  const inner = {
    type: "library",
    name: "inner",
    components: [leaf],
    properties: [{ name: "a", value: "b" }, { name: "c" }],
  };
  const subject = {
    type: "container",
    name: "image",
    version: "sha256:0",
    components: [{ type: "file", name: "in-subject" }],
  };
  const document = parseSbom(
    bytesOf({
      ...minimal,
      serialNumber: "urn:uuid:x",
      metadata: { timestamp: "2026-01-02T03:04:05Z", component: subject },
      components: [inner],
      dependencies: [{ ref: "leaf" }, { ref: "x", dependsOn: ["leaf"] }],
    }),
  );
  assert.equal(document.subject?.name, "image");
  assert.deepEqual(
    document.components.map((component) => component.name),
    ["in-subject", "inner", "leaf"],
  );
  assert.deepEqual(document.components[2], {
    type: "library",
    name: "leaf",
    version: "2",
    purl: "pkg:npm/leaf@2",
    bomRef: "leaf",
    properties: [],
  });
  assert.deepEqual(document.components[1]?.properties, [
    { name: "a", value: "b" },
    { name: "c", value: "" },
  ]);
  assert.deepEqual(document.dependencies, [
    { ref: "leaf", dependsOn: [] },
    { ref: "x", dependsOn: ["leaf"] },
  ]);
  assert.equal(document.serialNumber, "urn:uuid:x");
  assert.equal(document.timestamp, "2026-01-02T03:04:05Z");
});

test("reads a document with nothing in it", () => {
  assert.deepEqual(parseSbom(bytesOf(minimal)), { specVersion: "1.6", components: [], dependencies: [] });
});

const nestedTooDeep = (): unknown => {
  let component: object = { type: "library", name: "x" };
  for (let i = 0; i < 100; i += 1) component = { type: "library", name: "x", components: [component] };
  return { ...minimal, components: [component] };
};

const refused: Readonly<Record<string, Buffer>> = {
  "no bytes": Buffer.alloc(0),
  text: Buffer.from("hello"),
  XML: Buffer.from('<bom xmlns="http://cyclonedx.org/schema/bom/1.6"/>'),
  "bytes that are not UTF-8": Buffer.from([0x22, 0xff, 0x22]),
  null: bytesOf(null),
  "a list": bytesOf([minimal]),
  "an SPDX document": bytesOf({ spdxVersion: "SPDX-2.3" }),
  "an unknown version": bytesOf({ ...minimal, specVersion: "2.0" }),
  "a version that is a number": bytesOf({ ...minimal, specVersion: 1.6 }),
  "components that are no list": bytesOf({ ...minimal, components: {} }),
  "a component that is no object": bytesOf({ ...minimal, components: ["x"] }),
  "a component without a name": bytesOf({ ...minimal, components: [{ type: "library" }] }),
  "a purl that is no string": bytesOf({
    ...minimal,
    components: [{ type: "library", name: "x", purl: ["pkg:npm/x"] }],
  }),
  "a subject that is no object": bytesOf({ ...minimal, metadata: { component: "x" } }),
  "a dependency without ref": bytesOf({ ...minimal, dependencies: [{ dependsOn: [] }] }),
  "a dependency on a number": bytesOf({ ...minimal, dependencies: [{ ref: "a", dependsOn: [1] }] }),
  "components nested a hundred deep": bytesOf(nestedTooDeep()),
  "any value nested a hundred thousand deep": Buffer.from(
    `${JSON.stringify(minimal).slice(0, -1)},"x":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
  ),
  "more bytes than the limit": Buffer.alloc(SBOM_MAX_BYTES + 1, 0x20),
};
for (const [what, bytes] of Object.entries(refused)) {
  test(`refuses ${what}`, () => {
    assert.throws(() => parseSbom(bytes), { code: "SBOM_MALFORMED" });
  });
}

test("refuses garbage of any kind with its own error only", () => {
  const good = bytesOf({ ...minimal, components: [{ type: "library", name: "x", version: "1" }] });
  let seed = 7;
  for (let round = 0; round < 1000; round += 1) {
    const bytes = Buffer.from(good);
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    bytes[(seed >>> 8) % bytes.length] = seed >>> 24;
    try {
      parseSbom(bytes);
    } catch (cause) {
      assert.equal((cause as { code?: string }).code, "SBOM_MALFORMED");
    }
  }
});

test("loads no package, so that the verifier's cage can use it", () => {
  const script = `
    const { registerHooks } = await import("node:module");
    const loaded = [];
    registerHooks({ load: (url, context, next) => { loaded.push(url); return next(url, context); } });
    await import(${JSON.stringify(new URL("../../sbom/document.ts", import.meta.url).href)});
    console.log(JSON.stringify(loaded.map((url) => url.replace(/^.*\\/(node_modules|bundles|sbom)\\//, "$1/"))));
  `;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  assert.deepEqual(JSON.parse(output).sort(), ["bundles/model/sealift-error.ts", "sbom/document.ts", "sbom/error.ts"]);
});
