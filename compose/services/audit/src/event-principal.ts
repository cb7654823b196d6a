/** Whether an event is about the caller whom the gateway authenticated, as its principal says. */
import {
  PrincipalRefused,
  type PrincipalVerifier,
  requireSame,
  type VerifiedPrincipal,
} from "@sealift/service-kit/principal.ts";
import { SITE_TYPES } from "./event.ts";

/**
 * Of events without a caller: nobody was authenticated. They name none, and need no principal. So do those of the
 * site (SITE_TYPES), which are about no request.
 */
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
  const type = event["type"] as string;
  const isCallerless =
    (CALLERLESS_TYPES.includes(type) || type.startsWith(SITE_TYPES)) &&
    !CALLER_MEMBERS.some((member) => member in event);
  if (token === undefined && isCallerless) return undefined;
  const principal = verifier.verify(token, sender);
  if (principal.id !== event["id"]) throw new PrincipalRefused("replayed");
  const { requestId, tenant, actor, role } = event;
  requireSame(principal, { requestId, tenant, actor, role });
  return principal;
}
