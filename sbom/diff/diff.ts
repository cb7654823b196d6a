/** What changed between two releases, as their SBOMs and scans tell it. */
import { PackageURL } from "packageurl-js";
import type { SbomComponent, SbomDocument } from "../document.ts";
import { byText } from "../generate/catalog.ts";
import type { Finding } from "../scan/report.ts";
import { compareVersionsOf } from "./purl-order.ts";

/** One image of a release, or a lone SBOM. */
export interface DiffSide {
  readonly name: string;
  readonly document: SbomDocument;
  /** Of a scan of the document; undefined if none was made. */
  readonly findings: readonly Finding[] | undefined;
}

export type ChangeKind =
  | "added"
  | "removed"
  | "upgraded"
  | "downgraded"
  /** Other versions that cannot be ordered. */
  | "replaced"
  | "licence-changed"
  /** The same version with other bytes: somebody changed what has a name already. */
  | "hash-changed";

export interface Change {
  readonly kind: ChangeKind;
  /** The purl without version and qualifiers; a component without one: its type, group and name. */
  readonly package: string;
  readonly from: string | null;
  readonly to: string | null;
  /** Of `licence-changed` the licences, of `hash-changed` the hashes: before and after. */
  readonly before?: readonly string[];
  readonly after?: readonly string[];
}

export interface VulnerabilityChange {
  readonly kind: "introduced" | "fixed" | "carried";
  readonly id: string;
  readonly level: string;
  readonly package: string;
  /** Versions of the package before and after; null where it is not there. */
  readonly from: string | null;
  readonly to: string | null;
  /** In the newer release, or in the older one if it is fixed. */
  readonly status: "open" | "suppressed";
}

export interface ImageDiff {
  readonly name: string;
  readonly presence: "both" | "added" | "removed";
  /** Sorted by package. */
  readonly changes: readonly Change[];
  readonly unchanged: number;
  /** Undefined if one of the sides was not scanned. */
  readonly vulnerabilities: readonly VulnerabilityChange[] | undefined;
}

export interface ReleaseDiff {
  readonly schemaVersion: 1;
  readonly images: readonly ImageDiff[];
  /** Packages of the same version with other bytes, in all images. */
  readonly alarms: number;
}

/**
 * Compares images of the same name; with `lone-by-place` the name of two lone SBOMs does not matter. Packages
 * are the same when their purls are, but for version and qualifiers. Where several versions of one lie side by
 * side, those on both sides stay, and of the others the highest are paired.
 */
export function diffReleases(
  older: readonly DiffSide[],
  newer: readonly DiffSide[],
  pairing: "by-name" | "lone-by-place" = "lone-by-place",
): ReleaseDiff {
  const [oldOne, newOne] = [older[0], newer[0]];
  const isLone =
    pairing === "lone-by-place" &&
    older.length === 1 &&
    newer.length === 1 &&
    oldOne !== undefined &&
    newOne !== undefined;
  const images = isLone ? [diffImage(newOne.name, oldOne, newOne)] : diffByName(older, newer);
  const alarms = images.flatMap(({ changes }) => changes).filter(({ kind }) => kind === "hash-changed").length;
  return { schemaVersion: 1, images, alarms };
}

function diffByName(older: readonly DiffSide[], newer: readonly DiffSide[]): ImageDiff[] {
  const names = [...new Set([...older, ...newer].map(({ name }) => name))].sort(byText);
  const named = (sides: readonly DiffSide[], name: string): DiffSide | undefined =>
    sides.find((one) => one.name === name);
  return names.map((name) => diffImage(name, named(older, name), named(newer, name)));
}

function diffImage(name: string, older: DiffSide | undefined, newer: DiffSide | undefined): ImageDiff {
  const [before, after] = [packagesOf(older), packagesOf(newer)];
  const keys = [...new Set([...before.keys(), ...after.keys()])].sort(byText);
  const changes: Change[] = [];
  let unchanged = 0;
  for (const key of keys) {
    const found = diffPackage(key, before.get(key) ?? new Map(), after.get(key) ?? new Map());
    changes.push(...found.changes);
    unchanged += found.unchanged;
  }
  return {
    name,
    presence: older && newer ? "both" : newer ? "added" : "removed",
    changes,
    unchanged,
    vulnerabilities: diffFindings(older, newer),
  };
}

/** Key → version → what is known of it. */
type Packages = Map<string, Map<string, SbomComponent[]>>;

function packagesOf(side: DiffSide | undefined): Packages {
  const packages: Packages = new Map();
  for (const component of side?.document.components ?? []) {
    const key =
      packageKey(component.purl) ?? [component.type, component.group, component.name].filter(Boolean).join(" ");
    const versions = packages.get(key) ?? new Map<string, SbomComponent[]>();
    packages.set(key, versions);
    const version = component.version ?? versionIn(component.purl) ?? "";
    const same = versions.get(version);
    if (same) same.push(component);
    else versions.set(version, [component]);
  }
  return packages;
}

