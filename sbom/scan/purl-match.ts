/** When a statement's purl means the package that was found: never by name alone. */
import { PackageURL } from "packageurl-js";

/** Type, namespace, name and version, without qualifiers and subpath; undefined of an image, without a version, or if it is no purl. */
export function versionedPurl(text: string): string | undefined {
  try {
    const { type, namespace, name, version, qualifiers } = PackageURL.fromString(text);
    if (!version || type === "oci" || type === "docker") return undefined;
    const epoch = qualifiers?.["epoch"];
    const full = epoch && epoch !== "0" && !version.includes(":") ? `${epoch}:${version}` : version;
    return new PackageURL(type, namespace, name, full, undefined, undefined).toString();
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
