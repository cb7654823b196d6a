/** As what the vulnerability records know a component of an SBOM. */
import { PackageURL } from "packageurl-js";
import type { SbomComponent, SbomDocument } from "../document.ts";

export interface PackageIdentity {
  /** OSV's name without a release. */
  readonly ecosystem: string;
  /** Any of these releases is meant (`12`, `v3.20`); undefined where the ecosystem has none. */
  readonly releases: readonly string[] | undefined;
  /** The package is affected if a record says so of any of these; the first is what a report calls it. */
  readonly names: readonly [NamedVersion, ...NamedVersion[]];
}

export interface NamedVersion {
  readonly name: string;
  readonly version: string;
}

export type NotIdentified =
  | "no-purl"
  | "purl-malformed"
  | "no-version"
  | "distribution-unknown"
  | "source-unknown"
  | "ecosystem-unknown";

/** Component types that are no packages: what they hold has components of its own. */
const NO_PACKAGES: ReadonlySet<string> = new Set([
  "operating-system",
  "container",
  "file",
  "data",
  "device",
  "platform",
  "machine-learning-model",
  "cryptographic-asset",
]);

/** Debian's code names; records name the release by its number. */
const DEBIAN: Readonly<Record<string, string>> = {
  jessie: "8",
  stretch: "9",
  buster: "10",
  bullseye: "11",
  bookworm: "12",
  trixie: "13",
  forky: "14",
  duke: "15",
};

/** purl type → OSV's ecosystem, where the name needs no more than its namespace before it. */
const PLAIN: Readonly<Record<string, readonly [ecosystem: string, separator: string]>> = {
  npm: ["npm", "/"],
  pypi: ["PyPI", "/"],
  golang: ["Go", "/"],
  maven: ["Maven", ":"],
  cargo: ["crates.io", "/"],
  bitnami: ["Bitnami", "/"],
};

/** Whether the document's tool names source packages; where it does, a package without one is its own. */
export function namesSources(document: SbomDocument): boolean {
  return document.components.some(
    ({ purl = "", properties }) =>
      /[?&](?:upstream=|arch=source)/.test(purl) ||
      properties.some(({ name }) => name === "aquasecurity:trivy:SrcName"),
  );
}

/** Undefined for a component that is no package; a reason where it is one that no record could name. */
export function identifyPackage(
  component: SbomComponent,
  hasSources: boolean,
): PackageIdentity | NotIdentified | undefined {
  const { purl, type } = component;
  if (purl === undefined) return NO_PACKAGES.has(type) ? undefined : "no-purl";
  let parsed: PackageURL;
  try {
    parsed = PackageURL.fromString(purl);
  } catch {
    return "purl-malformed";
  }
  if (parsed.type === "oci" || parsed.type === "docker") return undefined;
  const version = parsed.version ?? undefined;
  if (version === undefined || version === "") return "no-version";
  if (parsed.type === "deb" || parsed.type === "apk") return identifyOsPackage(parsed, version, component, hasSources);
  if (parsed.type === "rpm") return identifyRpmPackage(parsed, version, component, hasSources);
  const namespace = parsed.namespace ?? "";
  if (parsed.type === "generic" && namespace === "" && parsed.name === "node") {
    return { ecosystem: "Bitnami", releases: undefined, names: [{ name: "node", version }] };
  }
  const plain = Object.hasOwn(PLAIN, parsed.type) ? PLAIN[parsed.type] : undefined;
  if (!plain) return "ecosystem-unknown";
  const [ecosystem, separator] = plain;
  const name = namespace === "" ? parsed.name : `${namespace}${separator}${parsed.name}`;
  return { ecosystem, releases: undefined, names: [{ name, version }] };
}

function identifyOsPackage(
  purl: PackageURL,
  version: string,
  component: SbomComponent,
  hasSources: boolean,
): PackageIdentity | NotIdentified {
  const qualifiers: Readonly<Record<string, string>> = purl.qualifiers ?? {};
  const distribution = releasesOf(purl, qualifiers["distro"] ?? "");
  if (!distribution) return "distribution-unknown";
  const source = sourceOf(component, qualifiers);
  if (!source && !hasSources) return "source-unknown";
  const own = withEpoch(version, qualifiers);
  // A rebuild for one architecture ("+b1") changes the binary's version, not its source's.
  const derived = purl.type === "deb" ? own.replace(/\+b\d+$/, "") : own;
  return { ...distribution, names: [{ name: source?.name ?? purl.name, version: source?.version ?? derived }] };
}

/** Some tools put the epoch into a qualifier. */
function withEpoch(version: string, { epoch }: Readonly<Record<string, string>>): string {
  return epoch && epoch !== "0" && !version.includes(":") ? `${epoch}:${version}` : version;
}

