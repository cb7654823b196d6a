/** What the appliance asks the gateway about itself, on a port that no client reaches. */
import { PROBLEMS, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import type { Exchange, Route } from "@sealift/service-kit/server.ts";

/** Tells nothing but that this release lives: also for clients, without a key. */
export function healthRoute(release: string): Route {
  return {
    method: "GET",
    path: "/healthz",
    quiet: true,
    handle: ({ response }) => sendJson(response, 200, { status: "ok", release }),
  };
}

export interface AdminQuestions {
  /** Whether requests would be let in. */
  readonly isReady: () => Promise<boolean>;
  /** Whether a request of its own came through. */
  readonly canaryLives: () => Promise<boolean>;
}

export function adminRoutes(release: string, { isReady, canaryLives }: AdminQuestions): Route[] {
  const when = (status: string, holds: () => Promise<boolean>) => async (exchange: Exchange) => {
    if (await holds()) sendJson(exchange.response, 200, { status, release });
    else sendProblem(exchange.response, PROBLEMS.notReady, exchange.requestId);
  };
  return [
    healthRoute(release),
    { method: "GET", path: "/readyz", quiet: true, handle: when("ready", isReady) },
    { method: "GET", path: "/canary", quiet: true, handle: when("ok", canaryLives) },
  ];
}
