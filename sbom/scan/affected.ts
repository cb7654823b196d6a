/** Whether a version is affected (OSV Schema, "Evaluation"). */
import type { OsvAffected, OsvEvent } from "./osv-record.ts";

/** Below, equal to or above 0; undefined if one of the two is no version of the ecosystem. */
export type CompareVersions = (a: string, b: string) => number | undefined;

export interface Judgement {
  /** `undecided`: a version that cannot be read stands in the way. Never taken for `unaffected`. */
  readonly status: "affected" | "unaffected" | "undecided";
  /** Versions above this one in which the ranges that hold it say that it is fixed; ascending. */
  readonly fixed: readonly string[];
}

/** The version before all others. */
const FIRST = "0";
const RANK: Readonly<Record<OsvEvent, number>> = { limit: 0, fixed: 1, last_affected: 2, introduced: 3 };

class NoVersion extends Error {}

/** Judges `version` by one `affected` of a record: listed versions first, then every range. */
export function judgeVersion(version: string, affected: OsvAffected, compare: CompareVersions): Judgement {
  const fixed = new Set<string>();
  let isAffected = affected.versions.some((one) => one === version || compare(one, version) === 0);
  let isUndecided = affected.ranges.length > 0 && compare(version, version) === undefined;
  const order = (a: string, b: string): number => {
    if (a === FIRST || b === FIRST) return Number(b === FIRST) - Number(a === FIRST);
    const result = compare(a, b);
    if (result === undefined) throw new NoVersion();
    return result;
  };
  for (const events of affected.ranges) {
    try {
      const inRange = isInRange(version, events, order);
      if (!inRange && !isAffected) continue;
      isAffected ||= inRange;
      for (const [kind, one] of events) if (kind === "fixed" && order(one, version) > 0) fixed.add(one);
    } catch (cause) {
      if (!(cause instanceof NoVersion)) throw cause;
      isUndecided = true;
    }
  }
  const sorted = isUndecided ? [] : [...fixed].sort(order);
  if (isAffected) return { status: "affected", fixed: sorted };
  return { status: isUndecided ? "undecided" : "unaffected", fixed: [] };
}

function isInRange(
  version: string,
  events: readonly (readonly [OsvEvent, string])[],
  order: (a: string, b: string) => number,
): boolean {
  const limits = events.filter(([kind]) => kind === "limit");
  if (limits.length > 0 && !limits.some(([, limit]) => limit === "*" || order(version, limit) < 0)) return false;
  const sorted = events
    .filter(([kind]) => kind !== "limit")
    // At one version the end of a span comes before the start of the next.
    .sort(([kindA, a], [kindB, b]) => order(a, b) || RANK[kindA] - RANK[kindB]);
  let isIn = false;
  // A last affected version that ends no span so far is the end of one that starts and ends there.
  let lone: string | undefined;
  for (const [kind, bound] of sorted) {
    const position = order(version, bound);
    if (kind === "introduced" && position >= 0) {
      isIn = position === 0 || lone === undefined || order(lone, bound) !== 0;
    }
    if (kind === "fixed" && position >= 0) isIn = false;
    if (kind === "last_affected" && position > 0) {
      lone = isIn ? undefined : bound;
      isIn = false;
    }
  }
  return isIn;
}