/** OSV's ecosystems of rpm packages, by the namespaces that the common tools write. */
const RPM: Readonly<Record<string, string>> = {
  almalinux: "AlmaLinux",
  alma: "AlmaLinux",
  rocky: "Rocky Linux",
  "rocky-linux": "Rocky Linux",
  redhat: "Red Hat",
  rhel: "Red Hat",
};

/**
 * Records of AlmaLinux and Red Hat name packages as they are installed. Those of Rocky Linux named sources for years
 * and name packages since: there both count.
 */
function identifyRpmPackage(
  purl: PackageURL,
  version: string,
  component: SbomComponent,
  hasSources: boolean,
): PackageIdentity | NotIdentified {
  const qualifiers: Readonly<Record<string, string>> = purl.qualifiers ?? {};
  const vendor = (purl.namespace ?? "").toLowerCase();
  const ecosystem = Object.hasOwn(RPM, vendor) ? RPM[vendor] : undefined;
  const release = /^(?:[a-z][a-z-]*-)?(\d+)(?:\.\d+)*$/.exec((qualifiers["distro"] ?? "").toLowerCase())?.[1];
  if (ecosystem === undefined || release === undefined) return "distribution-unknown";
  const own = { name: purl.name, version: withEpoch(version, qualifiers) };
  const identity = { ecosystem, releases: [release] };
  if (ecosystem !== "Rocky Linux") return { ...identity, names: [own] };
  const source = rpmSourceOf(component, qualifiers);
  if (!source) return hasSources ? { ...identity, names: [own] } : "source-unknown";
  const isSame = source.name === own.name && source.version === own.version;
  return { ...identity, names: isSame ? [own] : [own, source] };
}

/** From a source package's file name, which has no epoch: it is that of what was built of it. */
function rpmSourceOf(component: SbomComponent, qualifiers: Readonly<Record<string, string>>): NamedVersion | undefined {
  const [, name, version] = /^(.+)-([^-]+-[^-]+)\.(?:no)?src\.rpm$/.exec(qualifiers["upstream"] ?? "") ?? [];
  if (name !== undefined && version !== undefined) return { name, version: withEpoch(version, qualifiers) };
  const source = sourceOf(component, {});
  return source?.name !== undefined && source.version !== undefined
    ? { name: source.name, version: source.version }
    : undefined;
}

function releasesOf(purl: PackageURL, distro: string): Pick<PackageIdentity, "ecosystem" | "releases"> | undefined {
  const vendor = (purl.namespace ?? "").toLowerCase();
  const release = distro.toLowerCase().replace(new RegExp(`^${vendor.replace(/[^a-z]/g, "")}-`), "");
  if (purl.type === "deb" && vendor === "debian") {
    const number = Object.hasOwn(DEBIAN, release) ? DEBIAN[release] : /^(\d+)(?:\.\d+)*$/.exec(release)?.[1];
    return number === undefined ? undefined : { ecosystem: "Debian", releases: [number] };
  }
  if (purl.type === "deb" && vendor === "ubuntu") {
    const number = /^\d\d\.(?:04|10)/.exec(release)?.[0];
    return number === undefined ? undefined : { ecosystem: "Ubuntu", releases: [number, `${number}:LTS`] };
  }
  if (purl.type === "apk" && vendor === "alpine") {
    const number = /^v?(\d+\.\d+)(?:\.\d+)?$/.exec(release)?.[1];
    return number === undefined ? undefined : { ecosystem: "Alpine", releases: [`v${number}`] };
  }
  return undefined;
}

function sourceOf(
  { properties, purl = "" }: SbomComponent,
  qualifiers: Readonly<Record<string, string>>,
): { readonly name?: string; readonly version?: string } | undefined {
  const upstream = /^([^@]+)(?:@(.+))?$/.exec(qualifiers["upstream"] ?? "");
  if (upstream)
    return { ...(upstream[1] ? { name: upstream[1] } : {}), ...(upstream[2] ? { version: upstream[2] } : {}) };
  if (/[?&]arch=source/.test(purl)) return {};
  const property = (name: string): string | undefined =>
    properties.find((one) => one.name === `aquasecurity:trivy:${name}`)?.value || undefined;
  const name = property("SrcName");
  if (name === undefined) return undefined;
  const [number, release, epoch] = ["SrcVersion", "SrcRelease", "SrcEpoch"].map(property);
  if (number === undefined) return { name };
  const prefix = epoch && epoch !== "0" ? `${epoch}:` : "";
  return { name, version: `${prefix}${number}${release ? `-${release}` : ""}` };
}
