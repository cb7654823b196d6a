/**
 * What happens with what is found: by tenant, channel and class. A JSON document, closed: an unknown member,
 * class or mode is an error, so that a misspelt rule is not a rule that silently does nothing.
 *
 *     { "default": { "request": { "email": { "mode": "redact" }, "*": { "mode": "flag", "minScore": 0.5 } } },
 *       "tenants": { "acme": { "response": { "payment-card": { "mode": "strict" } } } } }
 *
 * The first rule of these holds: the tenant's for the class, the tenant's for "*", the default's for the class,
 * the default's for "*", the built-in one.
 */
import { SettingsError } from "@sealift/service-kit/settings.ts";
import { NATIONAL_IDS, PII_CLASSES, type PiiClass } from "./classes.ts";

/** off: not looked at. flag: told, text unchanged. redact: replaced by a marker. strict: the text may not pass. */
export const MODES = ["off", "flag", "redact", "strict"] as const;
export type Mode = (typeof MODES)[number];

export const CHANNELS = ["request", "response"] as const;
export type Channel = (typeof CHANNELS)[number];

export interface Rule {
  readonly mode: Mode;
  /** Findings with a lower score do not count; for redact and strict they are flagged from 0.5 on. */
  readonly minScore: number;
}

export interface Policy {
  rule(tenant: string, channel: Channel, piiClass: PiiClass): Rule;
}

type ChannelRules = Readonly<Partial<Record<PiiClass | "*", Rule>>>;
type ChannelPolicies = Readonly<Partial<Record<Channel, ChannelRules>>>;

export const TENANT = /^[A-Za-z0-9._-]{1,64}$/;
const TENANTS_MAX = 10_000;
const DOCUMENT_MAX_BYTES = 1024 * 1024;

/** To tell is cheap, and the reader can judge. */
export const FLAG_SCORE = 0.5;
const FLAG: Rule = { mode: "flag", minScore: FLAG_SCORE };
/** To block or to change a text needs better evidence. */
const STRICT: Rule = { mode: "strict", minScore: 0.8 };
const REDACT: Rule = { mode: "redact", minScore: 0.8 };

/**
 * Cards, national ids and secrets do lasting harm, have check digits or fixed forms, and no prompt needs them:
 * a request with one is blocked, so that its author learns of it. In an answer they are redacted, since a
 * model that writes one is not the reader's fault, and half of a stream may be out already. E-mail addresses,
 * phone numbers, IBANs and IP addresses belong to everyday work (a letterhead, an invoice, a log): told only.
 */
const HARMFUL: ReadonlySet<PiiClass> = new Set<PiiClass>(["payment-card", "secret", ...NATIONAL_IDS]);

function builtInRule(channel: Channel, piiClass: PiiClass): Rule {
  return HARMFUL.has(piiClass) ? (channel === "request" ? STRICT : REDACT) : FLAG;
}

export const BUILT_IN_POLICY: Policy = { rule: (_, channel, piiClass) => builtInRule(channel, piiClass) };

/** @throws SettingsError naming every place that is wrong */
export function parsePolicy(text: string): Policy {
  if (Buffer.byteLength(text) > DOCUMENT_MAX_BYTES) throw new SettingsError(["policy: larger than 1 MiB"]);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new SettingsError(["policy: not JSON"]);
  }
  const problems: string[] = [];
  const top = members(document, "policy", ["default", "tenants"], problems);
  const fallback = channelPolicies(top["default"] ?? {}, "policy.default", problems);
  const tenants = new Map<string, ChannelPolicies>();
  const given = Object.entries(members(top["tenants"] ?? {}, "policy.tenants", undefined, problems));
  if (given.length > TENANTS_MAX) problems.push(`policy.tenants: want at most ${TENANTS_MAX}`);
  for (const [tenant, value] of given) {
    const path = `policy.tenants[${JSON.stringify(tenant.slice(0, 64))}]`;
    if (!TENANT.test(tenant)) problems.push(`${path}: want 1 to 64 of A-Z a-z 0-9 . _ -`);
    tenants.set(tenant, channelPolicies(value, path, problems));
  }
  if (problems.length > 0) throw new SettingsError(problems.slice(0, 20));
  return {
    rule(tenant, channel, piiClass) {
      const own = tenants.get(tenant)?.[channel];
      const all = fallback[channel];
      return own?.[piiClass] ?? own?.["*"] ?? all?.[piiClass] ?? all?.["*"] ?? builtInRule(channel, piiClass);
    },
  };
}

function channelPolicies(value: unknown, path: string, problems: string[]): ChannelPolicies {
  const policies: Partial<Record<Channel, ChannelRules>> = {};
  const given = members(value, path, CHANNELS, problems);
  for (const channel of CHANNELS) {
    if (given[channel] === undefined) continue;
    const rules: Partial<Record<PiiClass | "*", Rule>> = {};
    const classes = members(given[channel], `${path}.${channel}`, [...PII_CLASSES, "*"], problems);
    for (const piiClass of [...PII_CLASSES, "*"] as const) {
      const rule = classes[piiClass];
      if (rule !== undefined)
        rules[piiClass] = readRule(rule, `${path}.${channel}[${JSON.stringify(piiClass)}]`, problems);
    }
    policies[channel] = rules;
  }
  return policies;
}

function readRule(value: unknown, path: string, problems: string[]): Rule {
  const given = members(value, path, ["mode", "minScore"], problems);
  const mode = MODES.find((known) => known === given["mode"]);
  if (mode === undefined) problems.push(`${path}.mode: want one of ${MODES.join(", ")}`);
  const minScore = given["minScore"] ?? (mode === "flag" ? FLAG : STRICT).minScore;
  if (typeof minScore !== "number" || !(minScore >= 0 && minScore <= 1)) {
    problems.push(`${path}.minScore: want a number from 0 to 1`);
    return FLAG;
  }
  return { mode: mode ?? "strict", minScore };
}

function members(
  value: unknown,
  path: string,
  known: readonly string[] | undefined,
  problems: string[],
): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    problems.push(`${path}: want an object`);
    return {};
  }
  for (const name of Object.keys(value)) {
    if (known && !known.includes(name)) problems.push(`${path}: unknown member ${JSON.stringify(name.slice(0, 64))}`);
  }
  return value as Readonly<Record<string, unknown>>;
}
