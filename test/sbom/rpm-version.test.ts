import assert from "node:assert/strict";
import { test } from "node:test";
import { compareRpmVersions } from "../../sbom/rpm-version.ts";

test("orders versions as rpm does", () => {
  // Each list is in ascending order; the pairs are of rpm's own tests (tests/rpmvercmp.at) and rpm-version(7).
  for (const ascending of [
    ["1.0~~", "1.0~rc1", "1.0~rc1^git1", "1.0", "1.0^", "1.0^git1", "1.0^20160101", "1.0.1^git1", "1.01.2"],
    ["9:1", "10:0"],
    ["2.0", "2.0.1", "2.0.1a", "2.0.1.1"],
    ["5.5p1", "5.5p2", "5.5p10"],
    ["10xyz", "10.1xyz"],
    ["xyz10", "xyz10.1"],
    ["1b.fc17", "1.fc17"],
    ["1-1.el9", "1-1.el9_2", "1-1.el9_10", "1-2.el8"],
    ["a", "b", "1"],
  ]) {
    for (const [i, low] of ascending.entries()) {
      for (const high of ascending.slice(i + 1)) {
        assert.ok((compareRpmVersions(low, high) as number) < 0, `${low} < ${high}`);
        assert.ok((compareRpmVersions(high, low) as number) > 0, `${high} > ${low}`);
      }
    }
  }
  for (const [a, b] of [
    ["1.0", "1_0"],
    ["1.05", "1.5"],
    ["0:1", "1"],
    ["1.0", "1.0."],
    ["1-5", "1"],
  ] as const) {
    assert.equal(compareRpmVersions(a, b), 0, `${a} = ${b}`);
  }
  for (const odd of ["", "1 2", "a:1", "1-2-3", "é"]) assert.equal(compareRpmVersions(odd, "1"), undefined, odd);
});
