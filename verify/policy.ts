/**
 * The policy under which a release is judged: a small JSON file that the site owns. It can only narrow
 * what is accepted; there is no member that switches a check off.
 */
import { canonicalJson } from "../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../bundles/model/digest.ts";
import { duplicateMember } from "../bundles/model/duplicate-member.ts";
import { keyNames, parsePublicKey } from "../bundles/model/public-key.ts";
import { NAME_PATTERN, VERSION_MAX_LENGTH, VERSION_PATTERN } from "../bundles/model/release-manifest.ts";
import { type JsonSchema, schemaProblem } from "../bundles/model/schema.ts";
import { reasonOf } from "../bundles/model/sealift-error.ts";
import { type ScanPolicy, scanPolicySchema } from "../sbom/scan/scan-policy.ts";
import { verifyError } from "./error.ts";
import type { TrustKey } from "./trust/trust.ts";

export const POLICY_MAX_BYTES = 64 * 1024;

/** The checks that may honestly stay unmade today; all others must pass, whatever a policy says. */
export const MAY_STAY_UNCHECKED = ["cage", "scan", "rebuilt", "revocation", "attestation"] as const;

/** Somebody outside the release trust whose signature the site counts. */
export interface PolicyHolder {
  readonly holder: string;
  /** PEM, P-256. */
  readonly publicKey: string;
}

export interface Policy {
  readonly schemaVersion: 1;
  readonly name: string;
  /** What a site enrols must count up (`sealift policy import`); nothing else reads it. */
  readonly version?: number;
  /** Only this appliance; any if absent. */
  readonly appliance?: string;
  /** Only these channels; any if absent. */
  readonly channels?: readonly string[];
  /**
   * How old the publisher's word for which trust is the newest may be; without it only its expiry counts, which is
   * a year after it was made. It bounds how long a revocation can be kept from the site.
   */
  readonly maxTrustAgeDays?: number;
  /** Nothing below this version. */
  readonly minimumVersion?: string;
  /** Accepted SLSA `builder.id`s; any that the builder role signed if absent. */
  readonly builders?: readonly string[];
  /**
   * Accepted copies of Sealift that build: `sha256:…` of its sources, or a commit (`verify` shows both); any that the
   * builder role named if absent.
   */
  readonly builderSources?: readonly string[];
  /** Accepted SLSA `buildType`s of images; any if absent. */
  readonly buildTypes?: readonly string[];
  /** How the URI of each input of a build must begin, in whole components, e.g. `pkg:deb/debian/`; any if absent. */
  readonly sources?: readonly string[];
  /**
   * Every input of a build must be in the release's lock, by digest, but those whose URI begins with one of these: the
   * sources themselves, e.g. `compose/`. Not asked if absent.
   */
  readonly unlockedInputs?: readonly string[];
  /** Reviewers who must have approved the release (`sealift approve`); none if absent. */
  readonly approvals?: {
    /** How many of them. */
    readonly threshold: number;
    readonly reviewers: readonly PolicyHolder[];
    /** How many days an approval counts, also for a return to the release; without it, as long as its reviewer is one. */
    readonly maxAgeDays?: number;
  };
  /** Who must have built the same release again (`sealift bundle rebuild --key`); nobody if absent. */
  readonly rebuilds?: {
    /** How many of them. */
    readonly threshold: number;
    readonly rebuilders: readonly PolicyHolder[];
  };
  /** Whether the host of a site must be attested before the site takes a release; nobody asks if absent. */
  readonly attestation?: {
    /**
     * `required`: a verifier's machine must have allowed this boot of the host. `self-check`: the host appraises
     * itself, which is no proof. `not-required`: as if absent.
     */
    readonly mode: "required" | "self-check" | "not-required";
    /** SHA-256 of the attestation policy's file (`sealift schema attestation-policy`). */
    readonly policy?: Digest;
    /** With `required`: allowed_signers lines in the namespace `sealift-attestation`, whose word counts. */
    readonly verifiers?: readonly string[];
  };
  /**
   * What a scan for known vulnerabilities must find; without it none is judged. Where there are no records to
   * scan by, the check stays unmade, and `acceptNotChecked` says whether it may.
   */
  readonly scan?: ScanPolicy;
  /** Checks whose finding may be `not-checked`. */
  readonly acceptNotChecked: readonly string[];
}

const holders = {
  type: "array",
  minItems: 1,
  maxItems: 64,
  items: {
    type: "object",
    additionalProperties: false,
    required: ["holder", "publicKey"],
    properties: {
      holder: { type: "string", minLength: 1, maxLength: 128 },
      publicKey: { type: "string", maxLength: 4096 },
    },
  },
};

