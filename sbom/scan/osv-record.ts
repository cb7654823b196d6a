/** One vulnerability record of OSV (OSV Schema 1.x, https://ossf.github.io/osv-schema/), as far as a scan decides by it. */
import { cvesOfErratum, ratingsOfErratum } from "./rpm-errata.ts";
import { ratingsOf } from "./severity.ts";

export const OSV_RECORD_MAX_BYTES = 16 * 1024 * 1024;

export type OsvEvent = "introduced" | "fixed" | "last_affected" | "limit";

export interface OsvAffected {
  /** As the record has it, with the release: `Debian:12`. */
  readonly ecosystem: string;
  readonly name: string;
  /** Versions that are affected whatever the ranges say. */
  readonly versions: readonly string[];
  /** Of each range of versions its events, in the record's order. Ranges of commits are not among them. */
  readonly ranges: readonly (readonly (readonly [kind: OsvEvent, version: string])[])[];
  /** For `severityOf`. */
  readonly ratings: readonly string[];
}

export interface OsvRecord {
  readonly id: string;
  /** Other names of the same vulnerability. */
  readonly aliases: readonly string[];
  /** Vulnerabilities that this advisory is about, such as the CVEs of a DSA. */
  readonly upstream: readonly string[];
  readonly summary: string;
  /** Undefined where the record has none or Go's zero time. */
  readonly modified: Date | undefined;
  readonly isWithdrawn: boolean;
  readonly affected: readonly OsvAffected[];
  /** For `severityOf`. */
  readonly ratings: readonly string[];
}

type Json = Readonly<Record<string, unknown>>;

const TEXT_MAX_LENGTH = 512;
const ID = /^[A-Za-z0-9][\w.:+-]{0,127}$/;
const EVENTS: readonly string[] = ["introduced", "fixed", "last_affected", "limit"] satisfies OsvEvent[];

/** What makes a record unreadable. */
class Unreadable extends Error {}

/**
 * The record in `text`, or one sentence saying why it cannot be read. What a record says about packages is
 * read whole or not at all: a package without an ecosystem, an event of an unknown kind or a range of an
 * unknown type would else be an unseen vulnerability. Ranges of commits (type GIT) are left out.
 */
export function parseOsvRecord(text: string): OsvRecord | string {
  try {
    return read(JSON.parse(text));
  } catch (cause) {
    return cause instanceof Unreadable ? cause.message : "not JSON";
  }
}

function read(value: unknown): OsvRecord {
  const record = object(value, "record");
  const id = record["id"];
  if (typeof id !== "string" || !ID.test(id)) throw new Unreadable("id is missing or is none");
  const affected = list(record["affected"], "affected").map((item, i) => object(item, `affected[${i}]`));
  const stated = names(record["upstream"], "upstream");
  const upstream = stated.length > 0 ? stated : cvesOfErratum(id, names(record["related"], "related"));
  const summary = typeof record["summary"] === "string" ? record["summary"].slice(0, TEXT_MAX_LENGTH) : "";
  const ratings = ratingsOf(record);
  return {
    id,
    aliases: names(record["aliases"], "aliases"),
    upstream,
    summary,
    modified: time(record["modified"]),
    // Go's zero time stands in some exports where nothing was withdrawn.
    isWithdrawn: time(record["withdrawn"]) !== undefined,
    affected: affected.flatMap((item, i) => readAffected(item, `affected[${i}]`)),
    ratings: ratings.length > 0 ? ratings : ratingsOfErratum(id, summary, upstream),
  };
}

function readAffected(item: Json, where: string): OsvAffected[] {
  const ranges = list(item["ranges"], `${where}.ranges`).map((one, i) => object(one, `${where}.ranges[${i}]`));
  for (const [i, { type }] of ranges.entries()) {
    if (type !== "SEMVER" && type !== "ECOSYSTEM" && type !== "GIT") {
      throw new Unreadable(`${where}.ranges[${i}] has no known type`);
    }
  }
  if (item["package"] === undefined) {
    // The schema allows it for source code that no registry has.
    if (ranges.length > 0 && ranges.every(({ type }) => type === "GIT")) return [];
    throw new Unreadable(`${where} names no package`);
  }
  const { ecosystem, name } = object(item["package"], `${where}.package`);
  if (typeof ecosystem !== "string" || ecosystem === "") throw new Unreadable(`${where} names no ecosystem`);
  if (typeof name !== "string" || name === "") throw new Unreadable(`${where} names no package`);
  const versions = list(item["versions"], `${where}.versions`);
  if (!versions.every((version) => typeof version === "string")) {
    throw new Unreadable(`${where}.versions has something else than texts`);
  }
  return [
    {
      ecosystem,
      name,
      versions: versions as string[],
      ranges: ranges
        .filter(({ type }) => type !== "GIT")
        .map(({ events }, i) => list(events, `${where}.ranges[${i}].events`).map((event) => readEvent(event, where))),
      ratings: ratingsOf(item),
    },
  ];
}

function readEvent(value: unknown, where: string): readonly [OsvEvent, string] {
  const entries = Object.entries(object(value, `${where}: an event`));
  const [kind, version] = entries[0] ?? [];
  if (entries.length !== 1 || kind === undefined || !EVENTS.includes(kind)) {
    throw new Unreadable(`${where} has an event of no known kind`);
  }
  if (typeof version !== "string" || version === "") throw new Unreadable(`${where} has an event without a version`);
  return [kind as OsvEvent, version];
}

function names(value: unknown, where: string): string[] {
  const all = list(value, where);
  if (!all.every((name) => typeof name === "string" && ID.test(name))) throw new Unreadable(`${where} has no names`);
  return all as string[];
}

function time(value: unknown): Date | undefined {
  if (typeof value !== "string" || value.startsWith("0001-")) return undefined;
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) throw new Unreadable(`${JSON.stringify(value.slice(0, 40))} is no time`);
  return date;
}

function object(value: unknown, where: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Unreadable(`${where} is no object`);
  return value as Json;
}

function list(value: unknown, where: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Unreadable(`${where} is no list`);
  return value;
}
