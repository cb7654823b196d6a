/** Events into the log, each once: a service that did not get the answer sends the same event again. */
import type { Appended, AuditLog } from "./audit-log.ts";
import type { CheckedEvent } from "./event.ts";
import { leafHash } from "./merkle.ts";

/** The last so many ids are known, also after a start. At 5,000 events a second that is 13 seconds. */
const WINDOW = 65_536;

/** Where an event is, or where it will be when its append has ended. */
type Known = Appended | { readonly appended: Promise<readonly Appended[]>; readonly place: number };

/** An event with the id of another one. */
export class EventIdTaken extends Error {}

export class EventLog {
  readonly #log: AuditLog;
  readonly #window: number;
  readonly #known = new Map<string, Known>();

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
    // Looked up before new ones can push them out of the window.
    const before = given.map(({ id }) => this.#known.get(id));
    const fresh = new Map<string, CheckedEvent>();
    for (const [i, event] of given.entries()) if (!before[i] && !fresh.has(event.id)) fresh.set(event.id, event);
    if (fresh.size > 0) this.#appendFresh([...fresh.values()]);
    const asked = given.map((event, i) => ({
      event,
      known: before[i] ?? (this.#known.get(event.id) as Known),
      isFresh: fresh.get(event.id) === event,
    }));
    return Promise.all(asked.map(placeOf));
  }

  #remember(id: string, appended: Known): void {
    this.#known.set(id, appended);
    if (this.#known.size <= this.#window) return;
    const [oldest] = this.#known.keys();
    if (oldest !== undefined) this.#known.delete(oldest);
  }

  /** Knows them from now on; not any more if the log refuses them, so that they can be sent again. */
  #appendFresh(events: readonly CheckedEvent[]): void {
    const appended = this.#log.append(events.map(({ entry }) => entry));
    for (const [place, { id }] of events.entries()) this.#remember(id, { appended, place });
    appended.then(
      (all) => {
        for (const [i, { id }] of events.entries()) if (this.#known.has(id)) this.#known.set(id, all[i] as Appended);
      },
      () => {
        for (const { id } of events) this.#known.delete(id);
      },
    );
  }
}

interface Asked {
  readonly event: CheckedEvent;
  readonly known: Known;
  /** Whether it is the one that was appended. */
  readonly isFresh: boolean;
}

/** @throws EventIdTaken | AppendRefused */
async function placeOf({ event: { id, entry }, known, isFresh }: Asked): Promise<Appended> {
  const appended = "appended" in known ? ((await known.appended)[known.place] as Appended) : known;
  if (!isFresh && !appended.leafHash.equals(leafHash(entry))) throw new EventIdTaken(id);
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
