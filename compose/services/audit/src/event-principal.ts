/** Whether an event is about the caller whom the gateway authenticated, as its principal says. */
import {
  PrincipalRefused,
  type PrincipalVerifier,
  requireSame,
  type VerifiedPrincipal,
} from "@sealift/service-kit/principal.ts";

/** Of events without a caller: nobody was authenticated. They name none, and need no principal. */
export const CALLERLESS_TYPES: readonly string[] = ["request.refused.identity"];

const CALLER_MEMBERS = ["tenant", "actor", "key", "role"];

/**
 * Undefined for an event without a caller. A principal is for the one event whose id it has.
 * `sender` is who sent it, `token` what came with it. @throws PrincipalRefused
 */
export function checkCaller(
  event: Readonly<Record<string, unknown>>,
  token: unknown,
  sender: string,
  verifier: PrincipalVerifier,
): VerifiedPrincipal | undefined {
  const isCallerless =
    CALLERLESS_TYPES.includes(event["type"] as string) && !CALLER_MEMBERS.some((member) => member in event);
  if (token === undefined && isCallerless) return undefined;
  const principal = verifier.verify(token, sender);
  if (principal.id !== event["id"]) throw new PrincipalRefused("replayed");
  const { requestId, tenant, actor, role } = event;
  requireSame(principal, { requestId, tenant, actor, role });
  return principal;
}
