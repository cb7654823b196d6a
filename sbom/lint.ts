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
  const refs = new Map<string, Place>();
  const report = (rule: LintRule, pointer: string, message: string): void => {
    problems.push({ rule, pointer, message });
  };
  const root = record(document) ?? {};
  collectRefs(root, refs, report);
  const known = (ref: unknown): boolean => typeof ref !== "string" || ref.startsWith("urn:cdx:") || refs.has(ref);
  const checkRef = (ref: unknown, pointer: string): void => {
    if (!known(ref)) report("reference-dangling", pointer, `${JSON.stringify(ref)} is no bom-ref of the document`);
  };

  walk(root, (value, place) => {
    const { purl } = value;
    if (typeof purl === "string" && !isPurl(purl)) {
      report("purl-malformed", `${pointerTo(place)}/purl`, `${JSON.stringify(purl)} is no package URL`);
    }
    const { expression } = value;
    if (place.parent?.key === "licenses" && typeof expression === "string" && !isSpdxExpression(expression)) {
      report(
        "license-expression-malformed",
        `${pointerTo(place)}/expression`,
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
  refs: Map<string, Place>,
  report: (rule: LintRule, pointer: string, message: string) => void,
): void {
  walk(root, (value, place) => {
    const ref = value["bom-ref"];
    if (typeof ref !== "string") return;
    const first = refs.get(ref);
    if (first === undefined) refs.set(ref, place);
    else
      report(
        "bom-ref-duplicate",
        `${pointerTo(place)}/bom-ref`,
        `${JSON.stringify(ref)} is that of ${pointerTo(first) || "/"} too`,
      );
  });
}

/** Where a value stands; a pointer is only written when a problem is found, since values may be nested deep. */
interface Place {
  readonly key: string;
  readonly parent: Place | undefined;
}

function pointerTo(place: Place): string {
  const keys: string[] = [];
  for (let at: Place | undefined = place; at?.parent; at = at.parent) keys.push(at.key);
  return keys
    .reverse()
    .map((key) => `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}

/** Visits every object of a JSON value, parents first, without recursion. */
function walk(root: Json, visit: (value: Json, place: Place) => void): void {
  const todo: (readonly [object, Place])[] = [[root, { key: "", parent: undefined }]];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const [value, place] = next;
    if (!Array.isArray(value)) visit(value as Json, place);
    for (const [key, child] of Object.entries(value).reverse()) {
      if (typeof child === "object" && child !== null) todo.push([child, { key, parent: place }]);
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
