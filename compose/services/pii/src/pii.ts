/**
 * The service that looks for personal data and secrets in what the gateway shows it.
 *
 * Port 8443, mutual TLS, only the gateway may connect. Every answer is JSON, errors are problem+json.
 *
 *     POST /v1/scan      at most 2 MiB, 1000 texts; with Content-Length, else it takes the room of the largest
 *     {                                          a question; or a list of at most 256
 *       "requestId": "…", "principal": "…",      whom the gateway authenticated: service-kit/src/principal.ts
 *       "tenant": "acme", "channel": "request" | "response",
 *       "texts": [{ "id": "messages[0].content", "text": "…" }]
 *     }
 *     200 {                                      its answer; or the list of theirs, in their order
 *       "decision": "allow" | "redact" | "deny",
 *       "policy": "<64 hex digits>",               which policy decided, for the audit record
 *       "texts": [{
 *         "id": "messages[0].content",
 *         "decision": "allow" | "redact" | "deny",  of this text alone
 *         "counts": { "email": 1 },                 all findings, by class; for the audit record
 *         "findings": [{ "class": "email", "start": 5, "end": 19, "score": 0.97, "action": "flag" }],
 *         "text": "…",                             only where something was redacted: use it in place of yours
 *         "consumed": 1234                         see below; here always the whole text
 *       }]
 *     }
 *
 * Of more than 1000 findings in an answer those behind are not listed, but in each text one of every class and
 * action always is; `decision`, `counts` and `text` know them all.
 *
 * `start` and `end` are UTF-16 code units of the text as it was sent. With `deny` no text comes back: what was
 * asked about must not go on. Each question of a list is decided on by itself. `score` 0.3 to 0.99. `action`: flag, redact or deny. The value that was found is
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
 * Errors: 400 scan-request, 401 principal-expired, 403 principal-…, 413 too-large, 415 not-json, 503 busy and
 * principal-busy with Retry-After. After any of them or no answer the gateway must not let the text pass.
 *
 *     GET /v1/classes    what is looked for, and what is not and why
 *
 * Port 8081, plain, inside the container networks: GET /healthz, /readyz, /canary (scans a text that it knows).
 */
