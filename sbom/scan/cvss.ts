/** CVSS base scores: 2.0 (first.org/cvss/v2/guide, 3.2.1), 3.0 and 3.1 (specification document, 7.1). */

type Weights = Readonly<Record<string, Readonly<Record<string, number>>>>;

const V3: Weights = {
  AV: { N: 0.85, A: 0.62, L: 0.55, P: 0.2 },
  AC: { L: 0.77, H: 0.44 },
  UI: { N: 0.85, R: 0.62 },
  S: { U: 0, C: 1 },
  C: { H: 0.56, L: 0.22, N: 0 },
  I: { H: 0.56, L: 0.22, N: 0 },
  A: { H: 0.56, L: 0.22, N: 0 },
};
/** Privileges weigh more where the scope changes. */
const V3_PRIVILEGES = { N: [0.85, 0.85], L: [0.62, 0.68], H: [0.27, 0.5] } as const;

const V2: Weights = {
  AV: { L: 0.395, A: 0.646, N: 1 },
  AC: { H: 0.35, M: 0.61, L: 0.71 },
  Au: { M: 0.45, S: 0.56, N: 0.704 },
  C: { N: 0, P: 0.275, C: 0.66 },
  I: { N: 0, P: 0.275, C: 0.66 },
  A: { N: 0, P: 0.275, C: 0.66 },
};

/** Undefined if the vector is of another version, or lacks or repeats a base metric. */
export function cvssScore(vector: string): number | undefined {
  const prefix = /^CVSS:3\.[01]\//.exec(vector)?.[0];
  const metrics = metricsOf(vector.slice(prefix?.length ?? 0));
  if (!metrics) return undefined;
  return prefix ? scoreV3(metrics) : scoreV2(metrics);
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

function weigh(metrics: ReadonlyMap<string, string>, weights: Weights): Record<string, number> | undefined {
  const result: Record<string, number> = {};
  for (const [name, values] of Object.entries(weights)) {
    const value = metrics.get(name);
    const weight = value !== undefined && Object.hasOwn(values, value) ? values[value] : undefined;
    if (weight === undefined) return undefined;
    result[name] = weight;
  }
  return result;
}

function scoreV3(metrics: ReadonlyMap<string, string>): number | undefined {
  const weights = weigh(metrics, V3);
  const privileges = metrics.get("PR");
  if (!weights || privileges === undefined || !Object.hasOwn(V3_PRIVILEGES, privileges)) return undefined;
  const { AV = 0, AC = 0, UI = 0, S = 0, C = 0, I = 0, A = 0 } = weights;
  const isChanged = S === 1;
  const PR = V3_PRIVILEGES[privileges as keyof typeof V3_PRIVILEGES][S as 0 | 1];
  const base = 1 - (1 - C) * (1 - I) * (1 - A);
  const impact = isChanged ? 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15 : 6.42 * base;
  if (impact <= 0) return 0;
  const sum = impact + 8.22 * AV * AC * PR * UI;
  return roundUp(Math.min(isChanged ? 1.08 * sum : sum, 10));
}

/** "Roundup" of CVSS 3.1, appendix A: in whole numbers, so that no platform rounds otherwise. */
function roundUp(value: number): number {
  const whole = Math.round(value * 100_000);
  return whole % 10_000 === 0 ? whole / 100_000 : (Math.floor(whole / 10_000) + 1) / 10;
}

function scoreV2(metrics: ReadonlyMap<string, string>): number | undefined {
  const weights = weigh(metrics, V2);
  if (!weights) return undefined;
  const { AV = 0, AC = 0, Au = 0, C = 0, I = 0, A = 0 } = weights;
  const impact = 10.41 * (1 - (1 - C) * (1 - I) * (1 - A));
  const score = (0.6 * impact + 0.4 * 20 * AV * AC * Au - 1.5) * (impact === 0 ? 0 : 1.176);
  return Math.round(score * 10) / 10;
}
