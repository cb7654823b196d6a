/** The gateway put together: one listener for clients behind the front, one for the appliance itself. */

import type { Log } from "@sealift/service-kit/log.ts";
import { startServer } from "@sealift/service-kit/server.ts";
import { readServerCertificate, watchServerCertificate } from "@sealift/service-kit/server-certificate.ts";
import { adminRoutes, healthRoute } from "./admin.ts";
import { apiRoutes } from "./api.ts";
import { openDatabase } from "./database/database.ts";
import type { GatewaySettings } from "./settings.ts";
import { openUpstream } from "./upstream.ts";

export interface RunningGateway {
  readonly clientPort: number;
  readonly adminPort: number;
  stop(): Promise<boolean>;
}

/** The longest that a model may say nothing: a large one on a small machine thinks for minutes. */
const MODEL_SILENCE_MS = 300_000;

export async function startGateway(settings: GatewaySettings, log: Log): Promise<RunningGateway> {
  const { host, release, colour, drainTimeoutMs } = settings;
  const certificate = settings.certificate && (await readServerCertificate(settings.certificate));
  const database = settings.database && openDatabase(settings.database, log);
  await database?.guard();
  const upstream = settings.upstream && openUpstream({ origin: settings.upstream, silenceMs: MODEL_SILENCE_MS });
  const clients = await startServer({
    host,
    port: settings.clientPort,
    proxied: true,
    ...(certificate && { tls: { ...certificate } }),
    // So that a switch from one release to another can be seen from outside.
    headers: { "sealift-release": release, ...(colour !== undefined && { "sealift-colour": colour }) },
    drainTimeoutMs,
    log,
    routes: [healthRoute(release), ...apiRoutes(upstream, log)],
  });
  const admin = await startServer({
    host,
    port: settings.adminPort,
    drainTimeoutMs: 0,
    log,
    routes: adminRoutes(release, async () => !database || (await database.answers())),
  });
  const watch =
    settings.certificate && certificate
      ? watchServerCertificate(settings.certificate, certificate, (next) => clients.useCertificate(next), log)
      : undefined;
  return {
    clientPort: clients.port,
    adminPort: admin.port,
    async stop() {
      watch?.stop();
      const clean = await clients.stop();
      // Last, so that health can be asked while clients end.
      await admin.stop();
      upstream?.close();
      await database?.close();
      return clean;
    },
  };
}
