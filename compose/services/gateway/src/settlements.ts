/** Records of how requests ended: tried until they are on stable storage, and waited for when the service stops. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { AuditEvent } from "@sealift/service-kit/audit-client.ts";
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { PeerError } from "@sealift/service-kit/peer-client.ts";
import type { Recorder } from "./records.ts";

export interface SettlementOptions {
  readonly recorder: Recorder;
  readonly log: Log;
  /** So many may wait before no further request is let in. */
  readonly pendingMax: number;
  readonly retryMs?: number;
}

export class Settlements {
  readonly #options: Required<SettlementOptions>;
  readonly #pending = new Set<Promise<void>>();
  #stopping = false;

  constructor(options: SettlementOptions) {
    this.#options = { retryMs: 1_000, ...options };
  }

  /** Whether there is room for one more. */
  get hasRoom(): boolean {
    return this.#pending.size < this.#options.pendingMax;
  }

  add(record: AuditEvent): void {
    // The same id each time: the log keeps one of them.
    const pending = this.#append({ ...record, id: randomUUID(), ts: new Date().toISOString() }).finally(() =>
      this.#pending.delete(pending),
    );
    this.#pending.add(pending);
  }

  /** After `stop` each is tried once more and no longer; the log tells which one was lost. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#pending);
  }

  async #append(record: AuditEvent): Promise<void> {
    const { recorder, log, retryMs } = this.#options;
    for (;;) {
      const last = this.#stopping;
      try {
        await recorder.append(record);
        return;
      } catch (cause) {
        const isLost = last || isForGood(cause);
        log("error", "settlement-not-recorded", { requestId: record.requestId, code: errorCode(cause), isLost });
        if (isLost) return;
      }
      await sleep(retryMs);
    }
  }
}

/** The audit service refuses the record itself: that is a fault of ours, and would be one again. */
function isForGood(cause: unknown): boolean {
  const status = cause instanceof PeerError ? cause.status : undefined;
  return status !== undefined && status >= 400 && status < 500;
}