import type { IncomingMessage } from "node:http";
import { BodyError, readBody } from "@sealift/service-kit/body.ts";
import type { Log } from "@sealift/service-kit/log.ts";
import { PrincipalRefused, type PrincipalVerifier } from "@sealift/service-kit/principal.ts";
import { type Problem, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import type { Exchange, Route } from "@sealift/service-kit/server.ts";
import type { SpentPrincipals } from "@sealift/service-kit/spent-principals.ts";
import type { Admission } from "./admission.ts";
import { NOT_DETECTED, PII_CLASSES, type PiiClass } from "./classes.ts";
import { type Decision, decide, type JudgedFinding, judge, redact, strictest } from "./judge.ts";
import type { Policy } from "./policy.ts";
import { checkPrincipals } from "./question-principal.ts";
import { parseScanRequest, type ScanQuestion, type ScanRequest, ScanRequestError } from "./scan-request.ts";
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

export interface PiiMeans {
  readonly served: ServedPolicy;
  readonly admission: Admission;
  readonly verifier: PrincipalVerifier;
  readonly spent: SpentPrincipals;
  readonly log: Log;
  /** Who is at the other end of a request's connection. */
  readonly serviceOf: (request: IncomingMessage) => string | undefined;
}

export function piiRoutes(means: PiiMeans): Route[] {
  return [
    { method: "POST", path: "/v1/scan", quiet: true, handle: (exchange) => handleScan(exchange, means) },
    {
      method: "GET",
      path: "/v1/classes",
      handle: ({ response }) => sendJson(response, 200, { classes: PII_CLASSES, notDetected: NOT_DETECTED }),
    },
  ];
}

async function handleScan({ request, response, requestId }: Exchange, means: PiiMeans) {
  const { admission, served, verifier, spent, log } = means;
  if (!/^application\/json\s*(?:;|$)/i.test(request.headers["content-type"] ?? "")) {
    return sendProblem(response, PROBLEMS.notJson, requestId);
  }
  const declared = Number(request.headers["content-length"] ?? BODY_MAX_BYTES);
  const release = admission.enter(Math.min(declared, BODY_MAX_BYTES));
  if (!release) return sendProblem(response, PROBLEMS.busy, requestId);
  try {
    const scan = parseScanRequest(await readBody(request, BODY_MAX_BYTES));
    checkPrincipals(scan.questions, means.serviceOf(request) ?? "", verifier, spent);
    sendJson(response, 200, await answerScan(scan, served));
  } catch (cause) {
    if (cause instanceof ScanRequestError) {
      sendProblem(response, { ...PROBLEMS.malformed, detail: cause.message, param: cause.param }, requestId);
    } else if (cause instanceof PrincipalRefused) {
      log("warn", "principal-refused", { requestId, code: cause.code });
      sendProblem(response, cause.problem, requestId);
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
  readonly decision: Decision;
  readonly counts: Readonly<Partial<Record<PiiClass, number>>>;
  readonly findings: readonly JudgedFinding[];
  readonly text?: string;
  readonly consumed: number;
  readonly running?: string;
}

const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Answer {
  readonly decision: Decision;
  readonly policy: string;
  readonly texts: readonly TextAnswer[];
}

/** One answer, or a list of them where a list was asked. */
export async function answerScan(
  { questions, isList }: ScanRequest,
  served: ServedPolicy,
): Promise<Answer | readonly Answer[]> {
  const progress: Progress = { room: FINDINGS_MAX, sincePause: 0 };
  const answers: Answer[] = [];
  for (const question of questions) answers.push(await answerQuestion(question, served, progress));
  return isList ? answers : (answers[0] as Answer);
}

/** Of a whole request. */
interface Progress {
  /** Findings that may still be listed. */
  room: number;
  /** Characters scanned. */
  sincePause: number;
}

async function answerQuestion(
  { tenant, channel, texts }: ScanQuestion,
  { policy, digest }: ServedPolicy,
  progress: Progress,
): Promise<Answer> {
  const answers: TextAnswer[] = [];
  for (const { id, ...window } of texts) {
    progress.sincePause += window.text.length;
    if (progress.sincePause > SLICE) {
      progress.sincePause = 0;
      await pause();
    }
    const { findings, consumed, running } = await scanSlices(window, pause);
    const judged = judge(findings, policy, tenant, channel);
    const decision = decide(judged);
    const listed = list(judged, progress.room);
    progress.room = Math.max(0, progress.room - listed.length);
    answers.push({
      id,
      decision,
      counts: countByClass(judged),
      findings: listed,
      ...(decision === "redact" && { text: redact(window.text, consumed, judged) }),
      consumed,
      ...(running && { running }),
    });
  }
  const decision = strictest(answers.map((answer) => answer.decision));
  return {
    decision,
    policy: digest,
    texts: decision === "deny" ? answers.map(({ text: _, ...rest }) => rest) : answers,
  };
}

/** The first ones, and of those behind one of each class and action, so that nobody misses a kind. */
function list(findings: readonly JudgedFinding[], room: number): readonly JudgedFinding[] {
  if (findings.length <= room) return findings;
  const seen = new Set<string>();
  return findings.filter(({ class: piiClass, action }, index) => {
    const kind = `${piiClass} ${action}`;
    const isNew = !seen.has(kind);
    seen.add(kind);
    return index < room || isNew;
  });
}

function countByClass(findings: readonly JudgedFinding[]): TextAnswer["counts"] {
  const counts: Partial<Record<PiiClass, number>> = {};
  for (const { class: piiClass, continues } of findings) {
    if (!continues) counts[piiClass] = (counts[piiClass] ?? 0) + 1;
  }
  return counts;
}
