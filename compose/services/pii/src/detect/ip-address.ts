/** IP addresses of machines: not loopback, unspecified, broadcast, multicast or documentation, which are nobody's. */

import { isDigit, isHex, isWord, type TextView } from "../text-view.ts";
import type { Candidate } from "./candidate.ts";

const DOT = 0x2e;
const COLON = 0x3a;

export function findIpv4(view: TextView, start: number): Candidate | undefined {
  const octets: number[] = [];
  let at = start;
  for (;;) {
    const from = at;
    let value = 0;
    while (isDigit(view.code(at)) && at - from < 3) {
      value = value * 10 + (view.code(at) - 0x30);
      at++;
    }
    if (at === from || value > 255 || (at - from > 1 && view.code(from) === 0x30)) return undefined;
    octets.push(value);
    if (octets.length === 4) break;
    if (view.code(at) !== DOT) return undefined;
    at++;
  }
  const next = view.code(at);
  if (isWord(next) || next === 0x5f) return undefined;
  if ((next === DOT || next === 0x2d) && isWord(view.code(at + 1))) return undefined;
  const [a, b, c, d] = octets as [number, number, number, number];
  if (a === 0 || a === 127 || a >= 224 || (a === 192 && b === 0 && c === 2) || (a === 198 && b === 51 && c === 100)) {
    return undefined;
  }
  if (a === 203 && b === 0 && c === 113) return undefined;
  // Four small numbers are as often a version.
  const score = Math.max(a, b, c, d) < 20 || a < 4 ? 0.55 : 0.85;
  return { class: "ip-address", end: at, score };
}

const GROUPS = 8;

/** Full form, or shortened with a first group that is in use: global, unique local, link local. */
export function findIpv6(view: TextView, start: number): Candidate | undefined {
  let groups = 0;
  let pairs = 0;
  let shortened = false;
  let at = start;
  for (;;) {
    const from = at;
    while (isHex(view.code(at)) && at - from < 4) at++;
    if (at > from) {
      groups++;
      if (at - from === 2) pairs++;
    }
    if (groups > GROUPS || isHex(view.code(at))) return undefined;
    if (view.code(at) !== COLON) break;
    if (view.code(at + 1) === COLON) {
      if (shortened || at === from) return undefined;
      shortened = true;
      at += 2;
      if (!isHex(view.code(at))) break;
    } else if (isHex(view.code(at + 1))) {
      at++;
    } else {
      break;
    }
  }
  const next = view.code(at);
  if (isWord(next) || next === 0x5f || (next === COLON && (isWord(view.code(at + 1)) || view.code(at + 1) === COLON))) {
    return undefined;
  }
  const first = Number.parseInt(view.text.slice(start, start + 4), 16);
  if (shortened) {
    if (groups === GROUPS || groups < 2 || view.code(start + 4) !== COLON || !isUsed(first)) return undefined;
  } else if (groups !== GROUPS || pairs === GROUPS) {
    return undefined;
  }
  if (first === 0x2001 && view.text.slice(start + 5, start + 8).toLowerCase() === "db8") return undefined;
  return { class: "ip-address", end: at, score: 0.9 };
}

function isUsed(first: number): boolean {
  return (
    (first >= 0x2000 && first < 0x4000) || (first >= 0xfc00 && first < 0xfec0 && (first < 0xfe00 || first > 0xfe7f))
  );
}

/** Whether an IPv6 address may start here: not inside a longer row of groups, such as a fingerprint. */
export function mayStartIpv6(view: TextView, start: number): boolean {
  const before = view.before(start);
  if (before !== COLON) return !isWord(before);
  const second = view.before(start - 1);
  return !isWord(second) && second !== COLON;
}
