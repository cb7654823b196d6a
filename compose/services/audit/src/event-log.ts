/** Events into the log, each once: a service that did not get the answer sends the same event again. */
import type { Appended, AuditLog } from "./audit-log.ts";
import type { CheckedEvent } from "./event.ts";
import { leafHash } from "./merkle.ts";

/** The last so many ids are known, also after a start. At 5,000 events a second that is 13 seconds. */
const WINDOW = 65_536;

/** An event with the id of another one. */
export class EventIdTaken extends Error {}

/** An append that has not ended, and which of its events it is. */
interface UnderWay {
  readonly appended: Promise<readonly Appended[]>;
  readonly place: number;
}

export class EventLog {
  readonly #log: AuditLog;
  readonly #underWay = new Map<string, UnderWay>();
  readonly #known = new Map<string, Appended>();
  /** The ids of #known in a ring: a Map of this size takes longer to find its oldest one than an event may take. */
  readonly #ring: string[];
  #next = 0;

  private constructor(log: AuditLog, window: number) {
    this.#log = log;
    this.#ring = new Array<string>(window).fill("");
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
    return this.#known.has(id) || this.#underWay.has(id);
  }

  /**
   * Where `given` are in the log, when they are there durably. One that is known is not appended again.
   * @throws EventIdTaken | AppendRefused, then none of those that were new was acknowledged
   */
  async append(given: readonly CheckedEvent[]): Promise<Appended[]> {
    const fresh = new Map<string, CheckedEvent>();
    for (const event of given) if (!this.knows(event.id) && !fresh.has(event.id)) fresh.set(event.id, event);
    if (fresh.size > 0) this.#appendFresh([...fresh.values()]);
    const asked = given.map((event) => ({
      event,
      found: this.#known.get(event.id) ?? (this.#underWay.get(event.id) as UnderWay),
      isFresh: fresh.get(event.id) === event,
    }));
    return Promise.all(asked.map(placeOf));
  }

  /** Knows them from now on; not any more if the log refuses them, so that they can be sent again. */
  #appendFresh(events: readonly CheckedEvent[]): void {
    const appended = this.#log.append(events.map(({ entry }) => entry));
    for (const [place, { id }] of events.entries()) this.#underWay.set(id, { appended, place });
    const end = (all: readonly Appended[]): void => {
      for (const [i, { id }] of events.entries()) {
        this.#underWay.delete(id);
        if (all[i]) this.#remember(id, all[i]);
      }
    };
    appended.then(end, () => end([]));
  }

  #remember(id: string, appended: Appended): void {
    this.#known.delete(this.#ring[this.#next] ?? "");
    this.#ring[this.#next] = id;
    this.#next = (this.#next + 1) % this.#ring.length;
    this.#known.set(id, appended);
  }
}

interface Asked {
  readonly event: CheckedEvent;
  readonly found: Appended | UnderWay;
  /** Whether it is the one that was appended. */
  readonly isFresh: boolean;
}

/** @throws EventIdTaken | AppendRefused */
async function placeOf({ event: { id, entry }, found, isFresh }: Asked): Promise<Appended> {
  const appended = "appended" in found ? ((await found.appended)[found.place] as Appended) : found;
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
