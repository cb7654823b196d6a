/**
 * Credentials that say what they are: by the prefix their issuer gives them, as JSON web tokens, private key
 * files, passwords in a URL, and values given to a name such as `password`.
 */

import { isAlphanumeric, isDigit, isLetter, isUpper, isWord, type TextView } from "../text-view.ts";
import type { Candidate, RunningSecret } from "./candidate.ts";

/** A longer one goes on: see `secretEnd`. */
const MATCH_MAX = 200;

interface Prefix {
  readonly text: string;
  /** Of what comes after the prefix. */
  readonly min: number;
  readonly max?: number;
  /** Capitals and digits only. */
  readonly capitals?: boolean;
}

const PREFIXES: readonly Prefix[] = [
  { text: "AKIA", min: 16, max: 16, capitals: true },
  { text: "ASIA", min: 16, max: 16, capitals: true },
  { text: "AGE-SECRET-KEY-1", min: 58, max: 58, capitals: true },
  { text: "AIza", min: 35, max: 35 },
  { text: "ghp_", min: 36 },
  { text: "gho_", min: 36 },
  { text: "ghu_", min: 36 },
  { text: "ghs_", min: 36 },
  { text: "ghr_", min: 36 },
  { text: "github_pat_", min: 22 },
  { text: "glpat-", min: 20 },
  { text: "xoxb-", min: 20 },
  { text: "xoxp-", min: 20 },
  { text: "xoxa-", min: 20 },
  { text: "xoxr-", min: 20 },
  { text: "xoxs-", min: 20 },
  { text: "sk-ant-", min: 20 },
  { text: "sk-proj-", min: 20 },
  { text: "sk-", min: 32 },
  { text: "sk_live_", min: 16 },
  { text: "sk_test_", min: 16 },
  { text: "rk_live_", min: 16 },
  { text: "npm_", min: 36, max: 36 },
  { text: "pypi-", min: 50 },
  { text: "hf_", min: 30 },
  { text: "dop_v1_", min: 64 },
  { text: "SG.", min: 60 },
  { text: "ya29.", min: 30 },
];
const BY_FIRST = new Map<number, Prefix[]>();
for (const prefix of PREFIXES) {
  const first = prefix.text.charCodeAt(0);
  BY_FIRST.set(first, [...(BY_FIRST.get(first) ?? []), prefix]);
}

const DOT = 0x2e;
const DASH = 0x2d;
const UNDERSCORE = 0x5f;
const COLON = 0x3a;
const SLASH = 0x2f;

const isToken = (code: number): boolean => isAlphanumeric(code) || code === DASH || code === UNDERSCORE;
const isTokenOrDot = (code: number): boolean => isToken(code) || code === DOT;
const isBase64 = (code: number): boolean => isAlphanumeric(code) || code === 0x2b || code === SLASH || code === 0x3d;

/** First two letters of everything that `findToken` takes. */
const PAIRS = new Uint8Array(128 * 128);
for (const text of ["eyJ", ...PREFIXES.map((prefix) => prefix.text)]) {
  PAIRS[text.charCodeAt(0) * 128 + text.charCodeAt(1)] = 1;
}

/** Tells cheaply that a word is not the start of a token. */
export function mayStartToken(first: number, second: number): boolean {
  return first < 128 && second < 128 && PAIRS[first * 128 + second] === 1;
}

export function findToken(view: TextView, start: number): Candidate | undefined {
  for (const prefix of BY_FIRST.get(view.code(start)) ?? []) {
    if (!view.startsWith(prefix.text, start)) continue;
    const candidate = prefixed(view, start + prefix.text.length, prefix);
    if (candidate) return candidate;
  }
  return view.startsWith("eyJ", start) ? webToken(view, start) : undefined;
}

function prefixed(view: TextView, from: number, { min, max = MATCH_MAX, capitals }: Prefix): Candidate | undefined {
  const isPart = capitals === true ? (code: number) => isUpper(code) || isDigit(code) : isTokenOrDot;
  let at = from;
  let digits = 0;
  while (at - from < max && isPart(view.code(at))) {
    if (isDigit(view.code(at))) digits++;
    at++;
  }
  // Names in code look like this too, but have no digits.
  if (at - from < min || digits < 2) return undefined;
  return max === MATCH_MAX ? secretEnd(view, at, from + max, "token") : isWord(view.code(at)) ? undefined : secret(at);
}

const secret = (end: number): Candidate => ({ class: "secret", end, score: 0.95 });

/** `limit` reached: it may go on, and the scanner follows it. */
function secretEnd(view: TextView, at: number, limit: number, running: RunningSecret): Candidate {
  if (at >= limit) return { ...secret(at), running };
  // A full stop that ends the sentence.
  return secret(view.before(at) === DOT ? at - 1 : at);
}

/** Two parts of base64url that begin with `{"`, and a signature. */
function webToken(view: TextView, start: number): Candidate | undefined {
  let at = start;
  while (at - start < MATCH_MAX && isToken(view.code(at))) at++;
  if (at - start < 12) return undefined;
  if (at - start < MATCH_MAX && !(view.code(at) === DOT && view.startsWith("eyJ", at + 1))) return undefined;
  while (at - start < MATCH_MAX && isTokenOrDot(view.code(at))) at++;
  return secretEnd(view, at, start + MATCH_MAX, "token");
}

