/** The pii service put together: one listener for the gateway, one for the appliance itself. */
import { createHash } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { Identity, peerService } from "@sealift/service-kit/identity.ts";
import type { Log } from "@sealift/service-kit/log.ts";
import { PrincipalVerifier, readPrincipalKeys } from "@sealift/service-kit/principal.ts";
import { PROBLEMS, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import { type Route, startServer } from "@sealift/service-kit/server.ts";
import { SpentPrincipals } from "@sealift/service-kit/spent-principals.ts";
import { Admission } from "./admission.ts";
import { canaryHolds } from "./canary.ts";
import { piiRoutes, type ServedPolicy } from "./pii.ts";
import { BUILT_IN_POLICY, parsePolicy } from "./policy.ts";
import type { PiiSettings } from "./settings.ts";

export interface RunningPii {
  readonly port: number;
  readonly adminPort: number;
  /** Resolves to whether every request ended by itself. */
  stop(): Promise<boolean>;
}

/** Bodies under way: four of the largest. With nothing but matches in them the process then needs about 350 MB. */
const UNDER_WAY_MAX_BYTES = 8 * 1024 * 1024;
const CLIENTS = ["gateway"];

/** @throws SettingsError if the policy or the identity is not one, and what reading the identity's file throws */
export async function startPii(settings: PiiSettings, log: Log): Promise<RunningPii> {
  const { host, release, drainTimeoutMs } = settings;
  const identity = await Identity.open(settings.identityFile, "pii");
  const verifier = new PrincipalVerifier("pii", await readPrincipalKeys(settings.principalKeyFile));
  const served = servedPolicy(settings.policy);
  log("info", "policy", { digest: served.digest, builtIn: settings.policy === undefined });
  const server = await startServer({
    host,
    port: settings.port,
    tls: identity.serverOptions(CLIENTS),
    drainTimeoutMs,
    log,
    routes: piiRoutes({
      served,
      admission: new Admission(UNDER_WAY_MAX_BYTES),
      verifier,
      spent: new SpentPrincipals(),
      log,
      serviceOf: ({ socket }) => peerService(socket as TLSSocket),
    }),
  });
  const admin = await startServer({
    host,
    port: settings.adminPort,
    drainTimeoutMs: 0,
    log,
    routes: adminRoutes(release, canaryHolds),
  });
  return {
    port: server.port,
    adminPort: admin.port,
    async stop() {
      const clean = await server.stop();
      // Last, so that health can be asked while requests end.
      await admin.stop();
      return clean;
    },
  };
}

function servedPolicy(text: string | undefined): ServedPolicy {
  const digest = createHash("sha256")
    .update(text ?? "built-in")
    .digest("hex");
  return { policy: text === undefined ? BUILT_IN_POLICY : parsePolicy(text), digest };
}

/** A service whose detectors do not find what they must is not ready: nothing may pass it. */
function adminRoutes(release: string, holds: () => boolean): Route[] {
  const route = (path: string, status: string, isWell: () => boolean): Route => ({
    method: "GET",
    path,
    quiet: true,
    handle: ({ response, requestId }) => {
      if (isWell()) sendJson(response, 200, { status, release });
      else sendProblem(response, PROBLEMS.notReady, requestId);
    },
  });
  return [route("/healthz", "ok", () => true), route("/readyz", "ready", holds), route("/canary", "ok", holds)];
}
