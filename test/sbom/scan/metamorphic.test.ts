/**
 * The matcher on random spans of versions whose order is known beforehand: what is affected follows from places in
 * a list, and questions that mean the same must have the same answer.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ECOSYSTEMS, type Ecosystem } from "../../../sbom/scan/ecosystems.ts";
import type { OsvAffected, OsvEvent } from "../../../sbom/scan/osv-record.ts";

type Events = readonly (readonly [OsvEvent, string])[];

/** Ascending; another spelling of the same version follows a "=". */
const CHAINS: Readonly<Record<string, readonly string[]>> = {
  Debian: ["1.0~~=1.00~~", "1.0~rc1", "1.0=0:1.0=1.0-0", "1.0-1~deb13u1", "1.0-1", "1.0-1+b1", "1.0a", "1.10", "1:0.1"],
  Alpine: ["1.0_alpha1", "1.0_beta2", "1.0_rc1", "1.0", "1.0-r1", "1.0_p1", "1.0a", "1.1-r0", "1.10-r0"],
  AlmaLinux: [
    "1.0~rc1-1.el9",
    "1.0-1.el9=0:1.0-1.el9=1.0.-1.el9",
    "1.0-1.el9_2=1.00-1.el9_02",
    "1.0-1.el9_10",
    "1.0-2.el8",
    "1.0^git1-1.el9",
    "1.0.1-1.el9",
    "1.10-1.el9",
    "1:0.1-1.el9",
  ],
  npm: ["1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.1", "1.0.0=1.0.0+build", "1.0.1", "1.2.0", "1.10.0", "2.0.0"],
  PyPI: ["1.0.dev1", "1.0a1", "1.0b2", "1.0rc1=1.0c1", "1.0=1=1.0.0", "1.0.post1", "1.1", "1.10", "1!0.1"],
  Go: [
    "0.9.0",
    "1.0.0-rc.1",
    "1.0.0=v1.0.0",
    "1.0.1-0.20260101000000-abcdefabcdef",
    "1.0.1",
    "1.10.0",
    "2.0.0+incompatible",
  ],
  Maven: [
    "1.0-alpha-1=1.0-a1",
    "1.0-beta-1",
    "1.0-rc1=1.0-cr1",
    "1.0-SNAPSHOT",
    "1.0=1=1.0.0=1.0-ga",
    "1.0-sp",
    "1.0-1",
    "1.0.1",
    "1.10",
  ],
};

const ROUNDS = 150;

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor(state / 65536) % below;
  };
}

interface Span {
  /** Places in the chain: from `start` on, up to but without `end`. */
  readonly start: number;
  readonly end: number;
  readonly events: Events;
}

function shuffled<T>(items: readonly T[], next: (below: number) => number): T[] {
  const copy = [...items];
  for (let i = copy.length - 1; i > 0; i -= 1) {
    const j = next(i + 1);
    [copy[i], copy[j]] = [copy[j] as T, copy[i] as T];
  }
  return copy;
}

for (const [name, chain] of Object.entries(CHAINS)) {
  const ecosystem = ECOSYSTEMS.get(name) as Ecosystem;
  const spellings = chain.map((one) => one.split("="));
  const next = random(name.length * 7919);
  const spelled = (place: number): string => {
    const all = spellings[place] as string[];
    return all[next(all.length)] as string;
  };

  const span = (from: number): Span => {
    const start = from + next(spellings.length - from);
    const end = start + 1 + next(spellings.length - start);
    const opens: [OsvEvent, string] = ["introduced", start === 0 && next(2) === 0 ? "0" : spelled(start)];
    if (end === spellings.length) return { start, end, events: [opens] };
    const closes: [OsvEvent, string] = next(2) === 0 ? ["fixed", spelled(end)] : ["last_affected", spelled(end - 1)];
    return { start, end, events: [opens, closes] };
  };
  const judge = (version: string, ranges: readonly Events[], versions: readonly string[] = []): string => {
    const affected: OsvAffected = { ecosystem: name, name: "x", versions, ranges, ratings: [] };
    return ecosystem.judge(version, affected).status;
  };
  const answers = (ranges: readonly Events[], versions: readonly string[] = []): string =>
    spellings.map((_, place) => judge(spelled(place), ranges, versions)).join();
  const wanted = (isIn: (place: number) => boolean): string =>
    spellings.map((_, place) => (isIn(place) ? "affected" : "unaffected")).join();

  test(`${name}: what lies in one of several spans is affected, however versions are spelled and events sorted`, () => {
    for (let i = 0; i < ROUNDS; i += 1) {
      const spans = Array.from({ length: 1 + next(4) }, () => span(0));
      const isIn = (place: number): boolean => spans.some(({ start, end }) => place >= start && place < end);
      const ranges = shuffled(spans, next).map(({ events }) => shuffled(events, next));
      assert.equal(answers(ranges), wanted(isIn), JSON.stringify(ranges));
    }
  });

  test(`${name}: spans that follow each other in one range are the same as in several, and so is one cut in two`, () => {
    for (let i = 0; i < ROUNDS; i += 1) {
      const first = span(0);
      if (first.end >= spellings.length - 1) continue;
      const second = span(first.end + 1);
      const separate = answers([first.events, second.events]);
      assert.equal(answers([shuffled([...first.events, ...second.events], next)]), separate);
      const cut = first.start + 1 + next(first.end - first.start);
      const halves: Events[] = [
        [
          ["introduced", spelled(first.start)],
          ["fixed", spelled(cut)],
        ],
        [
          ["introduced", spelled(cut)],
          ["fixed", spelled(first.end)],
        ],
      ];
      if (cut < first.end) assert.equal(answers(halves), answers([first.events]));
    }
  });

  test(`${name}: a listed version adds itself alone, and a limit takes away what lies at it and above`, () => {
    for (let i = 0; i < ROUNDS; i += 1) {
      const one = span(0);
      const listed = next(spellings.length);
      const isIn = (place: number): boolean => place >= one.start && place < one.end;
      assert.equal(
        answers([one.events], [spelled(listed)]),
        wanted((place) => isIn(place) || place === listed),
      );
      const limit = next(spellings.length);
      const limited: Events = [...one.events, ["limit", spelled(limit)]];
      assert.equal(
        answers([shuffled(limited, next)]),
        wanted((place) => isIn(place) && place < limit),
      );
    }
  });
}
