import assert from "node:assert/strict";
import { test } from "node:test";
import { compareDebianVersions, type DebianVersion, parseDebianVersion } from "../../sbom/debian-version.ts";

const version = (text: string): DebianVersion => {
  const parsed = parseDebianVersion(text);
  assert.ok(parsed, text);
  return parsed;
};

test("takes a version apart", () => {
  assert.deepEqual(version("1:2.3-4-5+b1"), { epoch: 1, upstream: "2.3-4", revision: "5+b1" });
  assert.deepEqual(version("2026a"), { epoch: 0, upstream: "2026a", revision: "" });
  assert.deepEqual(version("1:2:3-1"), { epoch: 1, upstream: "2:3", revision: "1" });
  for (const text of ["", "1 2", "-1", "1:", "a:1", "1_2", "é", "1~-0:1", "1:1-0:1", "1-", "1:1-", ":1"])
    assert.equal(parseDebianVersion(text), undefined, text);
});

test("orders versions as dpkg does", () => {
  // Each list is in ascending order; the pairs are from Debian Policy 5.6.12 and dpkg's own tests.
  for (const ascending of [
    ["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0a", "1.0+b1", "1.0.1"],
    ["0:9", "1:0~", "1:0", "2:0"],
    ["1.2", "1.10", "1.10-1", "1.10-1+b1", "1.10-1.1"],
    ["7.6p2-4", "7.6-0"].reverse(),
    ["1.0-1~deb13u1", "1.0-1", "1.0-1+deb13u1"],
    ["2.0~rc1-1", "2.0~rc2-1", "2.0-1"],
    ["1.002", "1.3"],
    ["1A", "1a", "1+", "1.", "1.1"],
  ]) {
    const sorted = ascending.map((text) => ({ text, parsed: version(text) }));
    for (const [i, low] of sorted.entries()) {
      for (const high of sorted.slice(i + 1)) {
        assert.ok(compareDebianVersions(low.parsed, high.parsed) < 0, `${low.text} < ${high.text}`);
        assert.ok(compareDebianVersions(high.parsed, low.parsed) > 0, `${high.text} > ${low.text}`);
      }
    }
  }
  for (const [a, b] of [
    ["1.0", "1.00"],
    ["1.0", "0:1.0"],
    ["1.0", "1.0-0"],
    ["1.01-1", "1.1-01"],
  ] as const) {
    assert.equal(compareDebianVersions(version(a), version(b)), 0, `${a} = ${b}`);
  }
});
