/**
 * Licences judged by a policy: an SPDX expression is a choice (OR takes the best), a sum (AND takes the
 * worst) or an id with its exception, which is a licence of its own. What is no SPDX expression is unknown.
 */
import { createRequire } from "node:module";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import type { SbomDocument } from "../document.ts";
import { sbomError } from "../error.ts";
import { isSpdxExpression } from "../spdx.ts";

const parse = createRequire(import.meta.url)("spdx-expression-parse") as (text: string) => Node;

type Node =
  | { readonly license: string; readonly plus?: boolean; readonly exception?: string }
  | { readonly left: Node; readonly right: Node; readonly conjunction: "and" | "or" };

/** From the best to the worst. */
const ORDER = ["allow", "review", "deny"] as const;
export type LicenceRule = (typeof ORDER)[number];

export interface LicencePolicy {
  readonly schemaVersion: 1;
  /** SPDX ids, with their exception where they have one: `GPL-2.0-only WITH Classpath-exception-2.0`. */
  readonly allow: readonly string[];
  readonly review: readonly string[];
  readonly deny: readonly string[];
  /** Of a licence in none of the lists. */
  readonly unlisted: LicenceRule;
  /** Of a package without a licence, or with one that has no SPDX name. */
  readonly unknown: LicenceRule;
}

export const LICENCE_POLICY_MAX_BYTES = 256 * 1024;

const ids = {
  type: "array",
  maxItems: 2000,
  uniqueItems: true,
  items: { type: "string", minLength: 1, maxLength: 256 },
};
const rule = { enum: [...ORDER] };

/** Published as `sealift schema licence-policy`. */
export const licencePolicySchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift licence policy",
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "allow", "review", "deny", "unlisted", "unknown"],
  properties: { schemaVersion: { const: 1 }, allow: ids, review: ids, deny: ids, unlisted: rule, unknown: rule },
};

/** @throws LICENCE_POLICY_MALFORMED, also for what is no SPDX id and for one that is in two lists */
export function parseLicencePolicy(bytes: Buffer): LicencePolicy {
  const refuse = (what: string): never => {
    throw sbomError("LICENCE_POLICY_MALFORMED", `licence policy: ${what}`, {
      hints: ["sealift schema licence-policy"],
    });
  };
  if (bytes.length > LICENCE_POLICY_MAX_BYTES)
    refuse(`got ${bytes.length} bytes, want at most ${LICENCE_POLICY_MAX_BYTES}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    refuse("not JSON in UTF-8");
  }
  const problem = schemaProblem(licencePolicySchema, value);
  if (problem !== undefined) refuse(problem);
  const policy = value as LicencePolicy;
  const seen = new Set<string>();
  for (const id of [...policy.allow, ...policy.review, ...policy.deny]) {
    // An id that is misspelt would never match, and a denial would be lost in silence.
    if (!isSpdxExpression(id) || "conjunction" in parse(id)) refuse(`${JSON.stringify(id)} is no SPDX licence`);
    if (seen.has(id)) refuse(`${JSON.stringify(id)} is in two lists`);
    seen.add(id);
  }
  return policy;
}

export interface LicenceFinding {
  /** The package's purl, or its name and version. */
  readonly package: string;
  readonly licences: readonly string[];
  readonly rule: LicenceRule;
  /** The licences that decided; empty where none is known. */
  readonly decided: readonly string[];
  readonly isUnknown: boolean;
}

/** Every package of the document, in its order. Several licences of one are a sum. */
export function judgeLicences(document: SbomDocument, policy: LicencePolicy): LicenceFinding[] {
  return document.components
    .filter(({ type }) => type === "library" || type === "application" || type === "framework")
    .map(({ purl, name, version, licences = [] }): LicenceFinding => {
      const judged = licences.map((licence) => ({ licence, ...judgeLicence(licence, policy) }));
      const all = judged.length > 0 ? judged : [{ licence: "", rule: policy.unknown, isUnknown: true }];
      const worst = all.map((one) => one.rule).reduce(worse);
      const decided = all.filter((one) => one.rule === worst);
      return {
        package: purl ?? `${name}@${version ?? ""}`,
        licences,
        rule: worst,
        decided: decided.map(({ licence }) => licence).filter((licence) => licence !== ""),
        isUnknown: decided.some(({ isUnknown }) => isUnknown),
      };
    });
}

/** One expression, id or free text. */
export function judgeLicence(
  text: string,
  policy: LicencePolicy,
): { readonly rule: LicenceRule; readonly isUnknown: boolean } {
  if (!isSpdxExpression(text)) return { rule: policy.unknown, isUnknown: true };
  return { rule: judgeNode(parse(text), policy), isUnknown: false };
}

function judgeNode(node: Node, policy: LicencePolicy): LicenceRule {
  if ("conjunction" in node) {
    const [left, right] = [judgeNode(node.left, policy), judgeNode(node.right, policy)];
    return node.conjunction === "and" ? worse(left, right) : better(left, right);
  }
  const id = `${node.license}${node.plus ? "+" : ""}${node.exception ? ` WITH ${node.exception}` : ""}`;
  if (policy.deny.includes(id)) return "deny";
  if (policy.review.includes(id)) return "review";
  return policy.allow.includes(id) ? "allow" : policy.unlisted;
}

function worse(a: LicenceRule, b: LicenceRule): LicenceRule {
  return ORDER.indexOf(a) > ORDER.indexOf(b) ? a : b;
}

function better(a: LicenceRule, b: LicenceRule): LicenceRule {
  return ORDER.indexOf(a) < ORDER.indexOf(b) ? a : b;
}
