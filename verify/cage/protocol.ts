/**
 * What passes between `verify`'s parent process and the caged processes: one JSON line at a time, over
 * pipes. The parent parses the verdict again (`parseJudgement`), because the cage has read hostile bytes.
 */
import type { Store } from "../../bundles/layout/layout.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { ROLES } from "../../bundles/model/signing-roles.ts";
import type { ImportedRecords } from "../checks/scan.ts";
import { verifyError } from "../error.ts";
import { type EarlierRelease, releaseContentsSchema } from "../release-contents.ts";
import { CHECKS, type Verdict } from "../verdict.ts";
import type { Judged } from "../verify.ts";
import type { HashTask } from "./hash-tasks.ts";

/** The number of the bundle's first file in a caged process. */
export const FIRST_FD = 3;

/** Parent → judge, first line. `store.files[].fd` are numbers in the judge's own table. */
export interface Case {
  readonly nonce: string;
  readonly store: Store;
  /** Name → base64. */
  readonly trustFiles: Readonly<Record<string, string>>;
  readonly policy: string;
  /** Base64 of each. */
  readonly approvals: readonly string[];
  readonly earlierPolicies: readonly Digest[];
  /** Vulnerability records that did not come with the release; `fd` is a number in the judge's own table. */
  readonly imported?: Omit<ImportedRecords, "signatures"> & { readonly signatures: readonly string[] };
  /** Say what is in the release too; `earlier` is a release to compare it with, its `fd`s as those of `store`. */
  readonly describe?: { readonly earlier: EarlierRelease | undefined };
  readonly time: Verdict["time"];
  readonly scope: Verdict["scope"];
  readonly sealiftVersion: string;
  /** What the parent could set up around the judge; the finding of check `cage`. */
  readonly walls: { readonly network: boolean; readonly user: boolean };
}

/** Judge → parent, first line: what the hashers are to read; where the store has a base, once more for that. */
export interface HashRequest {
  readonly tasks: readonly HashTask[];
}

/** Parent → judge, in answer: digest by claimed digest. */
export interface HashResults {
  readonly got: Readonly<Record<Digest, Digest>>;
}

/** Judge → parent, last line. */
export interface Judgement extends Judged {
  readonly nonce: string;
}

const text = { type: "string", maxLength: 65_536 };
const nullable = (schema: object): object => ({ anyOf: [schema, { type: "null" }] });
const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const hex = { type: "string", pattern: "^[0-9a-f]{64}$" };
const closed = (properties: Record<string, object>): JsonSchema => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});

const verdictShape = closed({
  schemaVersion: { const: 1 },
  decision: { enum: ["allow", "deny"] },
  scope: { enum: ["site", "advisory"] },
  subject: closed({ digest: nullable(digest), appliance: nullable(text), version: nullable(text) }),
  policy: closed({ digest }),
  trust: closed({
    rootVersion: nullable({ type: "integer" }),
    targetsVersion: nullable({ type: "integer" }),
    rootFingerprint: nullable(hex),
    expires: nullable(text),
  }),
  time: closed({ at: text, source: { enum: ["host-clock", "option"] } }),
  signatures: {
    type: "array",
    maxItems: 100_000,
    items: closed({
      subject: digest,
      name: text,
      predicateType: text,
      role: { enum: [...ROLES] },
      holder: text,
      key: hex,
      certificate: nullable(closed({ identity: text, issuer: text, at: text })),
      objects: { type: "array", maxItems: 1000, items: digest },
    }),
  },
  provenance: {
    type: "array",
    maxItems: 10_000,
    items: closed({
      name: text,
      subject: digest,
      builder: text,
      buildType: text,
      inputs: { type: "integer", minimum: 0 },
      locked: { type: "integer", minimum: 0 },
      source: nullable(closed({ digest: text, commit: nullable(text) })),
      slsaBuildLevel: { const: 1 },
      levelReason: text,
    }),
  },
  findings: {
    type: "array",
    maxItems: 100_000,
    items: closed({
      check: { enum: [...CHECKS] },
      subject: text,
      status: { enum: ["pass", "fail", "error", "not-checked"] },
      code: text,
      message: text,
      reason: text,
    }),
  },
});

/** Published as `sealift schema verdict`. */
export const verdictSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift verdict",
  ...verdictShape,
};

const judgementSchema: JsonSchema = {
  ...closed({ nonce: text, verdict: verdictShape, contents: releaseContentsSchema }),
  required: ["nonce", "verdict"],
};

const hashRequestSchema = closed({
  tasks: {
    type: "array",
    maxItems: 20_000,
    items: closed({
      digest,
      extents: {
        type: "array",
        items: closed({
          // A hasher that reads its own standard input would never end.
          fd: { type: "integer", minimum: FIRST_FD },
          position: { type: "integer", minimum: 0 },
          length: { type: "integer", minimum: 0 },
        }),
      },
    }),
  },
});

function parseLine(line: string, schema: JsonSchema, what: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw verifyError("CAGE_FAILED", `the caged verifier's ${what} is not JSON`);
  }
  const problem = schemaProblem(schema, value);
  if (problem !== undefined) throw verifyError("CAGE_FAILED", `the caged verifier's ${what}: ${problem}`);
  return value;
}

/** @throws CAGE_FAILED */
export function parseHashRequest(line: string): HashRequest {
  return parseLine(line, hashRequestSchema, "hash request") as HashRequest;
}

/** @throws CAGE_FAILED unless it has a verdict that answers `nonce`. */
export function parseJudgement(line: string, nonce: string): Judged {
  const judgement = parseLine(line, judgementSchema, "verdict") as Judgement;
  if (judgement.nonce !== nonce)
    throw verifyError("CAGE_FAILED", "the caged verifier's verdict answers another question");
  return { verdict: judgement.verdict, contents: judgement.contents };
}
