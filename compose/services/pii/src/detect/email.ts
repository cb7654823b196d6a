/**
 * E-mail addresses as people have them, RFC 5321 sizes: local part up to 64, all up to 254. Letters of other
 * alphabets and punycode are taken; quoted local parts and address literals (`user@[1.2.3.4]`) are not.
 */

import { isAlphanumeric, isAnyLetter, type TextView } from "../text-view.ts";
import type { Candidate } from "./candidate.ts";

const LOCAL_MAX = 64;
/** With the local part 254, of which one is the `@`. */
const DOMAIN_MAX = 189;
const LABEL_MAX = 63;

const AT = 0x40;
const DOT = 0x2e;
const DASH = 0x2d;
const OPEN = 0x28;
const COLON = 0x3a;
const SLASH = 0x2f;
const EXTRA_LOCAL: ReadonlySet<number> = new Set([...".!#$%&'*+-_~"].map((char) => char.charCodeAt(0)));
/** `logo@2x.png` and other names of files. */
const FILE_ENDINGS: ReadonlySet<string> = new Set(
  "png jpg jpeg gif svg webp css js ts mjs cjs json md html htm xml yaml yml txt log pdf zip gz tar".split(" "),
);
/** Accounts of machines: `git@host.example:path` is an address for ssh. */
const MACHINES: ReadonlySet<string> = new Set(["git", "hg", "svn"]);

const isDomain = (code: number): boolean => isAlphanumeric(code) || isAnyLetter(code) || code > 0x2e7f;

export function findEmail(view: TextView, start: number): Candidate | undefined {
  let at = start;
  for (;;) {
    const code = view.code(at);
    if (code === AT) break;
    if (!isAlphanumeric(code) && !isAnyLetter(code) && !EXTRA_LOCAL.has(code)) return undefined;
    if (++at - start > LOCAL_MAX) return undefined;
  }
  if (at === start || at === view.deadAt || view.before(at) === DOT) return undefined;
  const end = domainEnd(view, at + 1);
  if (end === undefined) {
    view.deadAt = at;
    return undefined;
  }
  const next = view.code(end);
  // A call, as in code: a@b.dot(c).
  if (next === OPEN) return undefined;
  const machine = MACHINES.has(view.text.slice(start, at)) && (next === COLON || next === SLASH);
  const top = view.text.slice(view.text.lastIndexOf(".", end) + 1, end).toLowerCase();
  return { class: "email", end, score: machine || FILE_ENDINGS.has(top) ? 0.3 : 0.97 };
}

/** After a domain of two labels or more with a top-level name that can be; undefined if there is none. */
function domainEnd(view: TextView, start: number): number | undefined {
  const limit = start + DOMAIN_MAX;
  const ends: number[] = [];
  let at = start;
  for (;;) {
    const label = at;
    while (isDomain(view.code(at)) || (view.code(at) === DASH && at > label)) {
      if (++at - label > LABEL_MAX || at > limit) return undefined;
    }
    let last = at;
    while (last > label && view.before(last) === DASH) last--;
    if (last > label) ends.push(last);
    if (last === label || last !== at || view.code(at) !== DOT) break;
    at++;
  }
  const end = ends.pop();
  if (end === undefined || ends.length === 0) return undefined;
  const before = ends.at(-1) as number;
  if (isTop(view.text.slice(before + 1, end))) return end;
  // "me@example.com.3": a full stop, and something else.
  return ends.length > 1 && isTop(view.text.slice((ends.at(-2) as number) + 1, before)) ? before : undefined;
}

function isTop(label: string): boolean {
  return label.length > 1 && (label.toLowerCase().startsWith("xn--") || /^[^\d-]+$/.test(label));
}
