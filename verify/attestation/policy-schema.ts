/** What the policies for both kinds of processor are written with. */

/** Stands where a policy's author does not want something looked at. It must be written: nothing is left out in silence. */
export const UNCHECKED = "unchecked";
export type Unchecked = typeof UNCHECKED;

export interface RevocationRule {
  /** How long after its next update a revocation list is still taken, in days. AMD's live some 46 days, Intel's 30. */
  readonly graceDays: number;
}

/** `schema`, or "unchecked". */
export const or = (schema: object): object => ({ anyOf: [schema, { const: UNCHECKED }] });
export const refused: object = or({ const: "refused" });
export const required: object = or({ const: "required" });
export const hex = (bytes: number): object => ({ type: "string", pattern: `^[0-9a-f]{${2 * bytes}}$` });
export const list = (items: object): object => ({ type: "array", maxItems: 1024, uniqueItems: true, items });
export const someOf = (items: object): object => ({ ...list(items), minItems: 1 });
export const digest: object = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
export const integer = (minimum: number, maximum?: number): object => ({
  type: "integer",
  minimum,
  ...(maximum !== undefined && { maximum }),
});
/** An object with exactly these members. */
export const closed = (properties: Record<string, object>): object => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});
export const revocationRule: object = or(closed({ graceDays: integer(0, 366) }));
