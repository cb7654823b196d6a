/**
 * The service that looks for personal data and secrets in what the gateway shows it.
 *
 * Port 8443, mutual TLS, only the gateway may connect. Every answer is JSON, errors are problem+json.
 *
 *     POST /v1/scan      at most 2 MiB, 1000 texts; with Content-Length, else it takes the room of the largest
 *     {
 *       "tenant": "acme", "channel": "request" | "response",
 *       "texts": [{ "id": "messages[0].content", "text": "…" }]
 *     }
 *     200 {
 *       "decision": "allow" | "redact" | "deny",
 *       "policy": "<64 hex digits>",               which policy decided, for the audit record
 *       "counts": { "email": 1 },                  of all findings that count, by class; for the audit record
 *       "omitted": 12,                             only where there are more than 1000: so many are not listed
 *       "texts": [{
 *         "id": "messages[0].content",
 *         "findings": [{ "class": "email", "start": 5, "end": 19, "score": 0.97, "action": "flag" }],
 *         "text": "…",                             only where something was redacted: use it in place of yours
 *         "consumed": 1234                         see below; here always the whole text
 *       }]
 *     }
 *
 * `start` and `end` are UTF-16 code units of the text as it was sent. With `deny` no text comes back: the
 * request must not go on. `score` 0.3 to 0.99. `action`: flag, redact or deny. The value that was found is
 * never repeated, logged or kept.
 *
 * A stream (an answer, token by token) is scanned in windows, without state here:
 *
 *     "texts": [{ "id": "0", "text": PENDING, "more": true, "before": BEFORE, "running": RUNNING }]
 *     200 … "texts": [{ "id": "0", "findings": […], "text"?: "…", "consumed": N, "running"?: "token" }]
 *
 *     pending = pending + what has arrived                      (start with before = "", no running)
 *     release(answer.text ?? pending.slice(0, answer.consumed))
 *     before  = (before + pending.slice(0, answer.consumed)).slice(-1024)
 *     pending = pending.slice(answer.consumed)
 *     running = answer.running                                  (leave it out if it was not there)
 *
 * At the end send what is pending with `"more": false`, even if it is empty. At most 256 code units are held
 * back (invisible characters between them not counted). Windows of any sizes find what one scan of the whole
 * finds. `continues: true` in a finding: the rest of the last one of the window before.
 *
 * Errors: 400 scan-request, 413 too-large, 415 not-json, 503 busy with Retry-After. After a 503 or no answer
 * the gateway must not let the text pass.
 *
 *     GET /v1/classes    what is looked for, and what is not and why
 *
 * Port 8081, plain, inside the container networks: GET /healthz, /readyz, /canary (scans a text that it knows).
 */
import { BodyError, readBody } from "@sealift/service-kit/body.ts";
import { type Problem, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import type { Exchange, Route } from "@sealift/service-kit/server.ts";
import type { Admission } from "./admission.ts";
import { NOT_DETECTED, PII_CLASSES, type PiiClass } from "./classes.ts";
import { type Decision, decide, type JudgedFinding, judge, redact } from "./judge.ts";
import type { Policy } from "./policy.ts";
import { parseScanRequest, type ScanRequest, ScanRequestError } from "./scan-request.ts";
import { SLICE, scanSlices } from "./scan-slices.ts";

export const BODY_MAX_BYTES = 2 * 1024 * 1024;
/** Listed one by one in an answer: a body full of them would make an answer five times its size. */
const FINDINGS_MAX = 1000;

const PROBLEMS = {
  malformed: { status: 400, name: "scan-request", title: "The body is not a scan request" },
  tooLarge: { status: 413, name: "too-large", title: "The body is larger than 2 MiB" },
  notJson: { status: 415, name: "not-json", title: "The body's type is not application/json" },
  busy: { status: 503, name: "busy", title: "Too much is being scanned already", headers: { "retry-after": "1" } },
} as const satisfies Record<string, Problem>;

export interface ServedPolicy {
  readonly policy: Policy;
  readonly digest: string;
}

export function piiRoutes(served: ServedPolicy, admission: Admission): Route[] {
  return [
    { method: "POST", path: "/v1/scan", quiet: true, handle: (exchange) => handleScan(exchange, served, admission) },
    {
      method: "GET",
      path: "/v1/classes",
      handle: ({ response }) => sendJson(response, 200, { classes: PII_CLASSES, notDetected: NOT_DETECTED }),
    },
  ];
}

async function handleScan({ request, response, requestId }: Exchange, served: ServedPolicy, admission: Admission) {
  if (!/^application\/json\s*(?:;|$)/i.test(request.headers["content-type"] ?? "")) {
    return sendProblem(response, PROBLEMS.notJson, requestId);
  }
  const declared = Number(request.headers["content-length"] ?? BODY_MAX_BYTES);
  const release = admission.enter(Math.min(declared, BODY_MAX_BYTES));
  if (!release) return sendProblem(response, PROBLEMS.busy, requestId);
  try {
    const scan = parseScanRequest(await readBody(request, BODY_MAX_BYTES));
    sendJson(response, 200, await answerScan(scan, served));
  } catch (cause) {
    if (cause instanceof ScanRequestError) {
      sendProblem(response, { ...PROBLEMS.malformed, detail: cause.message, param: cause.param }, requestId);
    } else if (cause instanceof BodyError && cause.code === "BODY_TOO_LARGE") {
      response.shouldKeepAlive = false;
      sendProblem(response, PROBLEMS.tooLarge, requestId);
    } else if (!(cause instanceof BodyError)) {
      throw cause;
    }
  } finally {
    release();
  }
}

interface TextAnswer {
  readonly id: string;
  readonly findings: readonly JudgedFinding[];
  readonly text?: string;
  readonly consumed: number;
  readonly running?: string;
}

const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export async function answerScan({ tenant, channel, texts }: ScanRequest, { policy, digest }: ServedPolicy) {
  const answers: TextAnswer[] = [];
  const counts: Partial<Record<PiiClass, number>> = {};
  let decision: Decision = "allow";
  let room = FINDINGS_MAX;
  let omitted = 0;
  let sincePause = 0;
  for (const { id, ...window } of texts) {
    sincePause += window.text.length;
    if (sincePause > SLICE) {
      sincePause = 0;
      await pause();
    }
    const { findings, consumed, running } = await scanSlices(window, pause);
    const judged = judge(findings, policy, tenant, channel);
    for (const { class: piiClass, continues } of judged) {
      if (!continues) counts[piiClass] = (counts[piiClass] ?? 0) + 1;
    }
    const own = decide(judged);
    const listed = judged.slice(0, room);
    room -= listed.length;
    omitted += judged.length - listed.length;
    if (decision !== "deny" && own !== "allow") decision = own;
    const text = own === "redact" ? redact(window.text, consumed, judged) : undefined;
    answers.push({ id, findings: listed, ...(text !== undefined && { text }), consumed, ...(running && { running }) });
  }
  return {
    decision,
    policy: digest,
    counts,
    ...(omitted > 0 && { omitted }),
    texts: decision === "deny" ? answers.map(({ text: _, ...rest }) => rest) : answers,
  };
}
