/** The gateway put together: one listener for clients behind the front, one for the appliance itself. */
import type { Log } from "@sealift/service-kit/log.ts";
import { startServer } from "@sealift/service-kit/server.ts";
import { readServerCertificate, watchServerCertificate } from "@sealift/service-kit/server-certificate.ts";
import { adminRoutes, healthRoute } from "./admin.ts";
import { apiRoutes } from "./api.ts";
import { createCanary } from "./canary.ts";
import { openDatabase } from "./database/database.ts";
import { readMigrations } from "./database/migration-files.ts";
import { openApi } from "./open-api.ts";
import type { GatewaySettings } from "./settings.ts";

export interface RunningGateway {
  readonly clientPort: number;
  readonly adminPort: number;
  /** Resolves to whether every request ended by itself. */
  stop(): Promise<boolean>;
}

/** `open` is another in tests only. Rejects with a SettingsError if a setting or a secret is none. */
export async function startGateway(
  settings: GatewaySettings,
  log: Log,
  open: typeof openApi = openApi,
): Promise<RunningGateway> {
  const { host, release, colour, drainTimeoutMs, certificate: files } = settings;
  const certificate = files && (await readServerCertificate(files));
  const { length: schemaVersion } = await readMigrations();
  const database = settings.database && (await openDatabase(settings.database, log, { schemaVersion }));
  await database?.guard();
  const api = settings.api && database && (await open(settings.api, release, database, log));
  const clients = await startServer({
    host,
    port: settings.clientPort,
    proxied: true,
    ...(certificate && { tls: { ...certificate, minVersion: settings.leastTls } }),
    // So that a switch from one release to another can be seen from outside.
    headers: { "sealift-release": release, ...(colour !== undefined && { "sealift-colour": colour }) },
    drainTimeoutMs,
    log,
    routes: [healthRoute(release), ...(api ? apiRoutes(api.means) : [])],
  });
  const isReady = async (): Promise<boolean> => !database || (await database.answers());
  const admin = await startServer({
    host,
    port: settings.adminPort,
    drainTimeoutMs: 0,
    log,
    routes: adminRoutes(release, {
      isReady,
      canaryLives: settings.api && api ? createCanary(api.means, settings.api.canaryModel) : isReady,
    }),
  });
  const watch =
    files &&
    certificate &&
    watchServerCertificate(files, certificate, (next) => clients.useCertificate({ ...next }), log);
  return {
    clientPort: clients.port,
    adminPort: admin.port,
    async stop() {
      watch?.stop();
      const clean = await clients.stop();
      // Last, so that health can be asked while clients end.
      await admin.stop();
      await api?.close();
      await database?.close();
      return clean;
    },
  };
}
