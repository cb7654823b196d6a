/** Odd versions made from a seed, and the programs that own an order of versions. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { peer, testCache } from "./peers.ts";

export type Pair = readonly [a: string, b: string];

/** The same for the same seed: a digit, then up to five of `parts`. */
export function oddVersions(count: number, parts: readonly string[], seed: number): string[] {
  let state = seed >>> 0;
  const random = (limit: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor(state / 65536) % limit;
  };
  return Array.from({ length: count }, () => {
    const rest = Array.from({ length: random(6) }, () => parts[random(parts.length)]).join("");
    return `${random(3)}${rest}`;
  });
}

/** Each with its neighbour. */
export function neighbours(all: readonly string[]): Pair[] {
  return all.slice(1).map((b, i) => [all[i] as string, b]);
}

export const DPKG_PARTS = [".", "-1", "~", "+b1", "1", "0", "a", "~~", "-0", ".01", "rc", "+deb13u1", "Z"];
export const RPM_PARTS = [".", "_1", "~", "^", "1", "0", "a", "~~", "^^", ".01", "rc", "+git", "Z", ".el9", "20260101"];

export function skipWithoutDpkg(): string | false {
  return spawnSync("dpkg", ["--version"]).status === 0 ? false : "no dpkg here";
}

/** -1, 0 or 1 for each pair, by `dpkg --compare-versions`; two processes a pair at most. */
export function dpkgOrders(pairs: readonly Pair[]): number[] {
  const loop =
    'while read -r a b; do if dpkg --compare-versions "$a" lt "$b"; then echo -1; elif dpkg --compare-versions "$a" eq "$b"; then echo 0; else echo 1; fi; done';
  const input = pairs.map((pair) => `${pair.join(" ")}\n`).join("");
  const output = execFileSync("sh", ["-c", loop], { input, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"] });
  return output.trim().split("\n").map(Number);
}

/** By rpm's own `rpm.vercmp`, many pairs a process; at most one argument's length (128 KiB). */
export function rpmOrders(pairs: readonly Pair[]): number[] {
  const calls = pairs.map(([a, b]) => `print(rpm.vercmp("${a}", "${b}") .. " ")`).join(" ");
  const env = { ...process.env, RPM_CONFIGDIR: join(testCache(), "peers/rpm/usr/lib/rpm") };
  const output = execFileSync(peer("rpm") as string, ["--eval", `%{lua: ${calls}}`], { encoding: "utf8", env });
  return output.trim().split(/\s+/).map(Number);
}

export const PYTHON_PARTS = [
  ...[".", "1", "0", ".0", ".1", "a1", "b2", "rc1", ".post1", "-1", ".dev0"],
  ...["+ab.1", "+1", "!1", "c3", "pre", "-post"],
];
export const MAVEN_PARTS = [
  ...[".", "-", "1", "0", "a", "b", "m", "rc", "alpha", "beta", "final", "ga", "sp"],
  ...["snapshot", "x", ".0", "-0", "cr"],
];

function succeeds(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

export function skipWithoutPackaging(): string | false {
  return succeeds("python3", ["-c", "from packaging.version import Version"]) ? false : "no Python with packaging here";
}

/** By Python's own `packaging.version.Version`; null where one of the two is no version. */
export function pythonOrders(pairs: readonly Pair[]): (number | null)[] {
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
  const options = { input: JSON.stringify(pairs), encoding: "utf8", maxBuffer: 2 ** 28 } as const;
  return JSON.parse(execFileSync("python3", ["-c", script], options));
}

/** Where Debian's libmaven3-core-java has it. */
const MAVEN = ["/usr/share/java/maven-artifact-3.x.jar", "/usr/share/java/commons-lang3.jar"];
const SIGNS: Readonly<Record<string, number>> = { "<": -1, "==": 0, ">": 1 };

export function skipWithoutMaven(): string | false {
  const isHere = MAVEN.every((path) => existsSync(path)) && succeeds("java", ["-version"]);
  return isHere ? false : "no Java with maven-artifact here";
}

/** By Maven's own ComparableVersion, of which each argument is compared with the next: `pairs` must be neighbours. */
export function mavenOrders(pairs: readonly Pair[]): number[] {
  const all = [...pairs.slice(0, 1).map(([a]) => a), ...pairs.map(([, b]) => b)];
  const args = ["-cp", MAVEN.join(":"), "org.apache.maven.artifact.versioning.ComparableVersion", ...all];
  const output = execFileSync("java", args, { encoding: "utf8", maxBuffer: 2 ** 28 });
  return [...output.matchAll(/^ +\S+ (<|>|==) \S+$/gm)].map(([, sign = ""]) => SIGNS[sign] as number);
}
