/**
 * CVSS base scores of versions 2.0, 3.0, 3.1 and 4.0, computed by ae-cvss-calculator.
 *
 * The package takes a vector that lacks metrics for one without impact, so each base metric is asked for here. What
 * a publisher says beside them (exploits seen, its own environment) is left out: it may have changed since.
 */
import calculator from "ae-cvss-calculator";

type Metrics = Readonly<Record<string, string>>;

interface Version {
  /** Of its vectors, and what the package expects. */
  readonly prefix: RegExp;
  readonly canonical: string;
  /** Every base metric with its values. */
  readonly base: Metrics;
  readonly score: (vector: string) => number | undefined;
}

const V3: Metrics = { AV: "NALP", AC: "LH", PR: "NLH", UI: "NR", S: "UC", C: "HLN", I: "HLN", A: "HLN" };
const IMPACT = "HLN";

const VERSIONS: readonly Version[] = [
  {
    prefix: /^CVSS:4\.0\//,
    canonical: "CVSS:4.0/",
    base: {
      ...{ AV: "NALP", AC: "LH", AT: "NP", PR: "NLH", UI: "NPA" },
      ...{ VC: IMPACT, VI: IMPACT, VA: IMPACT, SC: IMPACT, SI: IMPACT, SA: IMPACT },
    },
    score: (vector) => new calculator.Cvss4P0(vector).calculateScores().base,
  },
  {
    prefix: /^CVSS:3\.1\//,
    canonical: "CVSS:3.1/",
    base: V3,
    score: (vector) => new calculator.Cvss3P1(vector).calculateScores().base,
  },
  {
    prefix: /^CVSS:3\.0\//,
    canonical: "CVSS:3.0/",
    base: V3,
    score: (vector) => new calculator.Cvss3P0(vector).calculateScores().base,
  },
  {
    // Only 2.0 has none.
    prefix: /^(?!CVSS:)/,
    canonical: "",
    base: { AV: "LAN", AC: "HML", Au: "MSN", C: "NPC", I: "NPC", A: "NPC" },
    score: (vector) => new calculator.Cvss2(vector).calculateScores().base,
  },
];

/** 0 to 10. Undefined if the vector is of another version, or lacks or repeats a base metric. */
export function cvssScore(vector: string): number | undefined {
  const version = VERSIONS.find(({ prefix }) => prefix.test(vector));
  const metrics = version && metricsOf(vector.replace(version.prefix, ""));
  if (!version || !metrics) return undefined;
  const parts: string[] = [];
  for (const [name, values] of Object.entries(version.base)) {
    const value = metrics.get(name);
    if (value?.length !== 1 || !values.includes(value)) return undefined;
    parts.push(`${name}:${value}`);
  }
  const score = version.score(`${version.canonical}${parts.join("/")}`);
  // It may be -0.
  return score === undefined ? undefined : Math.max(0, score);
}

function metricsOf(text: string): Map<string, string> | undefined {
  const metrics = new Map<string, string>();
  for (const part of text.split("/")) {
    const [name = "", value, more] = part.split(":");
    if (value === undefined || more !== undefined || metrics.has(name)) return undefined;
    metrics.set(name, value);
  }
  return metrics;
}
