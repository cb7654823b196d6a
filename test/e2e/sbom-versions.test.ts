/** Our orders of versions against their owners, on seeded random versions: Python's packaging, Maven and dpkg. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { compareDebianVersions, parseDebianVersion } from "../../sbom/debian-version.ts";
import { compareMavenVersions } from "../../sbom/scan/version/maven.ts";
import { comparePythonVersions } from "../../sbom/scan/version/python.ts";

const SEED = 20261121;
/** Where Debian's libmaven3-core-java has it. */
const MAVEN = "/usr/share/java/maven-artifact-3.x.jar";
const COMMONS = "/usr/share/java/commons-lang3.jar";

function versions(count: number, parts: readonly string[]): string[] {
  let seed = SEED;
  const random = (limit: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor(seed / 65536) % limit;
  };
  return Array.from({ length: count }, () => {
    const rest = Array.from({ length: random(6) }, () => parts[random(parts.length)]).join("");
    return `${random(3)}${rest}`;
  });
}

function pairs(all: readonly string[]): [string, string][] {
  return all.slice(1).map((b, i) => [all[i] as string, b]);
}

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
  const wanted = pairs(versions(20_000, parts));
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

test("orders versions as dpkg does", { skip: !succeeds("dpkg", ["--version"]) && "no dpkg here" }, () => {
  const parts = [".", "-1", "~", "+b1", "1", "0", "a", "~~", "-0", ".01", "rc", "+deb13u1", "Z"];
  const known = versions(1500, parts).filter((text) => parseDebianVersion(text) !== undefined);
  const loop =
    'while read -r a b; do if dpkg --compare-versions "$a" lt "$b"; then echo -1; elif dpkg --compare-versions "$a" eq "$b"; then echo 0; else echo 1; fi; done';
  const wanted = pairs(known);
  const input = wanted.map(([a, b]) => `${a} ${b}\n`).join("");
  const truth = execFileSync("sh", ["-c", loop], { input, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"] })
    .trim()
    .split("\n");
  assert.equal(truth.length, wanted.length);
  for (const [i, [a, b]] of wanted.entries()) {
    const [x, y] = [parseDebianVersion(a), parseDebianVersion(b)];
    assert.ok(x && y);
    assert.equal(String(Math.sign(compareDebianVersions(x, y))), truth[i], `${a} ${b}`);
  }
});