const KEY_LINE_MIN = 40;

/** `-----BEGIN … PRIVATE KEY-----` and a line of base64. `start` is the first dash. */
export function findPrivateKey(view: TextView, start: number): Candidate | undefined {
  if (!view.startsWith("-----BEGIN ", start)) return undefined;
  let at = start + 11;
  const from = at;
  while (at - from < 32 && (isUpper(view.code(at)) || view.code(at) === 0x20)) at++;
  if (!view.text.slice(from, at).endsWith("PRIVATE KEY") || !view.startsWith("-----", at)) return undefined;
  at += 5;
  const gap = at;
  while (at - gap < 32 && isBetweenKeyLines(view, at)) at++;
  const line = at;
  while (at - line < KEY_LINE_MIN && isBase64(view.code(at))) at++;
  return at - line < KEY_LINE_MIN ? undefined : { class: "secret", end: at, score: 0.95, running: "key-file" };
}

function isBetweenKeyLines(view: TextView, at: number): boolean {
  const code = view.code(at);
  if (code === 0x0a || code === 0x0d || code === 0x09 || code === 0x5c) return true;
  if (code === 0x20) return isBetweenKeyLines(view, at - 1) || view.before(at) === DASH;
  return (code === 0x6e || code === 0x72) && view.before(at) === 0x5c;
}

/** Offset after the part of a running secret that is there; the text's length if it may go on. */
export function runningSecretEnd(view: TextView, from: number, kind: RunningSecret): number {
  let at = from;
  while (at < view.length && isRunning(view, at, kind)) at++;
  return at;
}

function isRunning(view: TextView, at: number, kind: RunningSecret): boolean {
  const code = view.code(at);
  if (kind === "token") return isTokenOrDot(code);
  if (isBase64(code) || code === 0x0a || code === 0x0d || code === 0x09 || code === 0x5c || code === DASH) return true;
  // Indented lines.
  const before = view.before(at);
  return code === 0x20 && (before === 0x0a || before === 0x0d || before === 0x09 || before === 0x20);
}

export const SCHEME_MAX = 16;
const CREDENTIAL_MAX = 100;

/** `scheme://user:password@`: all of it, from the scheme to the `@`. */
export function findUrlCredential(view: TextView, start: number): Candidate | undefined {
  let at = start;
  while (at - start < SCHEME_MAX && (isAlphanumeric(view.code(at)) || view.code(at) === 0x2b)) at++;
  if (!isLetter(view.code(start)) || !view.startsWith("://", at)) return undefined;
  at += 3;
  const from = at;
  let colon = -1;
  while (at - from < CREDENTIAL_MAX) {
    const code = view.code(at);
    if (code === 0x40) {
      const password = colon < 0 ? "" : view.text.slice(colon + 1, at);
      // `${PASSWORD}`, `<password>`, `***`: a place for one.
      return password === "" || /^[${<*x.]+/.test(password) ? undefined : { class: "secret", end: at, score: 0.9 };
    }
    if (code === COLON && colon < 0) colon = at;
    else if (code <= 0x20 || code === SLASH || code === 0x22 || code === 0x3f || code === 0x23) return undefined;
    at++;
  }
  return undefined;
}

const NAMES = [
  "password",
  "passwd",
  "passwort",
  "secret",
  "api_key",
  "apikey",
  "api-key",
  "access_token",
  "client_secret",
];
const NAME_MAX = 16;
const VALUE_MAX = 100;

const isSpaceOrQuote = (code: number): boolean => code === 0x20 || code === 0x22 || code === 0x27;
/** Back over spaces and quotes. */
function skipBack(text: string, from: number, max: number): number {
  let at = from;
  while (from - at < max && at > 0 && isSpaceOrQuote(text.charCodeAt(at - 1))) at--;
  return at;
}

/** After the name to which a sign, `:` or `=`, gives what starts here; 0 if there is no sign. */
export function assignedTo(text: string, start: number): number {
  const sign = skipBack(text, start, 3) - 1;
  const code = sign > 0 ? text.charCodeAt(sign) : 0;
  return code === COLON || code === 0x3d ? skipBack(text, sign, 2) : 0;
}

/** The value in `password = "…"`. Told from code and prose only by the value's look: flagged, hardly more. */
export function findAssignedSecret(view: TextView, start: number): Candidate | undefined {
  const name = assignedTo(view.text, start);
  if (name === 0) return undefined;
  const before = view.text.slice(Math.max(0, name - NAME_MAX), name).toLowerCase();
  if (!NAMES.some((text) => before.endsWith(text))) return undefined;
  let at = start;
  let digits = 0;
  let letters = 0;
  let others = 0;
  while (at - start < VALUE_MAX) {
    const code = view.code(at);
    if (code <= 0x20 || code === 0x22 || code === 0x27 || code === 0x2c || code === 0x3b || code > 0x7e) break;
    // A call or a place to fill in.
    if (code === 0x28 || code === 0x3c || code === 0x7b) return undefined;
    if (isDigit(code)) digits++;
    else if (isLetter(code)) letters++;
    else others++;
    at++;
  }
  if (at - start < 6 || at - start >= VALUE_MAX || digits === 0 || letters === 0) return undefined;
  return { class: "secret", end: at, score: others > 0 ? 0.75 : 0.65 };
}
