/** Scores of CVSS vectors against another implementation: Red Hat's, in Python, which Debian packages. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { cvssScore } from "../../sbom/scan/cvss.ts";
import { testCache } from "../support/peers.ts";

const env = { ...process.env, PYTHONPATH: join(testCache(), "peers/python3-cvss/usr/lib/python3/dist-packages") };
const isHere = spawnSync("python3", ["-c", "from cvss import CVSS4"], { env }).status === 0;
const skip = !isHere && "no Python with its package cvss here; sh test/support/peers.sh brings it";

/** Every vector that the values make, as `CVSS:3.1/AV:N/…`. */
function allVectors(prefix: string, metrics: Readonly<Record<string, string>>): string[] {
  return Object.entries(metrics)
    .reduce<string[][]>(
      (made, [name, values]) => made.flatMap((parts) => [...values].map((value) => [...parts, `${name}:${value}`])),
      [[]],
    )
    .map((parts) => `${prefix}${parts.join("/")}`);
}

function scoresOf(version: 2 | 3 | 4, vectors: readonly string[]): number[] {
  const script = `
import sys, json
from cvss import CVSS${version}
print(json.dumps([float(CVSS${version}(one).base_score) for one in json.load(sys.stdin)]))`;
  const options = { input: JSON.stringify(vectors), encoding: "utf8", maxBuffer: 2 ** 28, env } as const;
  return JSON.parse(execFileSync("python3", ["-c", script], options));
}

const THREE = { AV: "NALP", AC: "LH", PR: "NLH", UI: "NR", S: "UC", C: "HLN", I: "HLN", A: "HLN" };
const TWO = { AV: "LAN", AC: "HML", Au: "MSN", C: "NPC", I: "NPC", A: "NPC" };
const [IMPACT, WHERE] = ["HLN", { AV: "NALP", AC: "LH", AT: "NP", PR: "NLH", UI: "NPA" }];
const FOUR = { ...WHERE, VC: IMPACT, VI: IMPACT, VA: IMPACT, SC: IMPACT, SI: IMPACT, SA: IMPACT };

/** Of version 4 there are a hundred thousand; each has its neighbours left out. */
const VERSIONS: readonly (readonly [name: string, version: 2 | 3 | 4, vectors: readonly string[]])[] = [
  ["2.0", 2, allVectors("", TWO)],
  ["3.0", 3, allVectors("CVSS:3.0/", THREE)],
  ["3.1", 3, allVectors("CVSS:3.1/", THREE)],
  ["4.0", 4, allVectors("CVSS:4.0/", FOUR).filter((_, i) => i % 29 === 0)],
];

for (const [name, version, vectors] of VERSIONS) {
  test(`${vectors.length} base vectors of CVSS ${name} have the score that another implementation gives them`, {
    skip,
  }, () => {
    const truth = scoresOf(version, vectors);
    assert.ok(vectors.length > 700 && truth.length === vectors.length);
    for (const [i, vector] of vectors.entries()) assert.equal(cvssScore(vector), truth[i], vector);
  });
}
