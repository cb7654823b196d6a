/**
 * JSON Schema 2020-12 validation for everything that comes from outside. One compiled validator per
 * schema object; unknown members are refused where the schema says so, never dropped.
 */
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";

export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * strict: a schema with a keyword that Ajv does not know is our mistake and must not pass unseen. That the
 * published ones are schemas is tested (test/model/schemas.test.ts) and not asked at each start: compiling
 * the meta-schema takes longer than verifying a small bundle.
 */
const ajv = new Ajv2020({ strict: true, allErrors: false, ownProperties: true, meta: false, validateSchema: false });

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

/** Deeper JSON is refused: canonical JSON and Ajv recurse, and nothing that we read needs half of it. */
const NESTING_MAX = 128;

/** What is wrong with `value`, in one line, or undefined if it has the schema's shape. */
export function schemaProblem(schema: JsonSchema, value: unknown): string | undefined {
  if (isDeeperThan(NESTING_MAX, value)) return `/: nested deeper than ${NESTING_MAX} levels`;
  // RFC 8785, 3.2.2.2: half a surrogate pair has no canonical form.
  if (!isUnicode(value)) return "/: a string that is no Unicode text";
  const validate = compile(schema);
  if (validate(value)) return undefined;
  const [error] = validate.errors ?? [];
  if (!error) return "does not match the schema";
  const extra = "additionalProperty" in error.params ? ` ${JSON.stringify(error.params["additionalProperty"])}` : "";
  return `${error.instancePath || "/"}: ${error.message ?? "does not match"}${extra}`;
}

function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((member) => isDeeperThan(levels - 1, member));
}

/** Names of members too. `value` is not nested deep. */
function isUnicode(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value !== "object" || value === null) return true;
  return Array.isArray(value)
    ? value.every(isUnicode)
    : Object.entries(value).every(([name, member]) => name.isWellFormed() && isUnicode(member));
}
