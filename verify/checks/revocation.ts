/** `revocation`: nothing that the release trust has taken back is in this bundle (bundles/model/revocations.ts). */
import type { Digest } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { REVOCATION_KINDS, type Revocation, revocationOf } from "../../bundles/model/revocations.ts";
import { verifyError } from "../error.ts";
import type { Trust } from "../trust/trust.ts";
import { type Finding, failed, passed } from "../verdict.ts";

/**
 * Whether the release was taken back. Keys and holders that were are in no role
 * (verify/trust), so their signatures are none; chips are for `attest verify`.
 */
export function checkRevocation(release: Digest, trust: Trust): Finding[] {
  const entry = revocationOf(trust.revoked, "releases", release);
  if (entry) return [revokedFinding(release, entry)];
  const counts = REVOCATION_KINDS.map((kind) => `${trust.revoked[kind].length} ${kind}`).join(", ");
  return [passed("revocation", release, `not taken back by targets version ${trust.targetsVersion}: ${counts} are`)];
}

/**
 * Reviewers and rebuilders are the site's to name, but a key that its owner lost is nobody's.
 * @throws SIGNER_REVOKED
 */
export function requireNotRevoked({ revoked }: Trust, holder: string, fingerprint: string): void {
  const entry = revocationOf(revoked, "keys", fingerprint) ?? revocationOf(revoked, "holders", holder);
  if (entry === undefined) return;
  throw verifyError("SIGNER_REVOKED", `${holder}: ${entry.id} was taken back at ${entry.at}: ${plain(entry.reason)}`);
}

function revokedFinding(release: Digest, { at, reason }: Revocation): Finding {
  return failed(
    "revocation",
    release,
    "RELEASE_REVOKED",
    `the publisher took this release back at ${at}: ${plain(reason)}`,
  );
}
