/**
 * The site's policy: under what a release is judged here. The ledger holds it whole, as the operators
 * authorized it, so there is no other file that somebody could change or that a crash could leave behind.
 */
import type { Digest } from "../../bundles/model/digest.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { DEFAULT_POLICY_BYTES, type Policy, parsePolicy } from "../../verify/policy.ts";
import { policyLines } from "../../verify/policy-text.ts";
import { siteError } from "../site/error.ts";
import { requireVerifiers } from "./attestation-rule.ts";
import type { PlanSubject } from "./authorization.ts";
import type { Ground } from "./execute.ts";
import { appendEntry, type LedgerEntry, readLedger } from "./ledger.ts";
import { authorityOfLedger } from "./site.ts";
import type { OperationKind, Parameters } from "./step.ts";

export const POLICY_CHANGED = "policy-changed";

export interface SitePolicy {
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly policy: Policy;
}

/**
 * Every policy that the site has had, the one in force last; the default one is the first of each site.
 * @throws STATE_DAMAGED
 */
export function policiesOfLedger(entries: readonly LedgerEntry[]): readonly SitePolicy[] {
  const texts = entries.filter(({ type }) => type === POLICY_CHANGED).map(({ data }) => data["policy"]);
  return [asPolicy(DEFAULT_POLICY_BYTES), ...texts.map((text) => recorded(text))];
}

/** The policy that the entries end with. @throws STATE_DAMAGED */
export function policyOfLedger(entries: readonly LedgerEntry[]): SitePolicy {
  return policiesOfLedger(entries).at(-1) as SitePolicy;
}

function asPolicy(bytes: Buffer): SitePolicy {
  return { bytes, ...parsePolicy(bytes) };
}

/** The policy in a ledger entry or in an operation's parameters. @throws STATE_DAMAGED */
export function recorded(text: unknown): SitePolicy {
  try {
    if (typeof text !== "string") throw new TypeError("policy: got no text");
    return asPolicy(Buffer.from(text, "utf8"));
  } catch (cause) {
    throw siteError("STATE_DAMAGED", `enrolled ${reasonOf(cause)}`, {
      cause,
      hints: ["use the Sealift version that enrolled it, or a newer one; sealift ledger verify"],
    });
  }
}

export interface PolicyChange {
  readonly before: SitePolicy;
  readonly after: SitePolicy;
}

/**
 * The change to the policy in `bytes`. An older version never comes back: who wants its demands again gives
 * them a newer number, which operators then sign.
 * @throws POLICY_MALFORMED | POLICY_NO_VERSION | POLICY_ROLLBACK | AUTHORITY_MALFORMED | SSH_KEY_MALFORMED for a verifier
 */
export function policyChangeTo(entries: readonly LedgerEntry[], bytes: Buffer): PolicyChange {
  const before = policyOfLedger(entries);
  const after = asPolicy(bytes);
  const { version } = after.policy;
  if (version === undefined) {
    throw siteError("POLICY_NO_VERSION", "policy: has no version; those of a site count up", {
      hints: ['add "version": 1, or one more than `sealift policy show` prints'],
    });
  }
  const floor = before.policy.version ?? 0;
  if (version <= floor && after.digest !== before.digest) {
    throw siteError("POLICY_ROLLBACK", `policy: got version ${version}, the site has ${floor}`, {
      hints: ["this is an older policy than the site's, or another of the same number: sealift policy show"],
    });
  }
  const authority = authorityOfLedger(entries);
  if (authority) requireVerifiers(authority, after.policy);
  return { before, after };
}

/** What operators sign for it: every demand, marked where it is new, and what is demanded no longer. */
export function planPolicyChange({ before, after }: PolicyChange): PlanSubject {
  const [had, has] = [policyLines(before.bytes), policyLines(after.bytes)];
  return {
    action: "policy",
    from: before.digest,
    to: after.digest,
    configDigest: null,
    policyDigest: after.digest,
    trustVersion: null,
    details: [
      ...has.map((line) => (had.includes(line) ? line : `new: ${line}`)),
      ...had.filter((line) => !has.includes(line)).map((line) => `gone: ${line}`),
    ],
  };
}

export function policyChangeParameters({ after }: PolicyChange): Parameters {
  return { policy: after.bytes.toString("utf8") };
}

/** One entry in the ledger is the whole of it. */
export const policyChange: OperationKind<Ground> = {
  name: "policy-change",
  steps: ({ paths, disk, clock }, parameters) => {
    const after = recorded(parameters["policy"]);
    const isInForce = (): boolean => policyOfLedger(readLedger(paths.ledger).entries).digest === after.digest;
    return [
      {
        name: "record-policy",
        intent: `write policy ${after.digest} into the ledger, which puts it in force`,
        isCommit: true,
        do: async () => {
          if (isInForce()) return;
          appendEntry(disk, paths.ledger, POLICY_CHANGED, { policy: after.bytes.toString("utf8") }, clock());
        },
        undo: async () => {},
        probe: async () => (isInForce() ? "done" : "not-done"),
      },
    ];
  },
};
