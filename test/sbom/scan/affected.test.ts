import assert from "node:assert/strict";
import { test } from "node:test";
import { judgeVersion } from "../../../sbom/scan/affected.ts";
import type { OsvAffected, OsvEvent } from "../../../sbom/scan/osv-record.ts";
import { compareSemanticVersions } from "../../../sbom/scan/version/semantic.ts";

function affected(ranges: readonly (readonly (readonly [OsvEvent, string])[])[], versions: string[] = []): OsvAffected {
  return { ecosystem: "npm", name: "lib", versions, ranges, ratings: [] };
}

function judge(version: string, ranges: Parameters<typeof affected>[0], versions?: string[]): string {
  return judgeVersion(version, affected(ranges, versions), compareSemanticVersions).status;
}

const SPANS: readonly (readonly [OsvEvent, string])[] = [
  ["introduced", "1.0.0"],
  ["fixed", "1.2.0"],
  ["introduced", "2.0.0"],
  ["last_affected", "2.3.0"],
];

test("a version is affected from where it was introduced up to the fix, or through the last affected one", () => {
  const truth = { "0.9.0": false, "1.0.0": true, "1.1.9": true, "1.2.0": false, "1.9.0": false, "2.0.0": true };
  for (const [version, want] of Object.entries({ ...truth, "2.3.0": true, "2.3.1": false })) {
    assert.equal(judge(version, [SPANS]), want ? "affected" : "unaffected", version);
  }
});

test("the order of events, of ranges and an empty range change nothing", () => {
  for (const version of ["0.9.0", "1.0.0", "1.2.0", "2.3.0", "2.3.1"]) {
    const plain = judge(version, [SPANS]);
    assert.equal(judge(version, [[...SPANS].reverse()]), plain);
    assert.equal(judge(version, [[], SPANS]), plain);
    assert.equal(judge(version, [SPANS.slice(2), SPANS.slice(0, 2)]), plain);
  }
});

test("a span that starts where another ends affects that version", () => {
  const events: (readonly [OsvEvent, string])[] = [
    ["introduced", "0"],
    ["fixed", "1.0.0"],
    ["introduced", "1.0.0"],
    ["fixed", "2.0.0"],
  ];
  assert.equal(judge("1.0.0", [events]), "affected");
  assert.equal(judge("2.0.0", [events]), "unaffected");
});

test("a span that starts and ends with one version holds that one alone, also right after another span", () => {
  const lone: (readonly [OsvEvent, string])[] = [
    ["introduced", "1.0.0"],
    ["last_affected", "1.0.0"],
  ];
  assert.equal(judge("1.0.0", [lone]), "affected");
  assert.equal(judge("1.0.1", [lone]), "unaffected");
  const next: (readonly [OsvEvent, string])[] = [["introduced", "0.5.0"], ...lone, ["fixed", "2.0.0"]];
  assert.equal(judge("1.0.1", [next]), "affected", "one ends at 1.0.0, and another begins there");
});

test("a listed version is affected whatever the ranges say, and no fix is unfixed", () => {
  assert.equal(judge("9.0.0", [SPANS], ["9.0.0"]), "affected");
  assert.equal(judge("9.0.0", [SPANS], ["9.0"]), "affected");
  assert.equal(judge("9.0.1", [SPANS], ["9.0.0"]), "unaffected");
  assert.equal(judge("9.0.1", [[["introduced", "0"]]]), "affected");
});

test("a limit bounds the whole range, several are alternatives", () => {
  const bounded = (...limits: string[]): (readonly [OsvEvent, string])[] => [
    ["introduced", "0"],
    ...limits.map((limit) => ["limit", limit] as const),
  ];
  assert.equal(judge("1.0.0", [bounded("1.0.0")]), "unaffected");
  assert.equal(judge("0.9.9", [bounded("1.0.0")]), "affected");
  assert.equal(judge("1.0.0", [bounded("1.0.0", "2.0.0")]), "affected");
  assert.equal(judge("9.0.0", [bounded("*")]), "affected");
});

test("what cannot be compared is undecided, never unaffected", () => {
  assert.equal(judge("latest", [SPANS]), "undecided");
  assert.equal(judge("1.0.0", [[["introduced", "soon"]]]), "undecided");
  // Another range decides it all the same.
  assert.equal(judge("1.0.0", [[["introduced", "soon"]], SPANS]), "affected");
  assert.equal(judge("latest", [], ["1.0.0"]), "unaffected");
});

test("names the fixes above the version, the nearest first", () => {
  const events = [
    ["introduced", "0"],
    ["fixed", "3.0.0"],
  ] as const;
  const { fixed } = judgeVersion("1.1.0", affected([SPANS, events]), compareSemanticVersions);
  assert.deepEqual(fixed, ["1.2.0", "3.0.0"]);
});

test("a version below every bound and above every fix stays unaffected when spans are added elsewhere", () => {
  for (let major = 3; major < 9; major++) {
    const more: (readonly [OsvEvent, string])[] = [
      ["introduced", `${major}.0.0`],
      ["fixed", `${major}.5.0`],
    ];
    for (const version of ["0.9.0", "1.1.0", "1.5.0", "2.1.0", "9.9.0"]) {
      assert.equal(judge(version, [SPANS, more]), judge(version, [SPANS]), `${version} ${major}`);
    }
    assert.equal(judge(`${major}.4.9`, [SPANS, more]), "affected");
  }
});
