/** An SBOM for a terminal: what is in the image, by kind, and what its SBOM does not know. */
import { plain } from "../bundles/model/plain-text.ts";
import { propertyValues, type SbomComponent, type SbomDocument } from "./document.ts";
import { byText } from "./generate/catalog.ts";
import { changedFilesOf, changedFilesText } from "./scan/changed-files.ts";

const NAME = 32;
const VERSION = 22;
/** For which the two are; wider ones are shared between name and licences. */
const COLUMNS = 80;
const [COLUMNS_MIN, COLUMNS_MAX] = [60, 240];

export interface ShowOptions {
  /** Of the terminal: 80 if absent, and 60 to 240. */
  readonly columns?: number | undefined;
  /** Only components with this text, in any case, in their name, version, purl, kind or licences. */
  readonly filter?: string | undefined;
}

/** Lines within the columns, but for wide characters of other scripts. Long texts are cut; nothing acts on a terminal. */
export function sbomLines(document: SbomDocument, { columns = COLUMNS, filter = "" }: ShowOptions = {}): string[] {
  const { components, specVersion, timestamp, subject } = document;
  const width = Math.min(COLUMNS_MAX, Math.max(COLUMNS_MIN, columns));
  const shown = components.filter((one) => has(one, filter.toLowerCase()));
  const kinds = [...Map.groupBy(shown, kindOf)].sort(([a], [b]) => byText(a, b));
  const unlicensed = shown.filter(({ licences }) => licences === undefined).length;
  const number = filter === "" ? `${components.length}` : `${shown.length} of ${components.length}`;
  return [
    fit(`  CycloneDX ${specVersion}, ${timestamp ?? "undated"}, ${number} components`, width),
    ...kinds.flatMap(([kind, members]) => [
      fit(`  ${kind} (${members.length})`, width),
      ...members.map((one) => componentLine(one, width)).sort(byText),
    ]),
    ...(unlicensed === 0 ? [] : [`  no licence stated: ${unlicensed} of ${shown.length}`]),
    ...changedFilesOf({ components: shown }).map((one) =>
      fit(`  NOT AS PACKAGED: ${one.purl}: ${changedFilesText(one, 5)}`, width),
    ),
    ...(subject ? propertyValues(subject, "sealift:sbom:not-catalogued") : []).map((value) =>
      fit(`  NOT LISTED: packages of ${value} are in the image`, width),
    ),
  ];
}

function has(one: SbomComponent, text: string): boolean {
  const { group = "", name, version = "", purl = "", licences = [] } = one;
  return [kindOf(one), `${group}/${name}`, version, purl, ...licences].some((part) =>
    part.toLowerCase().includes(text),
  );
}

function kindOf({ purl, type }: SbomComponent): string {
  return /^pkg:([a-z0-9.+-]+)\//.exec(purl ?? "")?.[1] ?? type;
}

function componentLine({ group, name, version, licences }: SbomComponent, width: number): string {
  const full = group ? `${group}/${name}` : name;
  const nameWidth = NAME + Math.floor((width - COLUMNS) / 2);
  const rest = width - nameWidth - VERSION - 6;
  const cells = [fit(full, nameWidth).padEnd(nameWidth), fit(version ?? "-", VERSION).padEnd(VERSION)];
  return `    ${[...cells, fit(licences?.join(", ") ?? "-", rest)].join(" ")}`.trimEnd();
}

function fit(text: string, columns: number): string {
  const safe = plain(text);
  return safe.length <= columns ? safe : `${safe.slice(0, columns - 1).replace(/\p{Cs}$/u, "")}…`;
}
