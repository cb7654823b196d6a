/** A diff for people: lines for a terminal, and Markdown for a change request. */
import { plain } from "../../bundles/model/plain-text.ts";
import type { Change, ImageDiff, ReleaseDiff, VulnerabilityChange } from "./diff.ts";

/** Lines without a line break; every text from outside is escaped. */
export function diffLines(diff: ReleaseDiff): string[] {
  const lines = diff.images.flatMap((image) => [
    `${image.name}${image.presence === "both" ? "" : ` (image ${image.presence})`}: ${summary(image)}`,
    ...image.changes.map((change) => `  ${change.kind}  ${change.package}  ${versions(change)}${detail(change)}`),
    ...vulnerabilityLines(image),
  ]);
  if (diff.alarms > 0) lines.push(`ALARM: ${diff.alarms} packages have the same version and other bytes`);
  return lines.map(plain);
}

function summary({ changes, unchanged, vulnerabilities }: ImageDiff): string {
  const counts = new Map<string, number>();
  for (const { kind } of [...changes, ...(vulnerabilities ?? [])]) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const counted = [...counts].map(([kind, count]) => `${count} ${kind}`);
  return [...counted, `${unchanged} unchanged`].join(", ");
}

function vulnerabilityLines({ vulnerabilities }: ImageDiff): string[] {
  if (vulnerabilities === undefined) return ["  vulnerabilities: not checked, name a database with --db"];
  return vulnerabilities.map(
    (one) => `  vulnerability ${one.kind}  ${one.level}  ${one.id}  ${one.package}  ${versions(one)}${suppressed(one)}`,
  );
}

function suppressed({ status }: VulnerabilityChange): string {
  return status === "suppressed" ? " (suppressed)" : "";
}

function versions({ from, to }: { readonly from: string | null; readonly to: string | null }): string {
  return from === to ? (to ?? "") : [from, to].filter((version) => version !== null).join(" -> ");
}

function detail({ before, after }: Change): string {
  if (!before || !after) return "";
  return `: ${before.join(", ") || "none"} -> ${after.join(", ") || "none"}`;
}

/** GitHub-flavoured Markdown with one table an image; nothing from outside acts as markup. */
export function diffMarkdown(diff: ReleaseDiff): string {
  const blocks = diff.images.map((image) => {
    const head = `## ${cell(image.name)}${image.presence === "both" ? "" : ` (image ${image.presence})`}\n\n${cell(summary(image))}`;
    const changes = table(
      ["change", "package", "from", "to", "detail"],
      image.changes.map((one) => [one.kind, one.package, one.from ?? "", one.to ?? "", detail(one).replace(/^: /, "")]),
    );
    const found = table(
      ["vulnerability", "level", "id", "package", "from", "to"],
      (image.vulnerabilities ?? []).map((one) => [
        `${one.kind}${suppressed(one)}`,
        one.level,
        one.id,
        one.package,
        one.from ?? "",
        one.to ?? "",
      ]),
    );
    const unchecked = image.vulnerabilities === undefined ? "Vulnerabilities: not checked." : "";
    return [head, changes, found, unchecked].filter((block) => block !== "").join("\n\n");
  });
  const alarm = diff.alarms > 0 ? [`**ALARM: ${diff.alarms} packages have the same version and other bytes.**`] : [];
  return `${["# Changes", ...alarm, ...blocks].join("\n\n")}\n`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "";
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return [line(head), `|${"---|".repeat(head.length)}`, ...rows.map(line)].join("\n");
}

function cell(text: string): string {
  return plain(text).replace(/[\\`*_{}[\]<>()#!|~&@:]/g, (character) => `&#${character.charCodeAt(0)};`);
}
