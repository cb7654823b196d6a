/** Odd versions made from a seed, and the programs that own an order of versions. */
import { execFileSync, spawnSync } from "node:child_process";
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
