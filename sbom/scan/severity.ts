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
};

/**
 * The highest that a record, or one `affected` of it, states; undefined if it states nothing that can be
 * read. CVSS 4.0 vectors are not computed: there the database's own word counts, or nothing.
 */
export function severityOf(item: Json): Severity | undefined {
  const stated = Array.isArray(item["severity"]) ? item["severity"] : [];
  const found: Severity[] = [];
  for (const one of stated as unknown[]) {
    const { score } = (one ?? {}) as { readonly score?: unknown };
    if (typeof score !== "string" || score.length > 512) continue;
    const value = cvssScore(score);
    if (value !== undefined) found.push({ level: levelOf(value), score: value, vector: score });
    else found.push(...word(score));
  }
  for (const field of ["database_specific", "ecosystem_specific"]) {
    const { severity, urgency } = (item[field] ?? {}) as { readonly severity?: unknown; readonly urgency?: unknown };
    for (const text of [severity, urgency]) if (typeof text === "string") found.push(...word(text));
  }
  return found.length === 0 ? undefined : found.reduce(worse);
}

/** The higher one; of two alike the one with a score. */
export function worse(a: Severity, b: Severity): Severity {
  const order = LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level);
  if (order !== 0) return order > 0 ? a : b;
  return (b.score ?? -1) > (a.score ?? -1) ? b : a;
}

function word(text: string): Severity[] {
  const key = text.toLowerCase();
  const level = Object.hasOwn(WORDS, key) ? WORDS[key] : undefined;
  return level === undefined ? [] : [{ level, score: undefined, vector: undefined }];
}

/** The rating scale of CVSS 3.1, section 5. */
function levelOf(score: number): Level {
  if (score === 0) return "none";
  if (score < 4) return "low";
  if (score < 7) return "medium";
  return score < 9 ? "high" : "critical";
}
