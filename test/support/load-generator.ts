/**
 * Clients of a service at a steady rate, which judge every answer: over kept connections, over new ones, and
 * long streams. Requests are sent by the clock, however slow the answers are, so that a pause of the service
 * shows as requests that failed or were slow, and not as requests that were never sent.
 */
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";

export interface LoadRequest {
  readonly path: string;
  /** GET without a body, POST with one. */
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What a whole answer holds, and what it ends with. */
  readonly includes?: string;
  readonly endsWith?: string;
}

export interface LoadOptions {
  /** http://127.0.0.1:PORT or https://127.0.0.1:PORT */
  readonly origin: string;
  /** PEM file of what https is judged by. */
  readonly caFile?: string;
  readonly request: LoadRequest;
  readonly keptPerSecond: number;
  readonly newPerSecond: number;
  readonly stream?: { readonly request: LoadRequest; readonly everySeconds: number };
  /** Where an answer names the release that gave it: a header, or a member of its JSON body. */
  readonly release?: { readonly header: string } | { readonly member: string };
  /** When nothing more comes for so long, the request has failed. 10 s if absent. */
  readonly idleMs?: number;
}

export const LOAD_KINDS = ["kept", "new", "stream"] as const;
export type LoadKind = (typeof LOAD_KINDS)[number];

/**
 * refused: no connection. reset: a connection, but no answer. cut: an answer that did not end as it should.
 * status: not 200. body: a whole answer that is another one. silent: nothing for `idleMs`. tls: no trust.
 */
export const FAILURES = ["refused", "reset", "cut", "status", "body", "silent", "tls"] as const;
export type Failure = (typeof FAILURES)[number];

export interface KindReport {
  sent: number;
  completed: number;
  failed: Partial<Record<Failure, number>>;
  slowestMs: number;
}

export interface LoadReport {
  readonly kinds: Readonly<Record<LoadKind, KindReport>>;
  /** By the release that answered: how often, and when first and last (milliseconds since 1970). */
  readonly releases: Readonly<Record<string, { count: number; first: number; last: number }>>;
  /** The first twenty. */
  readonly failures: readonly { readonly at: number; readonly kind: LoadKind; readonly failure: string }[];
}

const TICK_MS = 5;
const FAILURES_TOLD = 20;

export class LoadGenerator {
  readonly #options: LoadOptions;
  readonly #ca: Buffer | undefined;
  readonly #kept: http.Agent;
  readonly #pending = new Set<Promise<void>>();
  readonly #kinds = { kept: newReport(), new: newReport(), stream: newReport() };
  readonly #releases: Record<string, { count: number; first: number; last: number }> = {};
  readonly #failures: { at: number; kind: LoadKind; failure: string }[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#ca = options.caFile === undefined ? undefined : readFileSync(options.caFile);
    this.#kept = new (this.#isTls() ? https : http).Agent({ keepAlive: true, maxFreeSockets: 64 });
  }

  start(): void {
    const { keptPerSecond, newPerSecond, stream, request } = this.#options;
    const started = performance.now();
    const rates: [LoadKind, LoadRequest, number][] = [
      ["kept", request, keptPerSecond],
      ["new", request, newPerSecond],
    ];
    if (stream) rates.push(["stream", stream.request, 1 / stream.everySeconds]);
    this.#timer = setInterval(() => {
      const seconds = (performance.now() - started) / 1000;
      for (const [kind, what, rate] of rates) {
        const due = rate > 0 ? Math.floor(seconds * rate) + 1 : 0;
        while (this.#kinds[kind].sent < due) this.#send(kind, what);
      }
    }, TICK_MS);
  }

  /** Sends nothing more and waits for what is under way, streams to their end too. */
  async stop(): Promise<LoadReport> {
    clearInterval(this.#timer);
    while (this.#pending.size > 0) await Promise.all(this.#pending);
    this.#kept.destroy();
    return { kinds: this.#kinds, releases: this.#releases, failures: this.#failures };
  }

  #isTls(): boolean {
    return this.#options.origin.startsWith("https:");
  }

  #send(kind: LoadKind, what: LoadRequest): void {
    const report = this.#kinds[kind];
    const started = performance.now();
    report.sent += 1;
    const answered = this.#ask(kind, what).then((failure) => {
      report.slowestMs = Math.max(report.slowestMs, Math.round(performance.now() - started));
      if (failure === undefined) {
        report.completed += 1;
        return;
      }
      const name = failure.split(":")[0] as Failure;
      report.failed[name] = (report.failed[name] ?? 0) + 1;
      if (this.#failures.length < FAILURES_TOLD) this.#failures.push({ at: Date.now(), kind, failure });
    });
    this.#pending.add(answered);
    void answered.finally(() => this.#pending.delete(answered));
  }

  /** Undefined if the answer is whole and right, else the failure's name and more about it. */
  #ask(kind: LoadKind, what: LoadRequest): Promise<string | undefined> {
    const { origin, idleMs = 10_000 } = this.#options;
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    const sending = (this.#isTls() ? https : http).request(new URL(what.path, origin), {
      method: what.body === undefined ? "GET" : "POST",
      headers: { ...what.headers },
      // A stream has its own connection, as a client that waits for it has.
      agent: kind === "kept" ? this.#kept : false,
      timeout: idleMs,
      ...(this.#ca && { ca: this.#ca }),
    });
    sending.once("timeout", () => {
      resolve(`silent: nothing for ${idleMs} ms`);
      sending.destroy();
    });
    sending.once("error", (error: NodeJS.ErrnoException) => resolve(nameOf(error)));
    sending.once("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.once("error", (error) => resolve(`cut: ${error.message} after ${text.length} characters`));
      response.once("end", () => {
        this.#countRelease(response, text);
        resolve(this.#judge(what, response.statusCode ?? 0, text));
      });
    });
    sending.end(what.body);
    return promise;
  }

  #judge(what: LoadRequest, status: number, text: string): string | undefined {
    if (status !== 200) return `status: ${status}`;
    if (what.endsWith !== undefined && !text.endsWith(what.endsWith)) return `cut: ends with ${tail(text)}`;
    if (what.includes !== undefined && !text.includes(what.includes)) return `body: ends with ${tail(text)}`;
    return undefined;
  }

  #countRelease(response: http.IncomingMessage, text: string): void {
    const { release } = this.#options;
    if (!release) return;
    const name = "header" in release ? response.headers[release.header.toLowerCase()] : member(text, release.member);
    if (typeof name !== "string") return;
    const seen = this.#releases[name] ?? { count: 0, first: Date.now(), last: 0 };
    this.#releases[name] = { count: seen.count + 1, first: seen.first, last: Date.now() };
  }
}

function newReport(): KindReport {
  return { sent: 0, completed: 0, failed: {}, slowestMs: 0 };
}

function nameOf(error: NodeJS.ErrnoException): string {
  const code = error.code ?? "";
  if (["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT"].includes(code)) return `refused: ${code}`;
  if (/CERT|SELF_SIGNED|^ERR_(SSL|TLS)/.test(code)) return `tls: ${code}`;
  return `reset: ${code || error.message}`;
}

function tail(text: string): string {
  return JSON.stringify(text.slice(-60));
}

function member(text: string, name: string): unknown {
  try {
    return (JSON.parse(text) as Record<string, unknown> | null)?.[name];
  } catch {
    return undefined;
  }
}
