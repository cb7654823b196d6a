/** Whether questions are asked for the caller whom the gateway authenticated, each with a principal of its own. */
import { type PrincipalVerifier, requireSame } from "@sealift/service-kit/principal.ts";
import type { SpentPrincipals } from "@sealift/service-kit/spent-principals.ts";
import type { ScanQuestion } from "./scan-request.ts";

/** Uses the principals up, if none of them is refused for what it says. @throws PrincipalRefused */
export function checkPrincipals(
  questions: readonly ScanQuestion[],
  sender: string,
  verifier: PrincipalVerifier,
  spent: SpentPrincipals,
): void {
  const principals = questions.map(({ requestId, tenant, principal }) => {
    const verified = verifier.verify(principal, sender);
    requireSame(verified, { requestId, tenantName: tenant });
    return verified;
  });
  for (const principal of principals) {
    spent.requireUnspent(principal);
    spent.spend(principal);
  }
}
