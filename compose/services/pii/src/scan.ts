/**
 * Finds personal data and secrets in text, in one pass from left to right.
 *
 * Linear by construction: at each word the detectors look at most 256 code units ahead and 64 back, none of
 * them with a pattern that can backtrack over more. What was found is never looked at again, so that matches
 * do not overlap; of two that do, the first wins, except that a weak number gives way to a strong one in it.
 *
 * Offsets are UTF-16 code units of the text as given (JavaScript's string index), end exclusive.
 */
import type { PiiClass } from "./classes.ts";
import type { RunningSecret } from "./detect/candidate.ts";
import { runningSecretEnd } from "./detect/secret.ts";
import { findAtSign, findAtWord, isSign, mayBegin } from "./find.ts";
import { normalize } from "./normalize.ts";
import { DIGIT, hasKind, isWord, kindOf, TextView, WORD } from "./text-view.ts";

export interface Finding {
  readonly class: PiiClass;
  readonly start: number;
  readonly end: number;
  /** 0.3 to 0.99: how sure it is, not how bad. */
  readonly score: number;
  /** The rest of the finding that the window before ended with. */
  readonly continues?: true;
}

export interface Window {
  readonly text: string;
  /** What stood before and was consumed: its last 1024 code units, or all of it if it is shorter. */
  readonly before?: string;
  /** As the window before gave it. */
  readonly running?: RunningSecret | undefined;
  /** More text follows in a later window. */
  readonly more?: boolean;
}

export interface WindowScan {
  /** In order, without overlap. */
  readonly findings: readonly Finding[];
  /**
   * How much of the text is decided, whatever comes. The rest may be the start of a match: at most 256 code
   * units after normalization. It belongs at the start of the next window.
   */
  readonly consumed: number;
  /** The last finding goes on, and the next window may begin with its rest. */
  readonly running?: RunningSecret;
}

export const BEFORE_MAX = 1024;
/** No match needs more than this to be decided. */
export const HOLD_MAX = 256;

const AT = "@";
const LOCAL_PART_REACH = 65;

export function scanText(text: string): readonly Finding[] {
  return scanWindow({ text }).findings;
}

/** Windows of any sizes, put together, find what `scanText` finds in the whole text. */
export function scanWindow({ text, before = "", running, more = false }: Window): WindowScan {
  const last = text.charCodeAt(text.length - 1);
  // Half of a pair of surrogates waits for the other.
  const given = before + (more && last >= 0xd800 && last <= 0xdbff ? text.slice(0, -1) : text);
  const normal = normalize(given);
  const toNormal = (offset: number): number => (normal.origin ? firstAtLeast(normal.origin, offset) : offset);
  const scan = new Scan(new TextView(normal.text), more);
  const decided = scan.run(toNormal(before.length), running);
  const toGiven = (end: number): number => {
    if (!normal.origin || end === 0) return end;
    const at = normal.origin[end - 1] as number;
    const pair = given.charCodeAt(at) >= 0xd800 && given.charCodeAt(at) <= 0xdbff;
    return at + (pair && normal.text.charCodeAt(end - 1) < 0x80 ? 2 : 1);
  };
  const startOf = (at: number): number => (normal.origin?.[at] ?? at) - before.length;
  return {
    findings: scan.findings.map(({ start, end, score, ...rest }) => ({
      ...rest,
      start: startOf(start),
      end: toGiven(end) - before.length,
      score: Math.round(score * 100) / 100,
    })),
    consumed: decided === normal.text.length ? given.length - before.length : startOf(decided),
    ...(scan.running && { running: scan.running }),
  };
}

function firstAtLeast(sorted: Uint32Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

class Scan {
  readonly findings: Finding[] = [];
  running: RunningSecret | undefined;
  readonly #view: TextView;
  readonly #more: boolean;
  #nextAt = -1;

  constructor(view: TextView, more: boolean) {
    this.#view = view;
    this.#more = more;
  }

  /** Offset up to which everything is decided. */
  run(from: number, running: RunningSecret | undefined): number {
    const { text, length } = this.#view;
    let at = running ? this.#follow(from, running) : from;
    let inWord = isWord(this.#view.before(at));
    while (at < length) {
      const code = text.charCodeAt(at);
      const starts = !inWord && (hasKind(code, WORD) || isSign(code));
      inWord = hasKind(code, WORD);
      if (!starts) {
        at++;
        continue;
      }
      let end = at + 1;
      let kinds = kindOf(code);
      while (inWord && end < length) {
        const kind = kindOf(text.charCodeAt(end));
        if ((kind & WORD) === 0) break;
        kinds |= kind;
        end++;
      }
      if (this.#more && end === length && length - at < HOLD_MAX) return at;
      const hasDigit = (kinds & DIGIT) !== 0;
      const nearAt = inWord && this.#isNearAt(at);
      if (inWord && !hasDigit && !nearAt && end + 1 < length && !mayBegin(text, at, end)) {
        at = end;
        continue;
      }
      this.#view.pastEnd = false;
      const found = inWord ? findAtWord(this.#view, { start: at, end, hasDigit, nearAt }) : findAtSign(this.#view, at);
      if (this.#more && this.#view.pastEnd) return at;
      if (!found) {
        at = end;
        continue;
      }
      this.findings.push({ class: found.class, start: at, end: found.end, score: found.score });
      at = found.running ? this.#follow(found.end, found.running) : found.end;
      inWord = isWord(this.#view.before(at));
    }
    return at;
  }

  /** Whether an `@` is near enough for the word to be the start of an address, or may yet come. */
  #isNearAt(start: number): boolean {
    const { text, length } = this.#view;
    if (this.#nextAt < start) {
      const next = text.indexOf(AT, start);
      this.#nextAt = next < 0 ? Number.POSITIVE_INFINITY : next;
    }
    return this.#nextAt - start < LOCAL_PART_REACH || (this.#more && length - start <= LOCAL_PART_REACH);
  }

  /** The rest of a secret without a greatest length, as a part of the finding before. */
  #follow(from: number, running: RunningSecret): number {
    const end = runningSecretEnd(this.#view, from, running);
    const last = this.findings.at(-1);
    if (last && last.end === from) this.findings[this.findings.length - 1] = { ...last, end };
    else if (end > from) this.findings.push({ class: "secret", start: from, end, score: 0.95, continues: true });
    this.running = this.#more && end === this.#view.length ? running : undefined;
    return end;
  }
}
