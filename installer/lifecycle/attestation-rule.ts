/** What the site's policy says about attestation of its host, read by those who act on it. */
import type { Digest } from "../../bundles/model/digest.ts";
import { ATTESTATION_NAMESPACE } from "../../verify/attestation/release-file.ts";
import type { Policy } from "../../verify/policy.ts";
import { parseSigners, type Signer } from "../site/allowed-signers.ts";
import type { Authority } from "../site/authority.ts";
import { siteError } from "../site/error.ts";

export interface AttestationRule {
  readonly mode: NonNullable<Policy["attestation"]>["mode"];
  /** Of the attestation policy's file; undefined where nobody asks. */
  readonly policy: Digest | undefined;
  /** Whose word counts; none unless `required`. */
  readonly verifiers: readonly Signer[];
}

/** Where the policy says nothing, as every policy did before there was attestation. */
export const NO_ATTESTATION: AttestationRule = { mode: "not-required", policy: undefined, verifiers: [] };

/** @throws AUTHORITY_MALFORMED | SSH_KEY_MALFORMED for a line of a verifier */
export function ruleOfPolicy({ attestation }: Policy): AttestationRule {
  if (attestation === undefined) return NO_ATTESTATION;
  const { mode, policy, verifiers = [] } = attestation;
  return { mode, policy, verifiers: parseSigners(verifiers.join("\n"), "policy: verifiers", ATTESTATION_NAMESPACE) };
}

/**
 * A policy that operators are to sign names verifiers that can be read, and none who moves this site: nobody vouches
 * for their own work. @throws AUTHORITY_MALFORMED | SSH_KEY_MALFORMED
 */
export function requireVerifiers({ operators, reviewers, recoveryKey }: Authority, policy: Policy): void {
  const taken = [...operators, ...reviewers].map(({ key }) => key.fingerprint);
  const own = ruleOfPolicy(policy).verifiers.find(
    ({ key }) => taken.includes(key.fingerprint) || key.fingerprint === recoveryKey?.fingerprint,
  );
  if (own === undefined) return;
  throw siteError("AUTHORITY_MALFORMED", `policy: verifier ${own.principal} has a key of this site's own`, {
    hints: ["a verifier's key is of another machine and has no other power; make one with ssh-keygen"],
  });
}
