/** Records of how requests ended: tried until they are on stable storage, and waited for when the service stops. */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type AuditEvent, isForGood } from "@sealift/service-kit/audit-client.ts";
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import type { Principal } from "@sealift/service-kit/principal.ts";
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

  add(record: AuditEvent, principal: Principal | undefined): void {
    // The same id each time: the log keeps one of them.
    const event = { ...record, id: randomUUID(), ts: new Date().toISOString() };
    const pending = this.#append(event, principal).finally(() => this.#pending.delete(pending));
    this.#pending.add(pending);
  }

  /** After `stop` each is tried once more and no longer; the log tells which one was lost. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#pending);
  }

  async #append(record: AuditEvent, principal: Principal | undefined): Promise<void> {
    const { recorder, log, retryMs } = this.#options;
    for (;;) {
      const last = this.#stopping;
      try {
        await recorder.append(record, principal);
        return;
      } catch (cause) {
        // What is refused for good is a fault of ours, and would be refused again.
        const isLost = last || isForGood(cause);
        log("error", "settlement-not-recorded", { requestId: record.requestId, code: errorCode(cause), isLost });
        if (isLost) return;
      }
      await sleep(retryMs);
    }
  }
}
