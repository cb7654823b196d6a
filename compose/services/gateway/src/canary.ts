/**
 * A request that the gateway makes to itself: through every gate but the one that asks for a key, recorded
 * like any other, to the model and back. It shows that a release works before a client meets it.
 */
import { randomUUID } from "node:crypto";
import { errorCode } from "@sealift/service-kit/log.ts";
import { Call } from "./call.ts";
import type { Client } from "./client.ts";
import type { Login } from "./database/database.ts";
import { GATES } from "./gates/controls.ts";
import { IDENTITY } from "./gates/identity.ts";
import { type ServeMeans, serve } from "./serve.ts";

/** No tenant, principal or key of the database has this id. */
const NOBODY = "00000000-0000-0000-0000-000000000000";
/** A model that takes longer for one token is not fit for clients. */
const PATIENCE_MS = 60_000;
/** An answer counts for so long: whoever asks often makes no load. */
const COUNTS_MS = 1_000;

const CANARY_GATES = GATES.filter((gate) => gate !== IDENTITY);

/** Asks `model` for one token. Whether it came; one question at a time. */
export function createCanary(means: ServeMeans, model: string): () => Promise<boolean> {
  let asking: Promise<boolean> | undefined;
  let last = { at: Number.NEGATIVE_INFINITY, lives: false };
  const ask = async (): Promise<boolean> => {
    const lives = await passThrough(means, model).catch((cause: unknown) => {
      means.log("error", "canary-failed", { code: errorCode(cause) });
      return false;
    });
    last = { at: performance.now(), lives };
    asking = undefined;
    return lives;
  };
  return () => {
    if (performance.now() - last.at < COUNTS_MS) return Promise.resolve(last.lives);
    asking ??= ask();
    return asking;
  };
}

async function passThrough({ usage: _, ...means }: ServeMeans, model: string): Promise<boolean> {
  const body = { model, messages: [{ role: "user", content: "ping" }], max_tokens: 1 };
  const bytes = Buffer.from(JSON.stringify(body));
  const call = new Call({
    requestId: `canary-${randomUUID()}`,
    operation: "chat",
    bodyLength: bytes.length,
    readBody: () => Promise.resolve(bytes),
  });
  call.login = canaryLogin(model);
  const { outcome, control } = await serve(call, impatientClient(), CANARY_GATES, means);
  if (outcome !== "answered") means.log("warn", "canary-refused", { requestId: call.requestId, outcome, control });
  return outcome === "answered";
}

function canaryLogin(model: string): Login {
  return {
    tenantId: NOBODY,
    tenantName: "sealift-canary",
    principalId: NOBODY,
    principalName: "canary",
    role: "canary",
    models: [model],
    keyId: NOBODY,
    capabilities: ["chat"],
    // Worth nothing: Postgres made no such token.
    token: "",
    expiresAt: new Date(Date.now() + PATIENCE_MS),
  };
}

/** Keeps nothing of the answer. */
function impatientClient(): Client {
  let status = 0;
  let sentBytes = 0;
  return {
    gone: AbortSignal.timeout(PATIENCE_MS),
    get status() {
      return status;
    },
    get sentBytes() {
      return sentBytes;
    },
    refuse: (problem) => {
      status = problem.status;
    },
    send: (answered, json) => {
      status = answered;
      sentBytes = json.length;
    },
    begin: () => {
      status = 200;
    },
    write: () => undefined,
    end: () => {},
  };
}
