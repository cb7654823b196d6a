/**
 * Approvals (bundles/sign/approval.ts) that the site's policy demands, part of check `signatures`: as many
 * distinct reviewers of the policy as its threshold asks have signed a verification summary that passed,
 * about this release, under this policy or one that the site had before, and not longer ago than the policy says.
 * A key or a name that the release trust has taken back approves nothing, whoever else believes it.
 *
 * What lies beside the bundle and does not count denies nothing by itself: it is not part of the bundle, and
 * an approval by somebody who is no reviewer any more must not stand in the way of a rollback.
 */
import type { Digest } from "../../bundles/model/digest.ts";
import { hexOf } from "../../bundles/model/digest.ts";
import { PREDICATE_SLSA_PROVENANCE, PREDICATE_VSA } from "../../bundles/model/media-types.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { verifyError } from "../error.ts";
import { type Policy, policyKey } from "../policy.ts";
import { claimedPredicateType, verifySigstoreBundle } from "../signature/signature.ts";
import type { Trust, TrustKey, TrustSigner } from "../trust/trust.ts";
import { type Finding, failed, passed } from "../verdict.ts";
import { requireNotRevoked } from "./revocation.ts";

const DAY_MS = 86_400_000;
/** Clocks of reviewer and site may differ by this much. */
const TOLERANCE_MS = DAY_MS;

const summarySchema: JsonSchema = {
  type: "object",
  required: ["verificationResult", "policy", "timeVerified"],
  properties: {
    timeVerified: { type: "string", pattern: "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(?:\\.\\d{1,9})?Z$" },
    verificationResult: { const: "PASSED" },
    policy: {
      type: "object",
      required: ["digest"],
      properties: { digest: { type: "object", required: ["sha256"], properties: { sha256: { type: "string" } } } },
    },
  },
};

export interface ApprovalQuestion {
  readonly release: Digest;
  readonly policy: Policy;
  /** Under which a reviewer may have approved: the policy in force, and those that the site had before. */
  readonly policies: readonly Digest[];
  readonly trust: Trust;
  /** The time of the verdict, RFC 3339. */
  readonly at: string;
  /** Sigstore bundles beside the bundle; rebuilds (rebuilt.ts) are passed over. */
  readonly approvals: readonly Buffer[];
}

/** Nothing if the policy demands no approvals: then those that are there are not looked at. */
export function checkApprovals(question: ApprovalQuestion): Finding[] {
  const { policy, trust, approvals } = question;
  const { approvals: demand } = policy;
  if (demand === undefined) return [];
  const reviewers = demand.reviewers.map(policyKey);
  const role = [...trust.roles].find(([, { keys }]) => keys.some((key) => reviewers.some((one) => isSame(key, one))));
  if (role) {
    return [
      failed("signatures", "approvals", "APPROVAL_KEY_REUSED", `a reviewer of the policy has the key of a ${role[0]}`),
    ];
  }
  const holders = new Set<string>();
  const others: string[] = [];
  for (const bundle of approvals) {
    if (claimedPredicateType(bundle) === PREDICATE_SLSA_PROVENANCE) continue;
    try {
      holders.add(approvedBy(bundle, reviewers, question));
    } catch (cause) {
      const code = cause instanceof SealiftError ? cause.code : "SIGNATURE_MALFORMED";
      others.push(`[${code}] ${reasonOf(cause)}`);
    }
  }
  const names = [...holders].sort().join(", ") || "nobody";
  const odd = others.length === 0 ? "" : `; not counted: ${others.join("; ")}`;
  const have = `${holders.size} of ${demand.threshold} approvals: ${names}${odd}`;
  return [
    holders.size >= demand.threshold
      ? passed("signatures", "approvals", have)
      : failed("signatures", "approvals", "APPROVAL_MISSING", `got ${have}`),
  ];
}

function isSame(one: TrustSigner, other: TrustSigner): boolean {
  return one.fingerprint === other.fingerprint || one.holder === other.holder;
}

/** The reviewer's name. @throws SealiftError */
function approvedBy(bundle: Buffer, reviewers: readonly TrustKey[], question: ApprovalQuestion): string {
  const { release, policies, trust } = question;
  const { holder, keyFingerprint, statement } = verifySigstoreBundle(bundle, reviewers);
  const refuse = (what: string): never => {
    throw verifyError("APPROVAL_OTHER", `${holder} approved ${what}`);
  };
  requireNotRevoked(trust, holder, keyFingerprint);
  if (statement.subject !== release) refuse(`${statement.subject}, not this release`);
  if (statement.predicateType !== PREDICATE_VSA)
    refuse(`nothing: the statement is ${JSON.stringify(statement.predicateType)}`);
  const problem = schemaProblem(summarySchema, statement.predicate);
  if (problem !== undefined) refuse(`nothing: ${problem}`);
  const summary = statement.predicate as { policy: { digest: { sha256: string } }; timeVerified: string };
  const { sha256 } = summary.policy.digest;
  if (!policies.some((policy) => hexOf(policy) === sha256)) {
    refuse(`under policy sha256:${sha256}, which this site never had`);
  }
  requireFresh(holder, summary.timeVerified, question);
  return holder;
}

/**
 * The time is the reviewer's own word, signed: it bounds how long an honest approval counts, and no dishonest one.
 * @throws APPROVAL_EXPIRED
 */
function requireFresh(holder: string, timeVerified: string, { policy, at }: ApprovalQuestion): void {
  const ageMs = Date.parse(at) - Date.parse(timeVerified);
  // Of a date that does not exist every comparison is false.
  if (!(ageMs >= -TOLERANCE_MS)) {
    throw verifyError("APPROVAL_EXPIRED", `${holder} approved at ${timeVerified}, which is not before ${at}`);
  }
  const { maxAgeDays } = policy.approvals ?? {};
  if (maxAgeDays === undefined || ageMs <= maxAgeDays * DAY_MS) return;
  const message = `${holder} approved at ${timeVerified}; the policy wants it at most ${maxAgeDays} days ago`;
  throw verifyError("APPROVAL_EXPIRED", message);
}
