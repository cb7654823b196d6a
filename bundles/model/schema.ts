/**
 * JSON Schema 2020-12 validation for everything that comes from outside. One compiled validator per
 * schema object; unknown members are refused where the schema says so, never dropped.
 */
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { unfitForCanonicalJson } from "./json-limits.ts";

export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * strict: a schema with a keyword that Ajv does not know is our mistake and must not pass unseen. That the
 * published ones are schemas is tested (test/model/schemas.test.ts) and not asked at each start: compiling
 * the meta-schema takes longer than verifying a small bundle. Nor is the validators' code made smaller:
 * that takes 20 ms, and most of it runs once.
 */
const ajv = new Ajv2020({
  strict: true,
  allErrors: false,
  ownProperties: true,
  meta: false,
  validateSchema: false,
  code: { optimize: false },
});

/** What the wizard asks of a site (installer/site/config.ts); it judges nothing. */
ajv.addKeyword({ keyword: "x-ask", schemaType: "array" });

const compiled = new WeakMap<JsonSchema, ValidateFunction>();

function compile(schema: JsonSchema): ValidateFunction {
  const found = compiled.get(schema);
  if (found) return found;
  const made = ajv.compile(schema);
  compiled.set(schema, made);
  return made;
}

/** What is wrong with `value`, in one line, or undefined if it has the schema's shape. */
export function schemaProblem(schema: JsonSchema, value: unknown): string | undefined {
  const unfit = unfitForCanonicalJson(value);
  if (unfit !== undefined) return `/: ${unfit}`;
  const validate = compile(schema);
  if (validate(value)) return undefined;
  const [error] = validate.errors ?? [];
  if (!error) return "does not match the schema";
  const extra = "additionalProperty" in error.params ? ` ${JSON.stringify(error.params["additionalProperty"])}` : "";
  return `${error.instancePath || "/"}: ${error.message ?? "does not match"}${extra}`;
}
