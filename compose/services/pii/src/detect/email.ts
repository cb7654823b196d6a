/**
 * E-mail addresses as people have them, RFC 5321 sizes: local part up to 64, all up to 254. Letters of other
 * alphabets and punycode are taken; quoted local parts and address literals (`user@[1.2.3.4]`) are not.
 */

import { isAlphanumeric, isAnyLetter, isDigit, type TextView } from "../text-view.ts";
import type { Candidate } from "./candidate.ts";

const LOCAL_MAX = 64;
const ADDRESS_MAX = 254;
const LABEL_MAX = 63;

const AT = 0x40;
const DOT = 0x2e;
const DASH = 0x2d;
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
  if (at === start || view.before(at) === DOT) return undefined;
  const domain = at + 1;
  const end = domainEnd(view, domain, start + ADDRESS_MAX);
  if (end === undefined) return undefined;
  const labels = view.text.slice(domain, end).toLowerCase().split(".");
  const top = labels.at(-1) as string;
  if (labels.length < 2 || top.length < 2 || !(top.startsWith("xn--") || /^[^\d_-]+$/.test(top))) return undefined;
  const next = view.code(end);
  // A call, as in code: a@b.dot(c).
  if (next === 0x28) return undefined;
  const machine = MACHINES.has(view.text.slice(start, at)) && (next === 0x3a || next === 0x2f);
  if (machine || FILE_ENDINGS.has(top)) return { class: "email", end, score: 0.3 };
  return { class: "email", end, score: 0.97 };
}

/** After the last label; undefined if there is none, one is too long, or a name goes on past what may be. */
function domainEnd(view: TextView, start: number, limit: number): number | undefined {
  let end: number | undefined;
  let at = start;
  for (;;) {
    const label = at;
    while (isDomain(view.code(at)) || (view.code(at) === DASH && at > label)) {
      if (++at - label > LABEL_MAX || at > limit) return undefined;
    }
    let last = at;
    while (last > label && view.before(last) === DASH) last--;
    if (last === label) return end;
    // "me@example.com.3" and "a@b.org.Next" alike end where a top-level name can stand.
    if (end !== undefined && isDigit(view.code(label)) && last - label < 2) return end;
    end = last;
    if (last !== at || view.code(at) !== DOT) return end;
    at++;
  }
}
