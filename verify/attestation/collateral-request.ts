/** The list of what a site or a verifier needs, on its way to a connected machine. It is not secret and not signed. */
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import type { CollateralNeed } from "./collateral-needs.ts";
import { attestationError } from "./error.ts";
import { closed, integer } from "./policy-schema.ts";
import { SNP_PRODUCTS, TCB_PARTS } from "./snp-product.ts";

export const COLLATERAL_REQUEST_MAX_BYTES = 64 * 1024;
/** A site with some machines, each with a firmware or two. */
const NEEDS_MAX = 32;

const tcb = {
  type: "object",
  additionalProperties: false,
  properties: Object.fromEntries(TCB_PARTS.map((part) => [part, integer(0, 255)])),
};
const orNull = (schema: object): object => ({ anyOf: [schema, { type: "null" }] });

export const needsSchema = {
  type: "array",
  minItems: 1,
  maxItems: NEEDS_MAX,
  items: {
    anyOf: [
      closed({
        kind: { const: "sev-snp" },
        product: { enum: SNP_PRODUCTS },
        signer: { enum: ["vcek", "vlek"] },
        chip: orNull({ type: "string", pattern: "^(?:[0-9a-f]{16}|[0-9a-f]{128})$" }),
        tcb: orNull(tcb),
        certain: { type: "boolean" },
      }),
      closed({
        kind: { const: "tdx" },
        fmspc: { type: "string", pattern: "^[0-9a-f]{12}$" },
        authority: { enum: ["platform", "processor"] },
      }),
    ],
  },
};

/** Published as `sealift schema collateral-needs`. */
export const collateralRequestSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "What attestation collateral is needed",
  ...closed({ schemaVersion: { const: 1 }, kind: { const: "sealift-collateral-needs" }, needs: needsSchema }),
};

/** Each need once. @throws ATTEST_COLLATERAL_MALFORMED for more than a request can hold */
export function writeCollateralRequest(needs: readonly CollateralNeed[]): Buffer {
  const once = new Map(needs.map((need) => [canonicalJson(need).toString(), need]));
  const bytes = canonicalJson({ schemaVersion: 1, kind: "sealift-collateral-needs", needs: [...once.values()] });
  readCollateralRequest(bytes);
  return bytes;
}

/** @throws ATTEST_COLLATERAL_MALFORMED */
export function readCollateralRequest(bytes: Buffer): readonly CollateralNeed[] {
  const malformed = (problem: string): Error =>
    attestationError("ATTEST_COLLATERAL_MALFORMED", `list of what is needed: ${problem}`);
  if (bytes.length > COLLATERAL_REQUEST_MAX_BYTES) throw malformed(`more than ${COLLATERAL_REQUEST_MAX_BYTES} bytes`);
  const value = parseCanonicalJson(bytes);
  if (value === undefined) throw malformed("not canonical JSON; carry the file as it is");
  const problem = schemaProblem(collateralRequestSchema, value);
  if (problem !== undefined) throw malformed(problem);
  return (value as { readonly needs: readonly CollateralNeed[] }).needs;
}
