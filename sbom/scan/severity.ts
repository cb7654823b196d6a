/** How bad a vulnerability is, from what its record says: CVSS vectors, or a word of its database. */
import { cvssScore } from "./cvss.ts";

export const LEVELS = ["unknown", "none", "low", "medium", "high", "critical"] as const;
export type Level = (typeof LEVELS)[number];

export interface Severity {
  readonly level: Level;
  /** CVSS base score; undefined where only a word is known. */
  readonly score: number | undefined;
  /** The CVSS vector of the score. */
  readonly vector: string | undefined;
}

export const UNKNOWN: Severity = { level: "unknown", score: undefined, vector: undefined };

type Json = Readonly<Record<string, unknown>>;

/** Words of GitHub's, Debian's, Ubuntu's and Red Hat's databases. Debian's "unimportant" and "end-of-life" say nothing of how bad. */
const WORDS: Readonly<Record<string, Level>> = {
  critical: "critical",
  high: "high",
  important: "high",
  moderate: "medium",
  medium: "medium",
  low: "low",
  negligible: "low",
  none: "none",
};

const RATING_MAX_LENGTH = 512;

/** What a record, or one `affected` of it, says of how bad it is: CVSS vectors and words, as they stand there. */
export function ratingsOf(item: Json): string[] {
  const stated: readonly unknown[] = Array.isArray(item["severity"]) ? item["severity"] : [];
  const scores = stated.map((one) => ((one ?? {}) as { readonly score?: unknown }).score);
  const words = ["database_specific", "ecosystem_specific"].flatMap((member) => {
    const { severity, urgency } = (item[member] ?? {}) as { readonly severity?: unknown; readonly urgency?: unknown };
    return [severity, urgency];
  });
  return [...scores, ...words].filter((one) => typeof one === "string" && one.length <= RATING_MAX_LENGTH) as string[];
}

/** The worst of `ratings`; undefined if none of them can be read. */
export function severityOf(ratings: readonly string[]): Severity | undefined {
  const known = ratings.map(severityOfOne).filter((one) => one !== undefined);
  return known.length === 0 ? undefined : known.reduce(worse);
}

function severityOfOne(rating: string): Severity | undefined {
  const score = cvssScore(rating);
  if (score !== undefined) return { level: levelOf(score), score, vector: rating };
  const key = rating.toLowerCase();
  const level = Object.hasOwn(WORDS, key) ? WORDS[key] : undefined;
  return level && { level, score: undefined, vector: undefined };
}

/** The higher one; of two alike the one with a score. */
function worse(a: Severity, b: Severity): Severity {
  const order = LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level);
  if (order !== 0) return order > 0 ? a : b;
  return (b.score ?? -1) > (a.score ?? -1) ? b : a;
}

/** The rating scale of CVSS 3.1, section 5. */
function levelOf(score: number): Level {
  if (score === 0) return "none";
  if (score < 4) return "low";
  if (score < 7) return "medium";
  return score < 9 ? "high" : "critical";
}
