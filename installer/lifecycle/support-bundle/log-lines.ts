/** What containers wrote, line by line, as far as it cannot be what a person wrote. */
import { type Allowed, boolean, NAME, number, object, oneOf, TIME, text } from "./allowed.ts";

/** Kebab-case without digits: names that stand in the services' source. */
const WORDS = text(/^[a-z]+(?:-[a-z]+){0,8}$/);
/** Of Node and the system, of Postgres (SQLSTATE), or the name of an error. */
const CODE = text(/^(?:[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*|[0-9A-Z]{5}|[A-Z][A-Za-z]{0,40}Error)$/);
const UUID = text(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);

/** The fields of a service's line (service-kit/src/log.ts). A `reason` is free text, and so is not among them. */
const FIELDS: Allowed = object({
  time: TIME,
  level: oneOf("info", "warn", "error"),
  service: NAME,
  event: WORDS,
  requestId: UUID,
  code: CODE,
  problem: WORDS,
  outcome: WORDS,
  signal: oneOf("SIGTERM", "SIGINT", "SIGUSR2"),
  ...Object.fromEntries(
    ["port", "size", "requests", "version", "want", "durationMs", "waitMs", "status"].map((name) => [name, number]),
  ),
  ...Object.fromEntries(["tls", "proxied", "again", "isLost", "builtIn"].map((name) => [name, boolean])),
});

const POSTGRES =
  /^(\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{3}) UTC \[\d+\] (?:\S+@\S+ )?(LOG|WARNING|ERROR|FATAL|PANIC): {2}(.*)$/;
/** What Postgres says of itself in words that are always the same. */
const POSTGRES_WORDS = [
  "database system is ready to accept connections",
  "database system was not properly shut down; automatic recovery in progress",
  "database system is shut down",
  "received fast shutdown request",
  "received smart shutdown request",
  "redo is not required",
  "all server processes terminated; reinitializing",
  "could not write to file: No space left on device",
];
/** What the engine puts in front of each line. */
const STAMP = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z) ?(.*)$/;

/**
 * One JSON object a line: its fields that may be shown, and the engine's time. Of Postgres the level, and the words if
 * they are its own and always the same. All other lines are counted at the end.
 */
export function shownLines(log: Buffer): string {
  const shown: string[] = [];
  let leftOut = 0;
  for (const line of log.toString("utf8").split("\n")) {
    if (line === "") continue;
    const [, at, said = line] = STAMP.exec(line) ?? [];
    const fields = fieldsOf(said);
    if (fields === undefined) leftOut += 1;
    else shown.push(JSON.stringify({ at, ...fields }));
  }
  return [...shown, JSON.stringify({ linesShown: shown.length, linesLeftOut: leftOut }), ""].join("\n");
}

function fieldsOf(said: string): object | undefined {
  const [, , level, words = ""] = POSTGRES.exec(said) ?? [];
  if (level !== undefined) return { level, ...(POSTGRES_WORDS.includes(words) && { words }) };
  let value: unknown;
  try {
    value = JSON.parse(said);
  } catch {
    return undefined;
  }
  const fields = FIELDS(value) as { readonly event?: unknown } | undefined;
  return fields?.event === undefined ? undefined : fields;
}
