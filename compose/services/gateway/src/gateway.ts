/** The gateway's HTTP face. So far it tells whether it lives and whether it can work; everything else is 404. */
import type { Log } from "@sealift/service-kit/log.ts";
import { PROBLEMS, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import { type Route, type RunningServer, startServer } from "@sealift/service-kit/server.ts";
import { type Database, openDatabase } from "./database/database.ts";
import type { GatewaySettings } from "./settings.ts";

function routes(release: string, database: Database | undefined): Route[] {
  return [
    {
      method: "GET",
      path: "/healthz",
      quiet: true,
      handle: ({ response }) => sendJson(response, 200, { status: "ok", release }),
    },
    {
      method: "GET",
      path: "/readyz",
      quiet: true,
      handle: async ({ response, requestId }) => {
        if (!database || (await database.answers())) sendJson(response, 200, { status: "ready", release });
        else sendProblem(response, PROBLEMS.notReady, requestId);
      },
    },
  ];
}

export async function startGateway(settings: GatewaySettings, log: Log): Promise<RunningServer> {
  const database = settings.database && openDatabase(settings.database, log);
  const { host, port, drainTimeoutMs } = settings;
  const server = await startServer({ host, port, drainTimeoutMs, log, routes: routes(settings.release, database) });
  return {
    port: server.port,
    async stop() {
      const clean = await server.stop();
      await database?.close();
      return clean;
    },
  };
}