const texts = {
  type: "array",
  minItems: 1,
  uniqueItems: true,
  items: { type: "string", minLength: 1, maxLength: 512 },
};

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
    version: { type: "integer", minimum: 1 },
    appliance: { type: "string", pattern: NAME_PATTERN },
    channels: { type: "array", minItems: 1, uniqueItems: true, items: { type: "string", pattern: NAME_PATTERN } },
    maxTrustAgeDays: { type: "integer", minimum: 1, maximum: 3650 },
    minimumVersion: { type: "string", pattern: VERSION_PATTERN, maxLength: VERSION_MAX_LENGTH },
    builders: texts,
    builderSources: texts,
    buildTypes: texts,
    sources: texts,
    unlockedInputs: { ...texts, minItems: 0 },
    approvals: {
      type: "object",
      additionalProperties: false,
      required: ["threshold", "reviewers"],
      properties: {
        threshold: { type: "integer", minimum: 1, maximum: 64 },
        reviewers: holders,
        maxAgeDays: { type: "integer", minimum: 1, maximum: 3650 },
      },
    },
    rebuilds: {
      type: "object",
      additionalProperties: false,
      required: ["threshold", "rebuilders"],
      properties: { threshold: { type: "integer", minimum: 1, maximum: 64 }, rebuilders: holders },
    },
    attestation: {
      type: "object",
      additionalProperties: false,
      required: ["mode"],
      properties: {
        mode: { enum: ["required", "self-check", "not-required"] },
        policy: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
        verifiers: {
          type: "array",
          minItems: 1,
          maxItems: 32,
          uniqueItems: true,
          items: { type: "string", minLength: 1, maxLength: 4096 },
        },
      },
    },
    scan: scanPolicySchema,
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

/** The key of a holder whom the policy names. @throws KEY_… if it is none; `parsePolicy` has seen to that */
export function policyKey({ holder, publicKey: pem }: PolicyHolder): TrustKey {
  const publicKey = parsePublicKey(pem, `holder ${JSON.stringify(holder)}`);
  return { ...keyNames(publicKey), holder, publicKey };
}

/** What would let one person count twice, or nobody often enough. */
function lintHolders(member: "approvals" | "rebuilds", threshold: number, given: readonly PolicyHolder[]): void {
  const refuse = (what: string, cause?: unknown): never => {
    throw verifyError("POLICY_MALFORMED", `policy: ${member}: ${what}`, { cause });
  };
  const fingerprints = given.map((one) => {
    try {
      return policyKey(one).fingerprint;
    } catch (cause) {
      return refuse(reasonOf(cause), cause);
    }
  });
  if (new Set(fingerprints).size !== given.length) refuse("one key is there twice");
  if (new Set(given.map(({ holder }) => holder)).size !== given.length) refuse("one holder is there twice");
  if (threshold > given.length) refuse(`got threshold ${threshold} of ${given.length} holders`);
}

/** What is asked for must be there, and what nobody looks at must not look as if it counted. */
function lintAttestation({ mode, policy, verifiers }: NonNullable<Policy["attestation"]>): void {
  const wanted = { required: [true, true], "self-check": [true, false], "not-required": [false, false] }[mode];
  for (const [i, [name, value]] of Object.entries({ policy, verifiers }).entries()) {
    if ((value !== undefined) === wanted[i]) continue;
    throw verifyError("POLICY_MALFORMED", `policy: attestation: ${mode} ${wanted[i] ? "needs" : "takes no"} ${name}`);
  }
}

/** @throws POLICY_MALFORMED, naming the first member that is wrong. */
export function parsePolicy(bytes: Buffer): { readonly policy: Policy; readonly digest: Digest } {
  if (bytes.length > POLICY_MAX_BYTES) {
    throw verifyError("POLICY_MALFORMED", `policy: got ${bytes.length} bytes, want at most ${POLICY_MAX_BYTES}`);
  }
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw verifyError("POLICY_MALFORMED", "policy: not JSON in UTF-8", { cause });
  }
  const twice = duplicateMember(text);
  const problem =
    twice === undefined ? schemaProblem(policySchema, value) : `member ${JSON.stringify(twice)} is there twice`;
  if (problem !== undefined) {
    throw verifyError("POLICY_MALFORMED", `policy: ${problem}`, {
      hints: [`only these checks may be accepted unmade: ${MAY_STAY_UNCHECKED.join(", ")}`],
    });
  }
  const policy = value as Policy;
  const { approvals, rebuilds } = policy;
  if (approvals) lintHolders("approvals", approvals.threshold, approvals.reviewers);
  if (rebuilds) lintHolders("rebuilds", rebuilds.threshold, rebuilds.rebuilders);
  if (policy.attestation) lintAttestation(policy.attestation);
  return { policy, digest: digestOf(bytes) };
}