function packageKey(purl: string | undefined): string | undefined {
  const parsed = parsePurl(purl);
  if (!parsed) return undefined;
  const { type, namespace, name, qualifiers } = parsed;
  // Binaries of several architectures, and a source beside its binary, are packages of their own.
  const arch = type === "deb" || type === "rpm" || type === "apk" ? qualifiers?.["arch"] : undefined;
  return new PackageURL(type, namespace, name, undefined, arch ? { arch } : undefined, undefined).toString();
}

function versionIn(purl: string | undefined): string | undefined {
  return parsePurl(purl)?.version ?? undefined;
}

function parsePurl(purl: string | undefined): PackageURL | undefined {
  try {
    return purl === undefined ? undefined : PackageURL.fromString(purl);
  } catch {
    return undefined;
  }
}

function diffPackage(
  key: string,
  before: ReadonlyMap<string, readonly SbomComponent[]>,
  after: ReadonlyMap<string, readonly SbomComponent[]>,
): { readonly changes: readonly Change[]; readonly unchanged: number } {
  const changes: Change[] = [];
  let unchanged = 0;
  for (const [version, old] of before) {
    const now = after.get(version);
    if (!now) continue;
    const found = [
      ...compareTexts("hash-changed", key, version, statedBy(old, "hashes"), statedBy(now, "hashes")),
      ...compareTexts("licence-changed", key, version, statedBy(old, "licences"), statedBy(now, "licences")),
    ];
    if (found.length === 0) unchanged += 1;
    changes.push(...found);
  }
  const compare = compareVersionsOf(key);
  const highestFirst = (a: string, b: string): number => compare(b, a) ?? byText(b, a);
  const gone = [...before.keys()].filter((version) => !after.has(version)).sort(highestFirst);
  const come = [...after.keys()].filter((version) => !before.has(version)).sort(highestFirst);
  for (let i = 0; i < Math.max(gone.length, come.length); i++) {
    const [from, to] = [gone[i], come[i]];
    if (from === undefined) changes.push({ kind: "added", package: key, from: null, to: to ?? null });
    else if (to === undefined) changes.push({ kind: "removed", package: key, from, to: null });
    else {
      const order = compare(from, to);
      const kind = order === undefined || order === 0 ? "replaced" : order < 0 ? "upgraded" : "downgraded";
      changes.push({ kind, package: key, from, to });
      const [old, now] = [before.get(from) ?? [], after.get(to) ?? []];
      changes.push(
        ...compareTexts("licence-changed", key, to, statedBy(old, "licences"), statedBy(now, "licences"), from),
      );
    }
  }
  return { changes, unchanged };
}

function statedBy(components: readonly SbomComponent[], member: "hashes" | "licences"): string[] {
  return [...new Set(components.flatMap((one) => one[member] ?? []))].sort(byText);
}

/** Hashes are compared only by the algorithms that both sides state: a tool that adds one changes nothing. */
function compareTexts(
  kind: "hash-changed" | "licence-changed",
  key: string,
  version: string,
  before: readonly string[],
  after: readonly string[],
  from = version,
): Change[] {
  const algorithm = (text: string): string => text.slice(0, text.indexOf(":"));
  const shared = (mine: readonly string[], theirs: readonly string[]): readonly string[] =>
    kind === "licence-changed"
      ? mine
      : mine.filter((one) => theirs.some((other) => algorithm(other) === algorithm(one)));
  const [old, now] = [shared(before, after), shared(after, before)];
  if (old.join("\n") === now.join("\n")) return [];
  return [{ kind, package: key, from, to: version, before: old, after: now }];
}

function diffFindings(
  older: DiffSide | undefined,
  newer: DiffSide | undefined,
): readonly VulnerabilityChange[] | undefined {
  if ((older && !older.findings) || (newer && !newer.findings)) return undefined;
  const [before, after] = [older?.findings ?? [], newer?.findings ?? []];
  const same = (a: Finding, b: Finding): boolean =>
    packageKey(a.package.purl) === packageKey(b.package.purl) && a.aliases.some((name) => b.aliases.includes(name));
  const describe = (
    kind: VulnerabilityChange["kind"],
    finding: Finding,
    from?: Finding,
    to?: Finding,
  ): VulnerabilityChange => ({
    kind,
    id: finding.id,
    level: finding.severity.level,
    package: packageKey(finding.package.purl) ?? finding.package.purl,
    from: from ? (versionIn(from.package.purl) ?? null) : null,
    to: to ? (versionIn(to.package.purl) ?? null) : null,
    status: finding.status,
  });
  const carried = new Set<Finding>();
  const changes = after.map((finding) => {
    const old = before.find((one) => same(one, finding));
    if (!old) return describe("introduced", finding, undefined, finding);
    for (const one of before) if (same(one, finding)) carried.add(one);
    return describe("carried", finding, old, finding);
  });
  const fixed = before.filter((one) => !carried.has(one)).map((one) => describe("fixed", one, one));
  return [...changes, ...fixed].sort(
    (a, b) => byText(a.kind, b.kind) || byText(a.package, b.package) || byText(a.id, b.id),
  );
}
