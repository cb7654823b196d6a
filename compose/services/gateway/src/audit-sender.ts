/**
 * Records on their way to the audit service. What comes while a batch is under way goes with the next one,
 * so that many requests share one question and one write to the disk. A batch that got no answer is sent
 * again as it was, because the service takes each record once: so a short absence of the service, as when
 * one version hands over to the next, makes requests slow and loses none.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Peer, PeerError } from "@sealift/service-kit/peer-client.ts";
import type { AuditRecord, Recorder } from "./records.ts";

export interface AuditSenderOptions {
  /** For so long a batch is sent again. */
  readonly patienceMs?: number;
  /** Batches under way at once: one is written while the next one travels. */
  readonly batchesMax?: number;
  /** Records of a batch. */
  readonly batchMax?: number;
  /** Records that may wait; more are refused at once. */
  readonly waitingMax?: number;
}

interface Waiting {
  readonly record: AuditRecord;
  readonly resolve: () => void;
  readonly reject: (cause: unknown) => void;
}

const RETRY_MS = 100;

export function openAuditSender(peer: Pick<Peer, "post">, options: AuditSenderOptions = {}): Recorder {
  const { patienceMs = 10_000, batchesMax = 2, batchMax = 256, waitingMax = 8_192 } = options;
  const waiting: Waiting[] = [];
  let underWay = 0;

  const post = async (batch: readonly Waiting[]): Promise<void> => {
    const end = performance.now() + patienceMs;
    for (;;) {
      try {
        await peer.post(PATH, { events: batch.map(({ record }) => record) }, batch[0]?.record.requestId ?? "");
        for (const { resolve } of batch) resolve();
        return;
      } catch (cause) {
        if (isRefusal(cause)) return refused(batch, cause);
        if (performance.now() + RETRY_MS > end) return reject(batch, cause);
      }
      await sleep(RETRY_MS);
    }
  };
  // Whichever of them it is: the others must not suffer for it.
  const refused = async (batch: readonly Waiting[], cause: unknown): Promise<void> => {
    if (batch.length === 1) return reject(batch, cause);
    for (const one of batch) await post([one]);
  };
  const send = (): void => {
    while (underWay < batchesMax && waiting.length > 0) {
      underWay += 1;
      void post(waiting.splice(0, batchMax)).finally(() => {
        underWay -= 1;
        send();
      });
    }
  };
  return {
    append: (record) =>
      new Promise((resolve, reject) => {
        if (waiting.length >= waitingMax) return reject(new Error("too many records wait"));
        waiting.push({ record, resolve, reject });
        // Not at once: what this turn of the event loop brings goes together.
        if (waiting.length === 1) setImmediate(send);
      }),
  };
}

const PATH = "/v1/append";

function reject(batch: readonly Waiting[], cause: unknown): void {
  for (const one of batch) one.reject(cause);
}

/** The service did answer, and would answer the same again. */
function isRefusal(cause: unknown): boolean {
  const status = cause instanceof PeerError ? cause.status : undefined;
  return status !== undefined && status >= 400 && status < 500 && status !== 429;
}
