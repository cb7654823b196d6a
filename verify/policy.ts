/**
 * The policy under which a release is judged: a small JSON file that the site owns. It can only narrow
 * what is accepted; there is no member that switches a check off.
 */
import { canonicalJson } from "../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../bundles/model/digest.ts";
import { NAME_PATTERN, VERSION_MAX_LENGTH, VERSION_PATTERN } from "../bundles/model/release-manifest.ts";
import { type JsonSchema, schemaProblem } from "../bundles/model/schema.ts";
import { verifyError } from "./error.ts";

export const POLICY_MAX_BYTES = 64 * 1024;

/** The checks that may honestly stay unmade today; all others must pass, whatever a policy says. */
export const MAY_STAY_UNCHECKED = ["cage", "scan", "rebuilt", "revocation", "attestation"] as const;

export interface Policy {
  readonly schemaVersion: 1;
  readonly name: string;
  /** Only this appliance; any if absent. */
  readonly appliance?: string;
  /** Only these channels; any if absent. */
  readonly channels?: readonly string[];
  /** Nothing below this version. */
  readonly minimumVersion?: string;
  /** Accepted SLSA `builder.id`s; any that the builder role signed if absent. */
  readonly builders?: readonly string[];
  /** Checks whose finding may be `not-checked`. */
  readonly acceptNotChecked: readonly string[];
}

/** Published as `sealift schema policy`. */
export const policySchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift verification policy",
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "name", "acceptNotChecked"],
  properties: {
    schemaVersion: { const: 1 },
    name: { type: "string", pattern: NAME_PATTERN },
    appliance: { type: "string", pattern: NAME_PATTERN },
    channels: { type: "array", minItems: 1, uniqueItems: true, items: { type: "string", pattern: NAME_PATTERN } },
    minimumVersion: { type: "string", pattern: VERSION_PATTERN, maxLength: VERSION_MAX_LENGTH },
    builders: {
      type: "array",
      minItems: 1,
      uniqueItems: true,
      items: { type: "string", minLength: 1, maxLength: 512 },
    },
    acceptNotChecked: { type: "array", uniqueItems: true, items: { enum: [...MAY_STAY_UNCHECKED] } },
  },
};

/** The policy used when the site has none: everything that can be checked must hold. */
export const DEFAULT_POLICY: Policy = {
  schemaVersion: 1,
  name: "default",
  acceptNotChecked: [...MAY_STAY_UNCHECKED],
};

export const DEFAULT_POLICY_BYTES: Buffer = canonicalJson(DEFAULT_POLICY);

/** @throws POLICY_MALFORMED, naming the first member that is wrong. */
export function parsePolicy(bytes: Buffer): { readonly policy: Policy; readonly digest: Digest } {
  if (bytes.length > POLICY_MAX_BYTES) {
    throw verifyError("POLICY_MALFORMED", `policy: got ${bytes.length} bytes, want at most ${POLICY_MAX_BYTES}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw verifyError("POLICY_MALFORMED", "policy: not JSON in UTF-8", { cause });
  }
  const problem = schemaProblem(policySchema, value);
  if (problem !== undefined) {
    throw verifyError("POLICY_MALFORMED", `policy: ${problem}`, {
      hints: [`only these checks may be accepted unmade: ${MAY_STAY_UNCHECKED.join(", ")}`],
    });
  }
  return { policy: value as Policy, digest: digestOf(bytes) };
}
