/** Whether a document is valid CycloneDX: its shape, the schema (offline, strict), and what the schema leaves out. */
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import { parseSbom, parseSbomJson, type SbomDocument, type SpecVersion } from "./document.ts";
import { type LintProblem, lintSbom } from "./lint.ts";

export interface SbomProblem {
  readonly rule: "schema" | LintProblem["rule"];
  /** JSON Pointer (RFC 6901) into the document. */
  readonly pointer: string;
  readonly message: string;
}

export interface SbomValidation {
  readonly document: SbomDocument;
  /** Empty if the document is valid; at most the first hundred of the schema's. */
  readonly problems: readonly SbomProblem[];
}

const SCHEMA_PROBLEMS_MAX = 100;

const SPEC: Readonly<Record<SpecVersion, Spec.Version>> = {
  "1.4": Spec.Version.v1dot4,
  "1.5": Spec.Version.v1dot5,
  "1.6": Spec.Version.v1dot6,
  "1.7": Spec.Version.v1dot7,
};

/** The first use of a version compiles its schema, which takes about 0.6 s. */
const validators = new Map<SpecVersion, Validation.JsonStrictValidator>();

/** @throws SBOM_MALFORMED if it is no CycloneDX document at all. Checks no signature in it. */
export async function validateSbom(bytes: Uint8Array): Promise<SbomValidation> {
  const document = parseSbom(bytes);
  const validator =
    validators.get(document.specVersion) ?? new Validation.JsonStrictValidator(SPEC[document.specVersion]);
  validators.set(document.specVersion, validator);
  const errors: unknown = await validator.validate(Buffer.from(bytes).toString("utf8"));
  return { document, problems: [...schemaProblems(errors), ...lintSbom(parseSbomJson(bytes))] };
}

/** The library gives Ajv's errors, or null; its type says no more than "not null". */
function schemaProblems(errors: unknown): SbomProblem[] {
  if (errors === null) return [];
  const list: unknown[] = Array.isArray(errors) ? errors : [errors];
  const problems = list.slice(0, SCHEMA_PROBLEMS_MAX).map((error): SbomProblem => {
    const { instancePath, message, params } = (error ?? {}) as {
      instancePath?: string;
      message?: string;
      params?: object;
    };
    const detail = params && Object.keys(params).length > 0 ? ` (${JSON.stringify(params)})` : "";
    return { rule: "schema", pointer: instancePath ?? "", message: `${message ?? String(error)}${detail}` };
  });
  return problems.length > 0 ? problems : [{ rule: "schema", pointer: "", message: "does not match the schema" }];
}
