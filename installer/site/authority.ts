/**
 * The site authority: who may move this site, and how many of them must agree. It belongs to the customer
 * and never signs for a release; the publisher's keys (verify/trust) never count here.
 */
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { parseSigners, type Signer, signerLine } from "./allowed-signers.ts";
import { siteError } from "./error.ts";
import { parseSshKey, type SshKey } from "./ssh-key.ts";

/** What needs an authorization. `operator` changes this authority itself. */
export const ACTIONS = [
  "install",
  "upgrade",
  "rollback",
  "config",
  "operator",
  "trust",
  "policy",
  "tenant",
  "api-key",
  "rotate",
  "tls",
  "prune",
  "restore",
  "uninstall",
] as const;

export type Action = (typeof ACTIONS)[number];

export function isAction(text: string): text is Action {
  return (ACTIONS as readonly string[]).includes(text);
}

/** As in site/authority.json and in the ledger. Operators and reviewers are allowed_signers lines. */
export interface AuthorityDocument {
  readonly schemaVersion: 1;
  /** 1 at `site init`, one more with each change. */
  readonly version: number;
  readonly operators: readonly string[];
  readonly reviewers: readonly string[];
  /** Of every action. */
  readonly thresholds: Readonly<Record<Action, number>>;
  /** `TYPE BASE64`: it may authorize `operator`, alone, and nothing else. */
  readonly recoveryKey: string | null;
  /** age recipients (X25519) who open this site's backups. Absent if there is none. */
  readonly backupRecipients?: readonly string[];
}

export interface Authority {
  readonly document: AuthorityDocument;
  readonly digest: Digest;
  readonly operators: readonly Signer[];
  readonly reviewers: readonly Signer[];
  readonly recoveryKey: SshKey | undefined;
  readonly backupRecipients: readonly string[];
}

const lines = { type: "array", maxItems: 256, items: { type: "string", maxLength: 16384 } };

export const authoritySchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "version", "operators", "reviewers", "thresholds", "recoveryKey"],
  properties: {
    schemaVersion: { const: 1 },
    version: { type: "integer", minimum: 1 },
    operators: { ...lines, minItems: 1 },
    reviewers: lines,
    thresholds: {
      type: "object",
      additionalProperties: false,
      required: [...ACTIONS],
      properties: Object.fromEntries(ACTIONS.map((action) => [action, { type: "integer", minimum: 1 }])),
    },
    recoveryKey: { type: ["string", "null"], maxLength: 16384 },
    backupRecipients: {
      type: "array",
      minItems: 1,
      maxItems: 32,
      uniqueItems: true,
      items: { type: "string", pattern: "^age1[02-9ac-hj-np-z]{58}$" },
    },
  },
};

export interface AuthorityParts {
  readonly operators: readonly Signer[];
  readonly reviewers: readonly Signer[];
  readonly thresholds: Readonly<Partial<Record<Action, number>>>;
  readonly recoveryKey: SshKey | undefined;
  readonly backupRecipients?: readonly string[];
}

/**
 * The authority of `parts`. Thresholds that are not given are 1. A threshold counts people, so it must
 * not exceed the number of distinct principals. @throws AUTHORITY_MALFORMED | AUTHORITY_THRESHOLD
 */
export function makeAuthority(parts: AuthorityParts, version: number): Authority {
  return parseAuthority({
    schemaVersion: 1,
    version,
    operators: parts.operators.map(signerLine).sort(),
    reviewers: parts.reviewers.map(signerLine).sort(),
    thresholds: Object.fromEntries(ACTIONS.map((action) => [action, parts.thresholds[action] ?? 1])),
    recoveryKey: parts.recoveryKey ? `${parts.recoveryKey.type} ${parts.recoveryKey.base64}` : null,
    ...(parts.backupRecipients?.length && { backupRecipients: [...parts.backupRecipients].sort() }),
  });
}

