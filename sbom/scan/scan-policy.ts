/** What a scan must find, or must not find, to allow. Without a policy the default holds, which is strict. */
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { sbomError } from "../error.ts";
import type { Level } from "./severity.ts";

export const SCAN_POLICY_MAX_BYTES = 64 * 1024;

/** `deny-fixable`: only where a version is known in which it is fixed. */
export type Rule = "deny" | "deny-fixable" | "report";

export interface ScanPolicy {
  readonly schemaVersion: 1;
  /** Of an open vulnerability, by its level. */
  readonly vulnerabilities: Readonly<Record<Level, Rule>>;
  /**
   * Packages that may stay unscanned because no records cover them: their purl, or its beginning when it
   * ends with "*". Each is still reported. `pkg:TYPE/*` accepts as well that the SBOM does not list those of the type.
   */
  readonly acceptNotCovered: readonly string[];
  /** Of files that are no longer what their package installed; reported if absent. */
  readonly changedFiles?: "deny" | "report";
  /** Age of the newest record; any if absent. The age itself is always reported. */
  readonly maxDatabaseAgeDays?: number;
  /** The database must be signed by the security role. */
  readonly requireSignedDatabase: boolean;
  /** Most days that a waiver may run. */
  readonly maxWaiverDays: number;
}

const rule = { enum: ["deny", "deny-fixable", "report"] };

/** Published as `sealift schema scan-policy`. */
export const scanPolicySchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift scan policy",
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "vulnerabilities", "acceptNotCovered", "requireSignedDatabase", "maxWaiverDays"],
  properties: {
    schemaVersion: { const: 1 },
    vulnerabilities: {
      type: "object",
      additionalProperties: false,
      required: ["critical", "high", "medium", "low", "none", "unknown"],
      properties: { critical: rule, high: rule, medium: rule, low: rule, none: rule, unknown: rule },
    },
    acceptNotCovered: {
      type: "array",
      maxItems: 10_000,
      uniqueItems: true,
      items: { type: "string", pattern: "^pkg:[a-z]", minLength: 6, maxLength: 1024 },
    },
    changedFiles: { enum: ["deny", "report"] },
    maxDatabaseAgeDays: { type: "integer", minimum: 1, maximum: 3650 },
    requireSignedDatabase: { type: "boolean" },
    maxWaiverDays: { type: "integer", minimum: 1, maximum: 3650 },
  },
};

export const DEFAULT_SCAN_POLICY: ScanPolicy = {
  schemaVersion: 1,
  // What nobody has rated may be as bad as the worst.
  vulnerabilities: { critical: "deny", high: "deny", unknown: "deny", medium: "report", low: "report", none: "report" },
  acceptNotCovered: [],
  requireSignedDatabase: false,
  maxWaiverDays: 365,
};

export const DEFAULT_SCAN_POLICY_BYTES: Buffer = canonicalJson(DEFAULT_SCAN_POLICY);

/** @throws SCAN_POLICY_MALFORMED, naming the first member that is wrong */
export function parseScanPolicy(bytes: Buffer): { readonly policy: ScanPolicy; readonly digest: Digest } {
  const refuse = (what: string): never => {
    throw sbomError("SCAN_POLICY_MALFORMED", `scan policy: ${what}`, { hints: ["sealift schema scan-policy"] });
  };
  if (bytes.length > SCAN_POLICY_MAX_BYTES) {
    refuse(`got ${bytes.length} bytes, want at most ${SCAN_POLICY_MAX_BYTES}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    refuse("not JSON in UTF-8");
  }
  const problem = schemaProblem(scanPolicySchema, value);
  if (problem !== undefined) refuse(problem);
  return { policy: value as ScanPolicy, digest: digestOf(bytes) };
}
