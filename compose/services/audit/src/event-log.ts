/** Events into the log, each once: a service that did not get the answer sends the same event again. */
import type { Appended, AuditLog } from "./audit-log.ts";
import type { CheckedEvent } from "./event.ts";
import { leafHash } from "./merkle.ts";

/** The last so many ids are known, also after a start. At 5,000 events a second that is 13 seconds. */
const WINDOW = 65_536;

/** An event with the id of another one. */
export class EventIdTaken extends Error {}

export class EventLog {
  readonly #log: AuditLog;
  readonly #window: number;
  readonly #known = new Map<string, Appended | Promise<Appended>>();

  private constructor(log: AuditLog, window: number) {
    this.#log = log;
    this.#window = window;
  }

  /** Reads the ids of the last entries of `log`. */
  static async open(log: AuditLog, window = WINDOW): Promise<EventLog> {
    const events = new EventLog(log, window);
    for await (const { index, entry } of log.lastEntries(window)) {
      const id = idOf(entry);
      if (id !== undefined) events.#remember(id, { index, leafHash: leafHash(entry) });
    }
    return events;
  }

  /** Whether `id` is in the window, or on its way into the log. */
  knows(id: string): boolean {
    return this.#known.has(id);
  }

  /**
   * Where `given` are in the log, when they are there durably. One that is known is not appended again.
   * @throws EventIdTaken | AppendRefused, then none of those that were new was acknowledged
   */
  async append(given: readonly CheckedEvent[]): Promise<Appended[]> {
    const fresh = new Map<string, CheckedEvent>();
    for (const event of given) if (!this.#known.has(event.id) && !fresh.has(event.id)) fresh.set(event.id, event);
    const events = [...fresh.values()];
    if (events.length > 0) {
      const appended = this.#log.append(events.map(({ entry }) => entry));
      for (const [i, event] of events.entries()) this.#follow(event.id, appended, i);
    }
    // Looked up before anything can push them out of the window.
    return Promise.all(given.map((event) => receipt(event, this.#known.get(event.id))));
  }

  #remember(id: string, appended: Appended | Promise<Appended>): void {
    this.#known.set(id, appended);
    if (this.#known.size <= this.#window) return;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
  }

  /** Knows `id` from now on; not any more if the log refuses it, so that it can be sent again. */
  #follow(id: string, appended: Promise<Appended[]>, place: number): void {
    const own = appended.then((all) => all[place] as Appended);
    this.#remember(id, own);
    own.then(
      (settled) => {
        if (this.#known.has(id)) this.#known.set(id, settled);
      },
      () => this.#known.delete(id),
    );
  }
}

async function receipt(
  { id, entry }: CheckedEvent,
  known: Appended | Promise<Appended> | undefined,
): Promise<Appended> {
  const appended = await known;
  if (!appended?.leafHash.equals(leafHash(entry))) throw new EventIdTaken(id);
  return appended;
}

/** What was appended through here is one of our events; whatever else lies there has no id to know. */
function idOf(entry: Buffer): string | undefined {
  try {
    const { id } = JSON.parse(entry.toString("utf8")) as { id?: unknown };
    return typeof id === "string" ? id : undefined;
  } catch {
    return undefined;
  }
}
