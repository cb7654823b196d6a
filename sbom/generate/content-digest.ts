/**
 * One digest of all that a package consists of, so that two images show whether the same version has the
 * same bytes. It is the SHA-256 of what `sha256sum` prints for the package's files, sorted by their names
 * (LC_ALL=C): anybody can compute it again.
 */
import { createHash } from "node:crypto";
import { byText } from "./catalog.ts";
import type { FileNode } from "./file-tree.ts";

/** Its values are `KIND:VALUE`; a document has one for each kind that is known. */
const DIGEST_PROPERTY = "sealift:package:digest";

type DigestKind =
  /** `contentDigest`: what is in the image. */
  | "files-sha256"
  /** What npm recorded of the archive that it unpacked; not compared with the files. */
  | "npm-integrity"
  /** What rpm recorded of the package's header, which has the digests of its files; not compared with them. */
  | "rpm-header-sha256"
  /** What apk recorded of the package's control segment, which has the digest of its data; not compared with it. */
  | "apk-checksum";

/** Undefined if there is no file, or one's content is not known. */
export function contentDigest(files: Iterable<readonly [name: string, file: FileNode]>): string | undefined {
  const lines: string[] = [];
  for (const [name, { digests }] of [...files].sort(([a], [b]) => byText(a, b))) {
    if (digests.sha256 === undefined) return undefined;
    lines.push(`${Buffer.from(digests.sha256, "latin1").toString("hex")}  ${name}\n`);
  }
  return lines.length === 0 ? undefined : createHash("sha256").update(lines.join("")).digest("hex");
}

export function digestProperties(
  kind: DigestKind,
  values: Iterable<string | undefined>,
): (readonly [name: string, value: string])[] {
  const known = [...new Set(values)].filter((value) => value !== undefined && value !== "");
  return known.sort().map((value) => [DIGEST_PROPERTY, `${kind}:${value}`]);
}
