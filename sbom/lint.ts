/**
 * What CycloneDX's JSON schema lets pass although the specification forbids it: references that lead
 * nowhere, one bom-ref for two things, a purl that is none, a license expression that is none.
 */
import { PackageURL } from "packageurl-js";
import { isSpdxExpression } from "./spdx.ts";

export type LintRule =
  | "bom-ref-duplicate"
  | "reference-dangling"
  | "dependency-duplicate"
  | "purl-malformed"
  | "license-expression-malformed"
  | "subject-missing"
  | "timestamp-missing";

export interface LintProblem {
  readonly rule: LintRule;
  /** JSON Pointer (RFC 6901) into the document. */
  readonly pointer: string;
  readonly message: string;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * The problems of a document that parseSbom (document.ts) takes, in document order, each once. An
 * external reference (BOM-Link, `urn:cdx:`) is not followed.
 */
export function lintSbom(document: unknown): LintProblem[] {
  const problems: LintProblem[] = [];
  const refs = new Map<string, string>();
  const report = (rule: LintRule, pointer: string, message: string): void => {
    problems.push({ rule, pointer, message });
  };
  const root = record(document) ?? {};
  collectRefs(root, "", refs, report);
  const known = (ref: unknown): boolean => typeof ref !== "string" || ref.startsWith("urn:cdx:") || refs.has(ref);
  const checkRef = (ref: unknown, pointer: string): void => {
    if (!known(ref)) report("reference-dangling", pointer, `${JSON.stringify(ref)} is no bom-ref of the document`);
  };

  walk(root, "", (value, pointer) => {
    const { purl } = value;
    if (typeof purl === "string" && !isPurl(purl)) {
      report("purl-malformed", `${pointer}/purl`, `${JSON.stringify(purl)} is no package URL`);
    }
    const { expression } = value;
    if (/\/licenses\/\d+$/.test(pointer) && typeof expression === "string" && !isSpdxExpression(expression)) {
      report(
        "license-expression-malformed",
        `${pointer}/expression`,
        `${JSON.stringify(expression)} is no SPDX expression`,
      );
    }
  });

  const described = new Set<string>();
  for (const [i, item] of items(root["dependencies"]).entries()) {
    const pointer = `/dependencies/${i}`;
    const ref = item["ref"];
    checkRef(ref, `${pointer}/ref`);
    if (typeof ref === "string") {
      if (described.has(ref))
        report("dependency-duplicate", `${pointer}/ref`, `${JSON.stringify(ref)} is described twice`);
      described.add(ref);
    }
    for (const field of ["dependsOn", "provides"]) {
      for (const [j, one] of list(item[field]).entries()) checkRef(one, `${pointer}/${field}/${j}`);
    }
  }
  for (const [i, item] of items(root["compositions"]).entries()) {
    for (const field of ["assemblies", "dependencies", "vulnerabilities"]) {
      for (const [j, one] of list(item[field]).entries()) checkRef(one, `/compositions/${i}/${field}/${j}`);
    }
  }
  for (const [i, item] of items(root["vulnerabilities"]).entries()) {
    for (const [j, one] of items(item["affects"]).entries())
      checkRef(one["ref"], `/vulnerabilities/${i}/affects/${j}/ref`);
  }
  const metadata = record(root["metadata"]);
  if (!metadata?.["component"]) report("subject-missing", "/metadata", "it does not say what it is about");
  if (!metadata?.["timestamp"]) report("timestamp-missing", "/metadata", "it does not say when it was made");
  return problems;
}

function collectRefs(
  root: Json,
  start: string,
  refs: Map<string, string>,
  report: (rule: LintRule, pointer: string, message: string) => void,
): void {
  walk(root, start, (value, pointer) => {
    const ref = value["bom-ref"];
    if (typeof ref !== "string") return;
    const first = refs.get(ref);
    if (first === undefined) refs.set(ref, pointer);
    else report("bom-ref-duplicate", `${pointer}/bom-ref`, `${JSON.stringify(ref)} is that of ${first || "/"} too`);
  });
}

/** Visits every object of a JSON value, parents first, without recursion. */
function walk(root: Json, start: string, visit: (value: Json, pointer: string) => void): void {
  const todo: (readonly [unknown, string])[] = [[root, start]];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const [value, pointer] = next;
    if (typeof value !== "object" || value === null) continue;
    if (!Array.isArray(value)) visit(value as Json, pointer);
    const children = Object.entries(value).reverse();
    for (const [key, child] of children) {
      if (typeof child === "object" && child !== null) {
        todo.push([child, `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`]);
      }
    }
  }
}

function isPurl(text: string): boolean {
  if (!text.startsWith("pkg:")) return false;
  try {
    PackageURL.fromString(text);
    return true;
  } catch {
    return false;
  }
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function items(value: unknown): readonly Json[] {
  return list(value).map((item) => record(item) ?? {});
}

function record(value: unknown): Json | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
}
