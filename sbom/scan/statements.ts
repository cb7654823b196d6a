/** What VEX documents and waivers say of findings, and which of it counts. */

import { versionedPurl } from "./purl-match.ts";
import type { Finding, Statement } from "./report.ts";
import type { Waiver } from "./waiver.ts";

/** What a statement is about. */
export type Product =
  /** One package of one image; every package of it without `packagePurl`. */
  | { readonly kind: "image"; readonly digest: string; readonly packagePurl: string | undefined }
  /** One version of a package, wherever it is. */
  | { readonly kind: "package"; readonly purl: string }
  /** A component of one SBOM (BOM-Link). */
  | { readonly kind: "component"; readonly serialNumber: string; readonly bomRef: string };

export interface VexStatement {
  readonly where: string;
  /** Names of the vulnerability. */
  readonly names: readonly string[];
  /** As CycloneDX calls it. */
  readonly state: string;
  /** It says that the product is not affected, or no longer. */
  readonly suppresses: boolean;
  readonly justification: string | undefined;
  readonly detail: string | undefined;
  readonly time: Date | undefined;
  readonly isSigned: boolean;
  readonly products: readonly Product[];
}

export interface Claims {
  readonly vex: readonly VexStatement[];
  readonly waivers: readonly Waiver[];
  /** Statements that were left out. */
  readonly problems: readonly { readonly where: string; readonly message: string }[];
}

export const NO_CLAIMS: Claims = { vex: [], waivers: [], problems: [] };

export interface About {
  readonly digest: string | undefined;
  readonly serialNumber: string | undefined;
}

/**
 * The finding with what is said of it. Of VEX statements about the same vulnerability and product the
 * latest decides; at the same time, the one that does not suppress. An advisory about several
 * vulnerabilities is suppressed only when each of them is. A waiver counts until it expires.
 */
export function applyStatements(finding: Finding, about: About, claims: Claims, at: Date): Finding {
  const own = finding.aliases;
  const vex = claims.vex.filter((one) => one.products.some((product) => isAbout(product, finding, about)));
  const waivers = claims.waivers.filter((one) => isWaiverAbout(one, finding, about) && one.expires > at);
  const decide = (names: readonly string[]): readonly Statement[] => {
    const said = vex.filter((one) => one.names.some((name) => names.includes(name))).sort(latestFirst);
    const waived = waivers.filter(({ vulnerability }) => names.includes(vulnerability)).map(waiverStatement);
    return [...said.map(vexStatement), ...waived];
  };
  const isSuppressed = (statements: readonly Statement[]): boolean => {
    const [first] = statements;
    if (first === undefined) return false;
    return SUPPRESSING.has(first.state) || statements.some(({ source }) => source === "waiver");
  };
  const direct = decide(own);
  if (direct.length > 0 || finding.upstream.length === 0) {
    return { ...finding, statements: direct, status: isSuppressed(direct) ? "suppressed" : "open" };
  }
  const each = finding.upstream.map((name) => decide([name]));
  return { ...finding, statements: each.flat(), status: each.every(isSuppressed) ? "suppressed" : "open" };
}

/** CycloneDX's states that say "not affected, or no longer". */
export const SUPPRESSING: ReadonlySet<string> = new Set([
  "resolved",
  "resolved_with_pedigree",
  "false_positive",
  "not_affected",
]);

function isAbout(product: Product, finding: Finding, about: About): boolean {
  switch (product.kind) {
    case "image":
      return (
        product.digest === about.digest &&
        (product.packagePurl === undefined || isSamePackage(product.packagePurl, finding.package.purl))
      );
    case "package":
      return isSamePackage(product.purl, finding.package.purl);
    default:
      return product.serialNumber === about.serialNumber && product.bomRef === finding.package.bomRef;
  }
}

function isWaiverAbout(waiver: Waiver, finding: Finding, about: About): boolean {
  if (waiver.image !== undefined && waiver.image !== about.digest) return false;
  return isSamePackage(waiver.package, finding.package.purl);
}

function isSamePackage(a: string, b: string): boolean {
  const [x, y] = [versionedPurl(a), versionedPurl(b)];
  return x !== undefined && x === y;
}

function latestFirst(a: VexStatement, b: VexStatement): number {
  return (b.time?.getTime() ?? 0) - (a.time?.getTime() ?? 0) || Number(a.suppresses) - Number(b.suppresses);
}

function vexStatement(one: VexStatement): Statement {
  const { where, state, justification, detail, time, isSigned } = one;
  return {
    source: "vex",
    where,
    state,
    justification,
    detail,
    time: time?.toISOString(),
    expires: undefined,
    isSigned,
  };
}

function waiverStatement(one: Waiver): Statement {
  return {
    source: "waiver",
    where: one.where,
    state: "waived",
    justification: undefined,
    detail: one.reason,
    time: one.created.toISOString(),
    expires: one.expires.toISOString(),
    isSigned: true,
  };
}
