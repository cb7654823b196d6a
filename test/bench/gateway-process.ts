/**
 * A process of the gateway's bench: `gateway` is the whole API with every gate, whose database knows one
 * key; `one-process` is the same with the log and the detectors in it, and so without TLS, principals, batches and
 * questions as JSON between them: what the boundaries cost; `pass-through` does the least that a gateway can: hashes
 * the key, parses the body, hashes it, sends it on. Settings come as JSON in the second argument; prints its port.
 */
import { createHash, generateKeyPairSync, randomUUID } from "node:crypto";
import { Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { AuditLog } from "../../compose/services/audit/src/audit-log.ts";
import { checkEvent } from "../../compose/services/audit/src/event.ts";
import { EventLog } from "../../compose/services/audit/src/event-log.ts";
import { apiRoutes } from "../../compose/services/gateway/src/api.ts";
import type { Database } from "../../compose/services/gateway/src/database/database.ts";
import type { Inspection, Inspector } from "../../compose/services/gateway/src/inspector.ts";
import { openApi } from "../../compose/services/gateway/src/open-api.ts";
import type { Recorder } from "../../compose/services/gateway/src/records.ts";
import { Settlements } from "../../compose/services/gateway/src/settlements.ts";
import { answerScan } from "../../compose/services/pii/src/pii.ts";
import { BUILT_IN_POLICY } from "../../compose/services/pii/src/policy.ts";
import { createLog, type Log } from "../../compose/services/service-kit/src/log.ts";
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
  /** Of `one-process`. */
  readonly logDirectory: string;
}

/** Checks each event and answers when it is on stable storage, as the audit service. */
async function recorderHere(directory: string, log: Log): Promise<Recorder> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const events = await EventLog.open(await AuditLog.open({ directory, signer: { origin: "bench", privateKey }, log }));
  return {
    append: (given) => {
      const event = { ts: new Date().toISOString(), id: randomUUID(), ...given, v: 1, service: "gateway" };
      // Members that are undefined are left out.
      return events.append([checkEvent(JSON.parse(JSON.stringify(event)), "gateway")]);
    },
  };
}

/** The pii service's answer to whole texts. */
const inspectorHere: Inspector = {
  async inspect({ principal, channel, texts }) {
    const question = {
      requestId: principal.requestId,
      tenant: principal.tenantName,
      principal: undefined,
      channel,
      texts: texts.map(({ text }, index) => ({ id: String(index), text })),
    };
    const answer = await answerScan(
      { questions: [question], isList: false },
      { policy: BUILT_IN_POLICY, digest: "built-in" },
    );
    return { ...(answer as Omit<Inspection, "findings">), findings: {} };
  },
};

async function runGateway(settings: BenchSettings, isOneProcess = false): Promise<number> {
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
  const recorder = isOneProcess ? await recorderHere(settings.logDirectory, log) : api.means.recorder;
  const here = {
    inspector: inspectorHere,
    recorder,
    settlements: new Settlements({ recorder, log, pendingMax: 4096 }),
  };
  const { port } = await startServer({
    host: "127.0.0.1",
    port: 0,
    log,
    drainTimeoutMs: 0,
    routes: apiRoutes(isOneProcess ? { ...api.means, ...here } : api.means),
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
const given = JSON.parse(settings) as BenchSettings;
const port = role === "pass-through" ? runPassThrough(given) : runGateway(given, role === "one-process");
process.stdout.write(`${await port}\n`);
