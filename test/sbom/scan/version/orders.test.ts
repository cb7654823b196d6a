import assert from "node:assert/strict";
import { test } from "node:test";
import type { CompareVersions } from "../../../../sbom/scan/affected.ts";
import { compareApkVersions } from "../../../../sbom/scan/version/apk.ts";
import { compareMavenVersions } from "../../../../sbom/scan/version/maven.ts";
import { comparePythonVersions } from "../../../../sbom/scan/version/python.ts";
import { compareGoVersions, compareSemanticVersions } from "../../../../sbom/scan/version/semantic.ts";

/** Each list is in ascending order; every pair of it is compared, both ways. */
function ascends(compare: CompareVersions, ...lists: readonly (readonly string[])[]): void {
  for (const list of lists) {
    for (const [i, low] of list.entries()) {
      assert.equal(compare(low, low), 0, low);
      for (const high of list.slice(i + 1)) {
        assert.ok((compare(low, high) ?? 0) < 0, `${low} < ${high}`);
        assert.ok((compare(high, low) ?? 0) > 0, `${high} > ${low}`);
      }
    }
  }
}

function equal(compare: CompareVersions, ...pairs: readonly (readonly [string, string])[]): void {
  for (const [a, b] of pairs) assert.equal(compare(a, b), 0, `${a} = ${b}`);
}

function none(compare: CompareVersions, ...texts: readonly string[]): void {
  for (const text of texts) {
    assert.equal(compare(text, "1"), undefined, text);
    assert.equal(compare("1", text), undefined, text);
  }
}

test("orders Alpine's versions as apk does", () => {
  ascends(
    compareApkVersions,
    ["0.1.0_alpha_pre2", "0.1.0_alpha", "0.1.0_alpha2", "0.1.0_beta", "0.1.0_rc1", "0.1.0", "0.1.0-r1", "0.1.0_p1"],
    ["1.0", "1.0-r0", "1.0-r10", "1.0_git20200101", "1.0a", "1.0.1", "1.1"],
    ["1.05", "1.5"],
    ["1.0.0_pre20191002222144-r0", "1.0.0_pre20210530193627-r0", "1.0.0-r0"],
    ["6", "6b-r7", "7", "20040923-r2"],
    ["99999999999999999999.1", "100000000000000000000.0"],
  );
  equal(compareApkVersions, ["1.2.3-r4", "1.2.3-r4"], ["006", "6"]);
  none(compareApkVersions, "", "1.0bc", "23_foo", "a", "1..2", "1-r", "1.0-1");
});

test("orders Python's versions as PEP 440 does", () => {
  ascends(
    comparePythonVersions,
    ["1.dev0", "1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12.dev456", "1.0a12", "1.0b1.dev456", "1.0b2"],
    ["1.0b2", "1.0b2.post345.dev456", "1.0b2.post345", "1.0rc1.dev456", "1.0rc1", "1.0", "1.0+abc.5", "1.0+abc.7"],
    ["1.0+abc.7", "1.0+5", "1.0.post456.dev34", "1.0.post456", "1.1.dev1", "1!0.1"],
  );
  equal(comparePythonVersions, ["1.0", "v1"], ["1.0alpha1", "1.0-A.1"], ["1.0-1", "1.0.post1"], ["1.0c1", "1.0RC1"]);
  none(comparePythonVersions, "", "1.0-foo", "latest", "1.0+", "=1");
});

test("orders Maven's versions as Maven 3.8 does", () => {
  ascends(
    compareMavenVersions,
    ["1-alpha", "1-beta", "1-milestone", "1-rc", "1-snapshot", "1", "1-sp", "1-foo", "1-1", "1.1"],
    ["2.0", "2.0-1", "2.0.1", "2.10", "12345678901234567890"],
    ["1.0.RC1", "1.0.RC2", "1.0"],
  );
  equal(compareMavenVersions, ["1", "1.0.0"], ["1-ga", "1.Final"], ["1.0-CR1", "1-rc1"], ["1a1", "1-alpha-1"]);
  none(compareMavenVersions, "", "1 2", "x".repeat(300));
});

test("orders npm's and Go's versions by Semantic Versioning, and Go's toolchains by their names", () => {
  ascends(compareSemanticVersions, ["1.0.0-0", "1.0.0-rc.1", "1.0.0-rc.11", "1.0.0", "1.0.1", "1.10.0"]);
  equal(compareSemanticVersions, ["1.0", "1.0.0"], ["2", "v2.0.0"], ["1.0.0+a", "1.0.0+b"], ["1.2-rc.1", "1.2.0-rc.1"]);
  none(compareSemanticVersions, "", "latest", "1.2.3.4.5", "x.1.2", "9".repeat(20));
  ascends(
    compareGoVersions,
    ["go1.21rc2", "go1.21", "go1.21.1", "1.22.0"],
    ["v0.0.0-20210101000000-abcdefabcdef", "v0.1.0"],
  );
  equal(compareGoVersions, ["go1.18", "1.18.0"], ["go1.22.1 X:loopvar", "1.22.1"], ["v1.2.3+incompatible", "1.2.3"]);
  none(compareGoVersions, "", "(devel)", "unknown");
});

test("is a total order on random versions", () => {
  let seed = 20261121;
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor(seed / 65536) % limit;
  };
  const orders: readonly (readonly [CompareVersions, readonly string[]])[] = [
    [compareApkVersions, [".0", ".1", ".01", "a", "_alpha", "_p1", "-r1", "9"]],
    [comparePythonVersions, [".0", ".1", "a1", "rc", ".post", ".dev2", "+l.1", "-1"]],
    [compareMavenVersions, [".0", "-1", "a", "-rc", ".final", "-x1", "sp", "1"]],
    [compareSemanticVersions, [".0", ".1", "-rc", "+b", "-0", "1", ".9"]],
  ];
  for (const [compare, parts] of orders) {
    const versions = Array.from({ length: 400 }, () => {
      const rest = Array.from({ length: random(5) }, () => parts[random(parts.length)]).join("");
      return `${random(3)}${rest}`;
    }).filter((text) => compare(text, text) !== undefined);
    assert.ok(versions.length > 50);
    for (let i = 0; i < 2000; i++) {
      const pick = (): string => versions[random(versions.length)] as string;
      const [a, b, c] = [pick(), pick(), pick()];
      const sign = (x: string, y: string): number => Math.sign(compare(x, y) ?? Number.NaN);
      assert.equal(sign(a, b), 0 - sign(b, a), `${a} ${b}`);
      if (sign(a, b) <= 0 && sign(b, c) <= 0) assert.ok(sign(a, c) <= 0, `${a} ${b} ${c}`);
    }
  }
});
