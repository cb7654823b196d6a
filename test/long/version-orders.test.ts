/**
 * Our orders of versions against their owners, on many seeded versions: dpkg, rpm, Python's packaging and Maven. npm's
 * and Go's is the package `semver` itself; apk-tools is no Debian package, so that nothing here asks it. Writes
 * test/evidence/version-orders.json, and goes on from there if it was stopped. SEALIFT_TEST_SEED (1) decides;
 * another seed begins anew. SEALIFT_TEST_SECONDS ends the sitting after so long.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { compareDebianVersions, parseDebianVersion } from "../../sbom/debian-version.ts";
import { compareRpmVersions } from "../../sbom/rpm-version.ts";
import { compareMavenVersions } from "../../sbom/scan/version/maven.ts";
import { comparePythonVersions } from "../../sbom/scan/version/python.ts";
import { skipWithout } from "../support/peers.ts";
import {
  DPKG_PARTS,
  dpkgOrders,
  MAVEN_PARTS,
  mavenOrders,
  neighbours,
  oddVersions,
  type Pair,
  PYTHON_PARTS,
  pythonOrders,
  RPM_PARTS,
  rpmOrders,
  skipWithoutDpkg,
  skipWithoutMaven,
  skipWithoutPackaging,
} from "../support/version-oracles.ts";

const EVIDENCE = fileURLToPath(new URL("../evidence/version-orders.json", import.meta.url));
const SEED = Number(process.env["SEALIFT_TEST_SEED"] ?? 1);
const END = performance.now() + 1_000 * Number(process.env["SEALIFT_TEST_SECONDS"] ?? Number.POSITIVE_INFINITY);
const BATCH = 1_000;
const PAIRS = { rpm: 500_000, packaging: 500_000, maven: 100_000, dpkg: 50_000 };

type Owner = keyof typeof PAIRS;

interface Evidence {
  readonly seed: number;
  readonly commits: string[];
  /** Pairs that were compared, none of which differed. */
  readonly pairs: Record<Owner, number>;
}

function begin(): Evidence {
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8", cwd: import.meta.dirname }).trim();
  const before = existsSync(EVIDENCE) ? (JSON.parse(readFileSync(EVIDENCE, "utf8")) as Evidence) : undefined;
  const isOpen =
    before?.seed === SEED && (Object.keys(PAIRS) as Owner[]).some((one) => !(before.pairs[one] >= PAIRS[one]));
  const none = Object.fromEntries(Object.keys(PAIRS).map((name) => [name, 0])) as Record<Owner, number>;
  const evidence = isOpen
    ? { ...before, pairs: { ...none, ...before.pairs } }
    : { seed: SEED, commits: [], pairs: none };
  if (evidence.commits.at(-1) !== commit) evidence.commits.push(commit);
  return evidence;
}

function save(evidence: Evidence): void {
  writeFileSync(`${EVIDENCE}.new`, `${JSON.stringify(evidence, null, 2)}\n`);
  renameSync(`${EVIDENCE}.new`, EVIDENCE);
}

const OWNERS: Readonly<
  Record<
    Owner,
    {
      readonly skip: string | false;
      readonly parts: readonly string[];
      /** Null where it says that one is no version. */
      readonly orders: (pairs: readonly Pair[]) => (number | null)[];
      /** Undefined if one is no version. */
      readonly ours: (a: string, b: string) => number | undefined;
    }
  >
> = {
  // Much the faster one.
  rpm: { skip: skipWithout("rpm"), parts: RPM_PARTS, orders: rpmOrders, ours: compareRpmVersions },
  packaging: {
    skip: skipWithoutPackaging(),
    parts: PYTHON_PARTS,
    orders: pythonOrders,
    ours: comparePythonVersions,
  },
  maven: { skip: skipWithoutMaven(), parts: MAVEN_PARTS, orders: mavenOrders, ours: compareMavenVersions },
  dpkg: {
    skip: skipWithoutDpkg(),
    parts: [...DPKG_PARTS, "2:", ":"],
    orders: dpkgOrders,
    ours: (a, b) => {
      const [x, y] = [parseDebianVersion(a), parseDebianVersion(b)];
      return x && y ? compareDebianVersions(x, y) : undefined;
    },
  },
};

for (const [name, { skip, parts, orders, ours }] of Object.entries(OWNERS) as [Owner, (typeof OWNERS)[Owner]][]) {
  test(`orders versions as ${name} does`, { skip }, () => {
    const evidence = begin();
    while (evidence.pairs[name] < PAIRS[name] && performance.now() < END) {
      const made = oddVersions(BATCH + 1, parts, SEED * 1_000_003 + evidence.pairs[name]);
      const pairs = neighbours(made.filter((text) => ours(text, text) !== undefined));
      const truth = orders(pairs);
      assert.equal(truth.length, pairs.length);
      for (const [i, [a, b]] of pairs.entries()) assert.equal(Math.sign(ours(a, b) as number), truth[i], `${a} ${b}`);
      evidence.pairs[name] += pairs.length;
      save(evidence);
    }
  });
}
