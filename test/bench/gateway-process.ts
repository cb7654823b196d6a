/**
 * A process of the gateway's bench: `gateway` is the whole API with every gate, whose database knows one
 * key; `pass-through` does the least that a gateway can: hashes the key, parses the body, hashes it, sends it
 * on. Settings come as JSON in the second
 * argument; prints its port.
 */
import { createHash } from "node:crypto";
import { Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { apiRoutes } from "../../compose/services/gateway/src/api.ts";
import type { Database } from "../../compose/services/gateway/src/database/database.ts";
import { openApi } from "../../compose/services/gateway/src/open-api.ts";
import { createLog } from "../../compose/services/service-kit/src/log.ts";
import { startServer } from "../../compose/services/service-kit/src/server.ts";
import { LOGIN } from "../support/gateway-api.ts";

export interface BenchSettings {
  readonly upstreamPort: number;
  readonly auditPort: number;
  readonly piiPort: number;
  readonly identityFile: string;
  readonly pepperFile: string;
  readonly recordKeyFile: string;
  readonly auditPrincipalKeyFile: string;
  readonly piiPrincipalKeyFile: string;
}

async function runGateway(settings: BenchSettings): Promise<number> {
  const database: Database = {
    guard: async () => {},
    answers: async () => true,
    // A new answer each time the cache asks, as the real one.
    login: async () => ({ ...LOGIN, expiresAt: new Date(Date.now() + 900_000) }),
    asTenant: () => Promise.reject(new Error("not asked")),
    close: async () => {},
  };
  // As in production: each request is a line. Nobody reads it.
  const log = createLog("gateway", (line) => process.stderr.write(line));
  const api = await openApi(
    {
      upstream: new URL(`http://127.0.0.1:${settings.upstreamPort}`),
      audit: new URL(`https://127.0.0.1:${settings.auditPort}`),
      pii: new URL(`https://127.0.0.1:${settings.piiPort}`),
      identityFile: settings.identityFile,
      pepperFile: settings.pepperFile,
      recordKeyFile: settings.recordKeyFile,
      auditPrincipalKeyFile: settings.auditPrincipalKeyFile,
      piiPrincipalKeyFile: settings.piiPrincipalKeyFile,
      canaryModel: "small",
      limits: {
        bodyMaxBytes: 1024 * 1024,
        messagesMax: 256,
        tokensMax: 4096,
        requestsPerMinute: 1_000_000,
        requestsAtOnce: 512,
      },
    },
    "1.0.0",
    database,
    log,
  );
  const { port } = await startServer({
    host: "127.0.0.1",
    port: 0,
    log,
    drainTimeoutMs: 0,
    routes: apiRoutes(api.means),
  });
  return port;
}

async function runPassThrough({ upstreamPort }: BenchSettings): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 256 });
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => {
      const body = Buffer.concat(chunks);
      createHash("sha256")
        .update(incoming.headers.authorization ?? "")
        .digest();
      JSON.parse(body.toString("utf8"));
      createHash("sha256").update(body).digest();
      const headers = { "content-type": "application/json", "content-length": body.length };
      const sent = request({
        agent,
        host: "127.0.0.1",
        port: upstreamPort,
        path: incoming.url,
        method: "POST",
        headers,
      });
      sent.on("response", (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      });
      sent.on("error", () => outgoing.destroy());
      sent.end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

const [, , role, settings = "{}"] = process.argv;
const run = role === "gateway" ? runGateway : runPassThrough;
process.stdout.write(`${await run(JSON.parse(settings) as BenchSettings)}\n`);
