/** When a statement's purl means the package that was found: never by name alone. */
import { PackageURL } from "packageurl-js";

/** Type, namespace, name and version, without qualifiers and subpath; undefined of an image, without a version, or if it is no purl or one with two readings. */
export function versionedPurl(text: string): string | undefined {
  try {
    const { type, namespace, name, version, qualifiers } = PackageURL.fromString(text);
    if (!version || type === "oci" || type === "docker") return undefined;
    const epoch = qualifiers?.["epoch"];
    const full = epoch && epoch !== "0" && !version.includes(":") ? `${epoch}:${version}` : version;
    const purl = new PackageURL(type, namespace, name, full, undefined, undefined).toString();
    // packageurl-js writes some types otherwise than it reads them (`n+2`): such a name would mean two packages.
    return PackageURL.fromString(purl).toString() === purl ? purl : undefined;
  } catch {
    return undefined;
  }
}

/** The digest in `pkg:oci/name@sha256:…`; undefined if the purl is no image by digest. */
export function imageDigest(text: string): string | undefined {
  try {
    const { type, version } = PackageURL.fromString(text);
    return (type === "oci" || type === "docker") && version && /^sha256:[0-9a-f]{64}$/.test(version)
      ? version
      : undefined;
  } catch {
    return undefined;
  }
}