/** Reads and lints a document from anywhere. @throws AUTHORITY_MALFORMED | AUTHORITY_THRESHOLD | SSH_KEY_MALFORMED */
export function parseAuthority(value: unknown): Authority {
  const problem = schemaProblem(authoritySchema, value);
  if (problem) throw siteError("AUTHORITY_MALFORMED", `site authority: ${problem}`);
  const document = value as AuthorityDocument;
  const operators = parseSigners(document.operators.join("\n"), "operators");
  const reviewers = parseSigners(document.reviewers.join("\n"), "reviewers");
  const [type = "", base64 = ""] = (document.recoveryKey ?? "").split(" ");
  const recoveryKey = document.recoveryKey === null ? undefined : parseSshKey(type, base64, "recovery key");
  requireSeparate(operators, reviewers, recoveryKey);
  const people = new Set(operators.map(({ principal }) => principal)).size;
  for (const action of ACTIONS) {
    const wanted = document.thresholds[action];
    if (wanted > people) {
      throw siteError("AUTHORITY_THRESHOLD", `${action}: got a threshold of ${wanted}, but ${people} operators`, {
        hints: ["name more operators, or lower the threshold: nobody could authorize this any more"],
      });
    }
  }
  const { backupRecipients = [] } = document;
  return { document, digest: digestOf(canonicalJson(document)), operators, reviewers, recoveryKey, backupRecipients };
}

function requireSeparate(
  operators: readonly Signer[],
  reviewers: readonly Signer[],
  recovery: SshKey | undefined,
): void {
  const held = new Map(operators.map(({ principal, key }) => [key.fingerprint, principal]));
  for (const { principal, key } of reviewers) {
    if (held.has(key.fingerprint)) {
      throw siteError(
        "AUTHORITY_MALFORMED",
        `reviewer ${principal}: operator ${held.get(key.fingerprint)} has this key`,
      );
    }
    held.set(key.fingerprint, principal);
  }
  if (recovery && held.has(recovery.fingerprint)) {
    throw siteError("AUTHORITY_MALFORMED", `recovery key: ${held.get(recovery.fingerprint)} has this key already`, {
      hints: ["the recovery key lies in a safe and has no other power"],
    });
  }
}

/** `authority` with more operators. @throws AUTHORITY_MALFORMED, also for a key that is there already */
export function addOperators(authority: Authority, added: readonly Signer[]): Authority {
  if (added.length === 0) throw siteError("AUTHORITY_MALFORMED", "the operators file names nobody");
  return changed(authority, { operators: [...authority.operators, ...added] });
}

/** Without any key of `principal`. @throws OPERATOR_UNKNOWN | AUTHORITY_THRESHOLD | AUTHORITY_MALFORMED */
export function removeOperator(authority: Authority, principal: string): Authority {
  const kept = authority.operators.filter((operator) => operator.principal !== principal);
  if (kept.length === authority.operators.length) {
    throw siteError("OPERATOR_UNKNOWN", `there is no operator ${JSON.stringify(principal)}`, {
      hints: ["sealift operator list"],
    });
  }
  return changed(authority, { operators: kept });
}

/** With these keys, and no other, for backups to come. @throws AUTHORITY_MALFORMED, also if they are the ones it has */
export function withBackupRecipients(authority: Authority, backupRecipients: readonly string[]): Authority {
  if ([...backupRecipients].sort().join() === authority.backupRecipients.join()) {
    throw siteError("AUTHORITY_MALFORMED", "backups are sealed for these keys already");
  }
  return changed(authority, { backupRecipients });
}

function changed(authority: Authority, parts: Partial<AuthorityParts>): Authority {
  const { operators, reviewers, recoveryKey, backupRecipients, document } = authority;
  const { thresholds, version } = document;
  const before = { operators, reviewers, recoveryKey, backupRecipients, thresholds };
  return makeAuthority({ ...before, ...parts }, version + 1);
}
