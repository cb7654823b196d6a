/** Our orders of versions against their owners, on seeded random versions: Python's packaging, Maven, dpkg and rpm. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { compareDebianVersions, parseDebianVersion } from "../../sbom/debian-version.ts";
import { compareRpmVersions } from "../../sbom/rpm-version.ts";
import { compareMavenVersions } from "../../sbom/scan/version/maven.ts";
import { comparePythonVersions } from "../../sbom/scan/version/python.ts";
import { skipWithout } from "../support/peers.ts";
import {
  DPKG_PARTS,
  dpkgOrders,
  neighbours,
  oddVersions,
  RPM_PARTS,
  rpmOrders,
  skipWithoutDpkg,
} from "../support/version-oracles.ts";

const SEED = 20261121;
/** Where Debian's libmaven3-core-java has it. */
const MAVEN = "/usr/share/java/maven-artifact-3.x.jar";
const COMMONS = "/usr/share/java/commons-lang3.jar";

const versions = (count: number, parts: readonly string[]): string[] => oddVersions(count, parts, SEED);

function succeeds(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

const hasPackaging = succeeds("python3", ["-c", "from packaging.version import Version"]);

test("orders versions as Python's packaging does", { skip: !hasPackaging && "no Python with packaging here" }, () => {
  const parts = [
    ".",
    "1",
    "0",
    ".0",
    ".1",
    "a1",
    "b2",
    "rc1",
    ".post1",
    "-1",
    ".dev0",
    "+ab.1",
    "+1",
    "!1",
    "c3",
    "pre",
    "-post",
  ];
  const wanted = neighbours(versions(20_000, parts));
  const script = `
import sys, json
from packaging.version import Version
def parse(text):
  try: return Version(text)
  except Exception: return None
def compare(a, b):
  x, y = parse(a), parse(b)
  return None if x is None or y is None else (x > y) - (x < y)
print(json.dumps([compare(a, b) for a, b in json.load(sys.stdin)]))`;
  const output = execFileSync("python3", ["-c", script], { input: JSON.stringify(wanted), encoding: "utf8" });
  const truth: (number | null)[] = JSON.parse(output);
  assert.ok(truth.filter((one) => one !== null).length > 1000);
  for (const [i, [a, b]] of wanted.entries()) {
    const got = comparePythonVersions(a, b);
    assert.equal(got === undefined ? null : Math.sign(got), truth[i], `${a} ${b}`);
  }
});

const hasMaven = existsSync(MAVEN) && existsSync(COMMONS) && succeeds("java", ["-version"]);

test("orders versions as Maven does", { skip: !hasMaven && "no Java with maven-artifact here" }, () => {
  const parts = [
    ".",
    "-",
    "1",
    "0",
    "a",
    "b",
    "m",
    "rc",
    "alpha",
    "beta",
    "final",
    "ga",
    "sp",
    "snapshot",
    "x",
    ".0",
    "-0",
    "cr",
  ];
  const args = ["-cp", `${MAVEN}:${COMMONS}`, "org.apache.maven.artifact.versioning.ComparableVersion"];
  const output = execFileSync("java", [...args, ...versions(1500, parts)], { encoding: "utf8" });
  const lines = [...output.matchAll(/^ +(\S+) (<|>|==) (\S+)$/gm)];
  assert.ok(lines.length > 1000);
  const signs: Readonly<Record<string, number>> = { "<": -1, "==": 0, ">": 1 };
  for (const [line, a = "", sign = "", b = ""] of lines) {
    assert.equal(Math.sign(compareMavenVersions(a, b) ?? Number.NaN), signs[sign], line);
  }
});

test("orders versions as dpkg does", { skip: skipWithoutDpkg() }, () => {
  const wanted = neighbours(versions(1500, DPKG_PARTS).filter((text) => parseDebianVersion(text) !== undefined));
  const truth = dpkgOrders(wanted);
  assert.equal(truth.length, wanted.length);
  for (const [i, [a, b]] of wanted.entries()) {
    const [x, y] = [parseDebianVersion(a), parseDebianVersion(b)];
    assert.ok(x && y);
    assert.equal(Math.sign(compareDebianVersions(x, y)), truth[i], `${a} ${b}`);
  }
});

test("orders versions as rpm does", { skip: skipWithout("rpm") }, () => {
  const wanted = neighbours(versions(2000, RPM_PARTS));
  const truth = rpmOrders(wanted);
  assert.equal(truth.length, wanted.length);
  for (const [i, [a, b]] of wanted.entries()) {
    assert.equal(Math.sign(compareRpmVersions(a, b) ?? Number.NaN), truth[i], `${a} ${b}`);
  }
});
