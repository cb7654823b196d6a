/** An SBOM for a terminal of 80 columns: what is in the image, by kind, and what its SBOM does not know. */
import { plain } from "../bundles/model/plain-text.ts";
import type { SbomComponent, SbomDocument } from "./document.ts";
import { byText } from "./generate/catalog.ts";

const COLUMNS = 80;
const NAME = 32;
const VERSION = 22;

/** Lines of at most 80 characters, but for wide ones of other scripts. Long texts are cut; nothing acts on a terminal. */
export function sbomLines(document: SbomDocument): string[] {
  const { components, specVersion, timestamp, subject } = document;
  const byKind = Map.groupBy(components, kindOf);
  const kinds = [...byKind].sort(([a], [b]) => byText(a, b));
  const unlicensed = components.filter(({ licences }) => licences === undefined).length;
  return [
    fit(`  CycloneDX ${specVersion}, ${timestamp ?? "undated"}, ${components.length} components`, COLUMNS),
    ...kinds.flatMap(([kind, members]) => [
      fit(`  ${kind} (${members.length})`, COLUMNS),
      ...members.map(componentLine).sort(byText),
    ]),
    ...(unlicensed === 0 ? [] : [`  no licence stated: ${unlicensed} of ${components.length}`]),
    ...(subject?.properties ?? [])
      .filter(({ name }) => name === "sealift:sbom:not-catalogued")
      .map(({ value }) => fit(`  NOT LISTED: packages of ${value} are in the image`, COLUMNS)),
  ];
}

function kindOf({ purl, type }: SbomComponent): string {
  return /^pkg:([a-z0-9.+-]+)\//.exec(purl ?? "")?.[1] ?? type;
}

function componentLine({ group, name, version, licences }: SbomComponent): string {
  const full = group ? `${group}/${name}` : name;
  const rest = COLUMNS - NAME - VERSION - 6;
  const cells = [fit(full, NAME).padEnd(NAME), fit(version ?? "-", VERSION).padEnd(VERSION)];
  return `    ${[...cells, fit(licences?.join(", ") ?? "-", rest)].join(" ")}`.trimEnd();
}

function fit(text: string, columns: number): string {
  const safe = plain(text);
  return safe.length <= columns ? safe : `${safe.slice(0, columns - 1).replace(/\p{Cs}$/u, "")}…`;
}
