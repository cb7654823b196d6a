/** Package URLs (ECMA-427), made in canonical form. */
import { PackageURL } from "packageurl-js";

export interface PurlParts {
  readonly type: string;
  readonly namespace?: string;
  readonly name: string;
  readonly version?: string;
  readonly qualifiers?: Readonly<Record<string, string | undefined>>;
}

export function renderPurl(parts: PurlParts): string {
  const qualifiers = Object.entries(parts.qualifiers ?? {}).filter((entry): entry is [string, string] => !!entry[1]);
  const purl = new PackageURL(
    parts.type,
    parts.namespace,
    parts.name,
    parts.version,
    qualifiers.length === 0 ? undefined : Object.fromEntries(qualifiers),
    undefined,
  );
  // packageurl-js leaves "+" in a version as it is and encodes "~" in a qualifier; the canonical form does neither.
  return purl.toString().replaceAll("+", "%2B").replaceAll("%7E", "~");
}
