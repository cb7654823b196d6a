/**
 * What an event may be: metadata of one JSON object, closed and bounded, with no place for text that
 * somebody wrote. Its bytes in the log are RFC 8785 canonical JSON, at most 64 kB.
 *
 * Versions: this service knows version 1 by its members. It also takes the next one, of which it knows only
 * that the required members stay and that every other is of a kind that version 1 has: so the services of
 * the next release can write to this one before it is itself replaced. There is none before version 1.
 */

export const EVENT_VERSION = 1;
export const EVENT_VERSIONS: readonly number[] = [EVENT_VERSION, EVENT_VERSION + 1];

export const EVENT_MAX_BYTES = 65_535;

export interface CheckedEvent {
  readonly id: string;
  readonly entry: Buffer;
}

/** `message` names the member, never its value. */
export class EventRefused extends Error {
  /** Whether another version of the event would be taken. */
  readonly isVersion: boolean;

  constructor(message: string, isVersion = false) {
    super(message);
    this.isVersion = isVersion;
  }
}

/** token: a name or id without spaces, at most 128 characters. hash: 32 to 128 hexadecimal digits. */
type Kind = "token" | "hash" | "count" | "flag" | "counts";

/** Who looks after the site, as its certificate names it: it tells what is in the site's ledger, and nothing else. */
export const INSTALLER = "installer";
export const SITE_TYPES = "site.";

/** Each event has them, of whatever version. */
const REQUIRED = ["v", "id", "ts", "service", "type", "requestId"] as const;

/** What an event of version 1 may have besides. */
const MEMBERS: Readonly<Record<string, Kind>> = {
  tenant: "token",
  actor: "token",
  key: "token",
  role: "token",
  source: "hash",
  operation: "token",
  release: "token",
  control: "token",
  policy: "token",
  decision: "token",
  problem: "token",
  reason: "token",
  outcome: "token",
  model: "token",
  servedModel: "token",
  stream: "flag",
  status: "count",
  messages: "count",
  bytes: "count",
  answerBytes: "count",
  inputTokens: "count",
  outputTokens: "count",
  durationMs: "count",
  promptHmac: "hash",
  answerHmac: "hash",
  findings: "counts",
  counts: "counts",
  ledgerHead: "hash",
  ledgerLength: "count",
};

const MEMBER_NAME = /^[a-z][A-Za-z0-9]{0,31}$/;
const MEMBERS_MAX = 64;
const COUNTS_MAX = 64;
const COUNT_NAME = /^[a-z][A-Za-z0-9_-]{0,31}$/;
const TOKEN = /^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}$/;
const HASH = /^(?:[0-9a-f]{2}){16,64}$/;
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const TYPE = /^(?=.{1,64}$)[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*){0,3}$/;
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isTime(value: unknown): boolean {
  if (typeof value !== "string" || !TIME.test(value)) return false;
  const time = new Date(value);
  return !Number.isNaN(time.getTime()) && time.toISOString() === value;
}

const matches = (pattern: RegExp) => (value: unknown) => typeof value === "string" && pattern.test(value);

const KINDS: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  token: matches(TOKEN),
  hash: matches(HASH),
  count: isCount,
  flag: (value) => typeof value === "boolean",
  counts: (value) =>
    isObject(value) &&
    Object.keys(value).length <= COUNTS_MAX &&
    Object.entries(value).every(([name, count]) => COUNT_NAME.test(name) && isCount(count)),
};

const REQUIRED_KINDS: Readonly<Record<(typeof REQUIRED)[number], (value: unknown) => boolean>> = {
  v: isCount,
  id: matches(ID),
  ts: isTime,
  service: matches(TOKEN),
  type: matches(TYPE),
  requestId: matches(REQUEST_ID),
};

/** The event in `value` if `service`, who sends it, may send it as its own. @throws EventRefused */
export function checkEvent(value: unknown, service: string): CheckedEvent {
  if (!isObject(value)) throw new EventRefused("want a JSON object");
  for (const name of REQUIRED) if (!REQUIRED_KINDS[name](value[name])) throw new EventRefused(`${name} is not valid`);
  if (!EVENT_VERSIONS.includes(value["v"] as number)) {
    throw new EventRefused(`v: want ${EVENT_VERSIONS.join(" or ")}`, true);
  }
  if (value["service"] !== service) throw new EventRefused("service is not who sends it");
  const isOfSite = (value["type"] as string).startsWith(SITE_TYPES);
  if (isOfSite !== (service === INSTALLER)) throw new EventRefused("type is not for who sends it");
  const others = Object.keys(value).filter((name) => !Object.hasOwn(REQUIRED_KINDS, name));
  if (others.length > MEMBERS_MAX) throw new EventRefused("too many members");
  for (const name of others) checkMember(value["v"] as number, name, value[name]);
  const entry = Buffer.from(canonical(value));
  if (entry.length > EVENT_MAX_BYTES) throw new EventRefused(`more than ${EVENT_MAX_BYTES} bytes`);
  return { id: value["id"] as string, entry };
}

function checkMember(version: number, name: string, value: unknown): void {
  const kind = Object.hasOwn(MEMBERS, name) ? MEMBERS[name] : undefined;
  if (kind) {
    if (!KINDS[kind](value)) throw new EventRefused(`${name} is not valid`);
  } else if (version === EVENT_VERSION || !MEMBER_NAME.test(name)) {
    throw new EventRefused("a member is not known");
  } else if (!Object.values(KINDS).some((accepts) => accepts(value))) {
    throw new EventRefused(`${name} is not valid`);
  }
}

/**
 * RFC 8785 for what an event can hold: objects, strings, booleans and whole numbers. No name begins with a
 * digit, so an object keeps its members in the order in which they came.
 */
function canonical(value: Json): string {
  return JSON.stringify(sorted(value));
}

/** The default order is that of UTF-16 code units, as RFC 8785 wants it. */
function sorted(value: unknown): unknown {
  if (!isObject(value)) return value;
  const members: Record<string, unknown> = {};
  for (const name of Object.keys(value).sort()) members[name] = sorted(value[name]);
  return members;
}
