import assert from "node:assert/strict";
import test from "node:test";
import { versionedPurl } from "../../../sbom/scan/purl-match.ts";

test("a package's name is without qualifiers, with the epoch, and the same when it is read again", () => {
  assert.equal(versionedPurl("pkg:deb/debian/curl@7.50.3-1?arch=i386&epoch=2#a"), "pkg:deb/debian/curl@2:7.50.3-1");
  assert.equal(versionedPurl("pkg:deb/debian/curl@2%3A7.50.3-1"), "pkg:deb/debian/curl@2:7.50.3-1");
  assert.equal(versionedPurl("pkg:npm/%40a/b@1#x"), "pkg:npm/%40a/b@1");
});

test("an image, a package without a version, and what is no purl have none", () => {
  for (const text of ["pkg:oci/a@sha256%3A00", "pkg:docker/a@1", "pkg:npm/a", "npm/a@1", ""]) {
    assert.equal(versionedPurl(text), undefined, text);
  }
});

test("a purl that reads otherwise when it is written again has none", () => {
  // Found by the fuzzer: the type's plus sign becomes %2B, and the next reader finds another namespace.
  assert.equal(versionedPurl("pkg:n+2a/b@1#x"), undefined);
});
