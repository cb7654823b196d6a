/** The gateway's API for clients in this process, with a model, a recorder and an inspector that a test plays. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { apiRoutes } from "../../compose/services/gateway/src/api.ts";
import type { Login } from "../../compose/services/gateway/src/database/database.ts";
import type { Inspection, Question } from "../../compose/services/gateway/src/inspector.ts";
import { RefusalThrottle } from "../../compose/services/gateway/src/refusal-throttle.ts";
import { RequestRoom } from "../../compose/services/gateway/src/request-room.ts";
import type { ServeMeans } from "../../compose/services/gateway/src/serve.ts";
import { Settlements } from "../../compose/services/gateway/src/settlements.ts";
import { TokenBuckets } from "../../compose/services/gateway/src/token-buckets.ts";
import { openUpstream } from "../../compose/services/gateway/src/upstream.ts";
import type { AuditEvent } from "../../compose/services/service-kit/src/audit-client.ts";
import { createLog } from "../../compose/services/service-kit/src/log.ts";
import { type RunningServer, startServer } from "../../compose/services/service-kit/src/server.ts";
import { textOf } from "./service-client.ts";

export const KEY = "slk_abcdefghijkl_0123456789012345678901234567890123456789012";

export const LOGIN: Login = {
  tenantId: "11111111-1111-4111-8111-111111111111",
  tenantName: "acme",
  principalId: "22222222-2222-4222-8222-222222222222",
  principalName: "first",
  role: "user",
  models: ["small", "large"],
  keyId: "33333333-3333-4333-8333-333333333333",
  capabilities: ["chat", "models"],
  token: "token",
  expiresAt: new Date(Date.now() + 900_000),
};

export interface GatewayApi {
  readonly port: number;
  readonly server: RunningServer;
  readonly means: ServeMeans;
  readonly records: AuditEvent[];
  readonly questions: Question[];
  readonly logged: string[];
  /** How many requests the model got. */
  modelRequests(): number;
}

export interface GatewayApiOptions {
  readonly login?: Partial<Login>;
  readonly model?: RequestListener;
  readonly append?: (record: AuditEvent) => Promise<void>;
  readonly inspect?: (question: Question) => Promise<Inspection> | Inspection;
  readonly means?: Partial<ServeMeans>;
  readonly silenceMs?: number;
}

interface Scope {
  after(work: () => Promise<void>): void;
}

/** Lets everything pass, unchanged. */
export function passAll({ texts }: Question): Inspection {
  return { decision: "allow", policy: "p1", findings: {}, texts: texts.map(({ text }) => ({ consumed: text.length })) };
}

export async function gatewayApi(t: Scope, options: GatewayApiOptions = {}): Promise<GatewayApi> {
  const logged: string[] = [];
  const log = createLog("gateway", (line) => logged.push(line));
  const records: AuditEvent[] = [];
  const questions: Question[] = [];
  let modelRequests = 0;
  const upstream = await listen(t, (request, response) => {
    modelRequests += 1;
    (options.model ?? answerHello)(request, response);
  });
  const recorder = {
    append: async (record: AuditEvent) => {
      await options.append?.(record);
      records.push(record);
    },
  };
  const means: ServeMeans = {
    identities: { identify: async (key) => (key === KEY ? { ...LOGIN, ...options.login } : undefined) },
    failures: new TokenBuckets({ burst: 100, perSecond: 1, max: 10 }),
    rates: new TokenBuckets({ burst: 1_000, perSecond: 1_000, max: 10 }),
    room: new RequestRoom({ requestsMax: 100, requestsMaxOfKey: 50, bytesMax: 64 * 1024 * 1024 }),
    inspector: {
      inspect: async (question) => {
        questions.push(question);
        return (options.inspect ?? passAll)(question);
      },
    },
    limits: { bodyMaxBytes: 1024 * 1024, messagesMax: 16, tokensMax: 256 },
    recorder,
    refusals: new RefusalThrottle(new TokenBuckets({ burst: 100, perSecond: 1, max: 10 })),
    settlements: new Settlements({ recorder, log, pendingMax: 100, retryMs: 10 }),
    upstream: openUpstream({ origin: upstream, silenceMs: options.silenceMs ?? 10_000 }),
    context: { release: "1.2.3", recordKey: "0".repeat(64) },
    log,
    ...options.means,
  };
  const server = await startServer({
    host: "127.0.0.1",
    port: 0,
    log,
    drainTimeoutMs: 20,
    routes: apiRoutes(means),
  });
  t.after(async () => {
    await server.stop();
    means.upstream.close();
    await means.settlements.stop();
  });
  return { port: server.port, server, means, records, questions, logged, modelRequests: () => modelRequests };
}

async function listen(t: Scope, handle: RequestListener): Promise<URL> {
  const server = createServer(handle);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, "close");
  });
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
}

export const USAGE = { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 };

/** An OpenAI-compatible model that says "Hello there", whole or in two pieces. */
export async function answerHello(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === "GET") {
    const data = ["small", "secret", "large"].map((id) => ({ id, object: "model", created: 1, owned_by: "x" }));
    return sendJson(response, 200, { object: "list", data });
  }
  const { model, stream } = JSON.parse(await textOf(request)) as { model: string; stream?: boolean };
  if (stream !== true) {
    const message = { role: "assistant", content: "Hello there" };
    return sendJson(response, 200, {
      id: "c1",
      object: "chat.completion",
      created: 1,
      model,
      choices: [{ index: 0, message, finish_reason: "stop" }],
      usage: USAGE,
    });
  }
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(chunk(model, { role: "assistant", content: null }));
  response.write(chunk(model, { content: "Hello " }));
  response.write(chunk(model, { content: "there" }));
  response.write(chunk(model, {}, "stop"));
  response.write(event({ id: "c1", object: "chat.completion.chunk", created: 1, model, choices: [], usage: USAGE }));
  response.end("data: [DONE]\n\n");
}

export function chunk(model: string, delta: object, finish: string | null = null): string {
  const choices = [{ index: 0, delta, finish_reason: finish }];
  return event({ id: "c1", object: "chat.completion.chunk", created: 1, model, choices });
}

function event(value: object): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

export function sendJson(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

export const HELLO = { model: "small", messages: [{ role: "user", content: "Good morning" }] };
export const WITH_KEY = { authorization: `Bearer ${KEY}` };
