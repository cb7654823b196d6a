/**
 * Appending to the audit log: an event counts as recorded when the audit service says that it is on stable
 * storage. Events that come together go together. What is not answered is sent again with the same id, of
 * which the log keeps one: so a restart of the audit service, or its hand-over to another, costs time and
 * nothing else.
 */
import { randomUUID } from "node:crypto";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { type Peer, PeerError } from "./peer-client.ts";
import type { Principal, PrincipalSigner } from "./principal.ts";

/** Members that are undefined are left out. What an event may hold is in services/audit/src/event.ts. */
export interface AuditEvent {
  /** A UUID, for who sends an event once more in a later append; else one is made. */
  readonly id?: string;
  readonly type: string;
  readonly requestId: string;
  readonly [name: string]: unknown;
}

/** Where the event is in the log. */
export interface AuditReceipt {
  readonly id: string;
  readonly index: number;
  /** RFC 6962, base64. */
  readonly leafHash: string;
}

export interface AuditClientOptions {
  /** The audit service. */
  readonly peer: Pick<Peer, "post">;
  /** Who sends: the name in this service's certificate. */
  readonly service: string;
  /** Only events without a caller can be appended without it. */
  readonly signer?: PrincipalSigner;
  /** How long an event is sent again before its append fails, in milliseconds. */
  readonly holdMs?: number;
}

export interface AuditClient {
  /**
   * Resolves when the event is on stable storage. Rejects with a PeerError: if `isForGood`, the
   * audit service refuses it; else nothing was heard for too long, and it may be in the log all
   * the same. The same event, `id` and `ts` given, can then be appended once more and is there once.
   * `principal`: whom the event is about, if that is known.
   */
  append(event: AuditEvent, principal?: Principal): Promise<AuditReceipt>;
}

const EVENT_VERSION = 1;
const HOLD_MS = 10_000;
const RETRY_MS = 50;
const BATCH_MAX = 256;
/** Far below what the audit service reads in one request. */
const BATCH_MAX_BYTES = 512 * 1024;
/** What comes to an event with its principal, about. */
const PRINCIPAL_BYTES = 600;
/** What was refused is good, but was signed too long ago. */
const SIGN_ANEW = 401;

interface Waiting {
  readonly id: string;
  readonly requestId: string;
  /** The event, written once: for its size, and to be sent. */
  readonly json: string;
  readonly principal: Principal | undefined;
  readonly deadline: number;
  readonly resolve: (receipt: AuditReceipt) => void;
  readonly reject: (cause: unknown) => void;
}

export function openAuditClient({ peer, service, signer, holdMs = HOLD_MS }: AuditClientOptions): AuditClient {
  const queue: Waiting[] = [];
  // One batch at a time: what comes meanwhile makes the next one large, and a batch costs both sides much more
  // than an event.
  let isSending = false;

  const send = async (batch: readonly Waiting[]): Promise<void> => {
    try {
      const receipts = await post(peer, batch, signer);
      for (const [i, { resolve }] of batch.entries()) resolve(receipts[i] as AuditReceipt);
    } catch (cause) {
      // One bad event must not take the others with it.
      if (batch.length > 1 && isForGood(cause)) await Promise.all(batch.map((one) => send([one])));
      else for (const { reject } of batch) reject(cause);
    }
  };
  const pump = async (): Promise<void> => {
    isSending = true;
    while (queue.length > 0) {
      // What this turn of the event loop brings comes along.
      await setImmediate();
      await send(takeBatch(queue));
    }
    isSending = false;
  };
  return {
    append: (given, principal) =>
      new Promise((resolve, reject) => {
        const id = given.id ?? randomUUID();
        const ts = given["ts"] ?? new Date().toISOString();
        // What is spread stands first: V8 copies it much faster then.
        const json = JSON.stringify({ ...given, ts, v: EVENT_VERSION, id, service });
        const deadline = performance.now() + holdMs;
        queue.push({ id, requestId: given.requestId, json, principal, deadline, resolve, reject });
        if (!isSending) void pump();
      }),
  };
}

function takeBatch(queue: Waiting[]): Waiting[] {
  let count = 0;
  let bytes = 0;
  for (const { json } of queue) {
    if (count === BATCH_MAX || (count > 0 && bytes + json.length > BATCH_MAX_BYTES)) break;
    bytes += json.length + PRINCIPAL_BYTES;
    count += 1;
  }
  return queue.splice(0, count);
}

/** @throws PeerError */
async function post(
  peer: Pick<Peer, "post">,
  batch: readonly Waiting[],
  signer: PrincipalSigner | undefined,
): Promise<readonly AuditReceipt[]> {
  const [{ requestId, deadline }] = batch as [Waiting];
  for (;;) {
    // Each time anew: what waited long would else be refused as too old.
    const events = Buffer.from(`[${batch.map((event) => withPrincipal(event, signer)).join(",")}]`);
    try {
      return receiptsOf(await peer.post("/v1/events", events, requestId), batch);
    } catch (cause) {
      if (isForGood(cause) || performance.now() + RETRY_MS > deadline) throw cause;
    }
    await sleep(RETRY_MS);
  }
}

function withPrincipal({ id, json, principal }: Waiting, signer: PrincipalSigner | undefined): string {
  return principal && signer ? `${json.slice(0, -1)},"principal":"${signer.sign(principal, id)}"}` : json;
}

/** Whether the audit service refuses the event itself. */
export function isForGood(cause: unknown): boolean {
  const status = cause instanceof PeerError ? cause.status : undefined;
  return status !== undefined && status >= 400 && status < 500 && status !== SIGN_ANEW;
}

/** What was answered, if it is about these events and no others. @throws PeerError */
function receiptsOf(answer: unknown, batch: readonly Waiting[]): readonly AuditReceipt[] {
  const { entries } = (answer ?? {}) as { entries?: unknown };
  const same = Array.isArray(entries) && entries.length === batch.length;
  if (!same || !entries.every((entry, i) => isReceipt(entry, batch[i]?.id))) {
    throw new PeerError("PEER_ANSWER_MALFORMED");
  }
  return entries;
}

function isReceipt(value: unknown, id: unknown): value is AuditReceipt {
  const { id: own, index, leafHash } = (value ?? {}) as Partial<AuditReceipt>;
  return own === id && Number.isSafeInteger(index) && typeof leafHash === "string";
}
