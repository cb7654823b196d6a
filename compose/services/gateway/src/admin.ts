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

export function adminRoutes(release: string, ready: () => Promise<boolean>): Route[] {
  const whenReady =
    (status: string) =>
    async ({ response, requestId }: Exchange) => {
      if (await ready()) sendJson(response, 200, { status, release });
      else sendProblem(response, PROBLEMS.notReady, requestId);
    };
  return [
    healthRoute(release),
    { method: "GET", path: "/readyz", quiet: true, handle: whenReady("ready") },
    { method: "GET", path: "/canary", quiet: true, handle: whenReady("ok") },
  ];
}
