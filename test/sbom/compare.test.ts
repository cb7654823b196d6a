import assert from "node:assert/strict";
import { test } from "node:test";
import { compareSboms, type SbomComparison } from "../../sbom/compare.ts";
import { parseSbom } from "../../sbom/document.ts";
import { IMAGE, sbomWith } from "../support/scan-inputs.ts";

function compare(
  vendor: readonly string[],
  own: readonly string[],
  more: object = {},
  ownMore: object = {},
): SbomComparison {
  return compareSboms(parseSbom(sbomWith(vendor, more)), parseSbom(sbomWith(own, ownMore)), IMAGE);
}

test("other spellings of one package are one package", () => {
  const own = [
    "pkg:deb/debian/a@1:2.0%2Bb1?arch=amd64&distro=debian-13&upstream=src",
    "pkg:pypi/foo-bar@1.0",
    "pkg:golang/example.com/App@v1.0.0",
    "pkg:golang/stdlib@1.22.1",
    "pkg:npm/%40s/b@1.0.0",
  ];
  const vendor = [
    "pkg:deb/debian/a@2.0+b1?epoch=1",
    "pkg:deb/debian/src@1:2.0?arch=source",
    "pkg:pypi/Foo_Bar@1.0",
    "pkg:golang/example.com/app@v1.0.0#cmd",
    "pkg:golang/stdlib@go1.22.1",
    "pkg:npm/@s/b@1.0.0",
  ];
  assert.deepEqual(compare(vendor, own), {
    subject: "this-image",
    missing: [],
    unfound: [],
    notChecked: [],
    matched: 5,
  });
});

test("tells what the document leaves out, what is not in the image, and what was not looked at", () => {
  const found = compare(["pkg:npm/a@1.0.0", "pkg:npm/ghost@1.0.0", "pkg:gem/g@1", "no purl"], ["pkg:npm/a@2.0.0"]);
  assert.deepEqual(found.missing, ["pkg:npm/a@2.0.0"]);
  assert.deepEqual(found.unfound, ["pkg:npm/a@1.0.0", "pkg:npm/ghost@1.0.0"]);
  assert.deepEqual(found.notChecked, ["no purl", "pkg:gem/g@1"]);
});

test("an ecosystem that was not read whole is not checked", () => {
  const properties = [{ name: "sealift:sbom:not-catalogued", value: "maven" }];
  const metadata = { component: { type: "container", name: "x", properties } };
  const found = compare(["pkg:maven/g/a@1"], ["pkg:npm/a@1.0.0"], {}, { metadata });
  assert.deepEqual(found.unfound, []);
  assert.deepEqual(found.notChecked, ["pkg:maven/g/a@1"]);
});

test("a document about another image, or about none, says so", () => {
  const about = (component: object): string =>
    compare([], [], { metadata: { component: { type: "container", name: "x", ...component } } }).subject;
  assert.equal(about({ version: IMAGE }), "this-image");
  assert.equal(about({ hashes: [{ alg: "SHA-256", content: IMAGE.slice(7) }] }), "this-image");
  assert.equal(about({ version: IMAGE.replace("aaa", "bbb") }), "another-image");
  assert.equal(about({ purl: `pkg:oci/x@sha256%3A${"0".repeat(64)}` }), "another-image");
  assert.equal(about({ version: "1.0" }), "unnamed");
  assert.equal(about({}), "unnamed");
});
