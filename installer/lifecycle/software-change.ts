/**
 * What a move from one release to another changes in the software, in the words of a plan. The verifier's cage compared
 * the two (verify/describe-contents.ts), by their SBOMs and the vulnerability records: the same releases and records give
 * the same words on another machine and another day, which is why operators can sign them.
 */
import type { ChangeRow, Comparison, ImageChanges } from "../../verify/release-contents.ts";

/** Where the verifier could not even say why. */
export const NOT_COMPARED: Comparison = {
  against: "not checked: the verifier did not compare the releases",
  images: [],
  alarms: 0,
  isScanned: false,
  records: "not checked",
};

const ALARM = "hash-changed";
const INTRODUCED = "vulnerability introduced";
const FIXED = "vulnerability fixed";
const CARRIED = "vulnerability carried";
/** Worst first: what a person should see if not all can be shown. What stays as it was is counted only. */
const KINDS = [ALARM, INTRODUCED, "downgraded", "replaced", "removed", "added", "upgraded", "licence-changed", FIXED];
/** Lines of one plan; all of it is in `--plan --json` and `sealift sbom diff`. */
const CHANGES_SHOWN = 200;
const LINE_MAX_LENGTH = 400;

/** For the plan: bounded in number and length, and in an order that depends on nothing but the comparison. */
export function softwareLines({ against, images, alarms, isScanned, records }: Comparison): string[] {
  const unscanned = `vulnerabilities fixed and new: ${records}`;
  if (images.length === 0) return [`software: ${against}`, unscanned].map(short);
  const changed = images.filter(({ presence, rows }) => presence !== "both" || rows.some(isOfPackage));
  const lines = images.flatMap(imageLines);
  const shown = lines.slice(0, CHANGES_SHOWN);
  return [
    ...(alarms === 0
      ? []
      : [`ALARM: ${alarms} packages have the version that they had, and other bytes: ask the publisher why`]),
    ...(changed.length === 0 ? ["software: the same packages in every image"] : []),
    ...shown,
    ...(lines.length > shown.length
      ? [`software: ${lines.length - shown.length} more lines: --plan --json, or sealift sbom diff OLD NEW`]
      : []),
    isScanned ? vulnerabilityLine(images, records) : unscanned,
  ].map(short);
}

function vulnerabilityLine(images: readonly ImageChanges[], records: string): string {
  const all = images.flatMap(({ rows }) => rows);
  const count = (kind: string): number => all.filter((row) => row.kind === kind).length;
  return `vulnerabilities: ${count(INTRODUCED)} new, ${count(FIXED)} fixed, ${count(CARRIED)} as before; records: ${records}`;
}

function isOfPackage({ kind }: ChangeRow): boolean {
  return !kind.startsWith("vulnerability ");
}

function imageLines({ name, presence, rows, unchanged }: ImageChanges): string[] {
  // Of an image that comes or goes as a whole, each package of it would say nothing more.
  const told = presence === "both" ? rows : rows.filter((row) => !isOfPackage(row));
  const byKind = Map.groupBy(told, ({ kind }) => kind);
  const ordered = KINDS.flatMap((kind) => byKind.get(kind) ?? []);
  if (presence === "both" && ordered.length === 0) return [];
  const counts = KINDS.flatMap((kind) => (byKind.has(kind) ? [`${byKind.get(kind)?.length} ${kind}`] : []));
  const summary =
    presence === "both"
      ? [...counts, `${unchanged} unchanged`].join(", ")
      : [`image ${presence}, ${rows.filter(isOfPackage).length} packages`, ...counts].join(", ");
  return [`software of ${name}: ${summary}`, ...ordered.map((row) => `software of ${name}: ${changeText(row)}`)];
}

function changeText({ kind, package: name, from, to, detail }: ChangeRow): string {
  const versions = from === to ? to : [from, to].filter((version) => version !== "").join(" -> ");
  return `${kind === ALARM ? "SAME VERSION, OTHER BYTES" : kind} ${name} ${versions}${detail === "" ? "" : `: ${detail}`}`;
}

/** What is signed is canonical JSON, which knows no half of a surrogate pair, and a cut may make one. */
function short(line: string): string {
  return (line.length > LINE_MAX_LENGTH ? `${line.slice(0, LINE_MAX_LENGTH)}…` : line).toWellFormed();
}
