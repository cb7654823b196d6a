/**
 * What a release carries for its own scan, as files beside its images: snapshots of OSV, VEX and waivers, each
 * known by its media type. Whoever signed the release signed them: they are as good as its signatures.
 */
import { type BundleRelease, DOCUMENT_MAX_BYTES } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import {
  OSV_SNAPSHOT_PREFIX,
  OSV_SNAPSHOT_TAR,
  OSV_SNAPSHOT_TAR_GZIP,
  OSV_SNAPSHOT_TAR_ZSTD,
  OSV_SNAPSHOT_ZIP,
  VEX_STATEMENTS,
  WAIVERS,
} from "../../bundles/model/media-types.ts";
import { sbomError } from "../error.ts";
import type { SnapshotFile, SnapshotSource } from "./snapshot.ts";
import type { SnapshotKind } from "./snapshot-kind.ts";
import type { Claims } from "./statements.ts";
import { readVex } from "./vex.ts";
import { readWaivers } from "./waiver.ts";

const SNAPSHOT_KINDS: Readonly<Record<string, SnapshotKind>> = {
  [OSV_SNAPSHOT_TAR]: "tar",
  [OSV_SNAPSHOT_TAR_GZIP]: "tar.gz",
  [OSV_SNAPSHOT_TAR_ZSTD]: "tar.zst",
  [OSV_SNAPSHOT_ZIP]: "zip",
};

/**
 * All snapshots that the release carries, as one; undefined if there is none. Each byte is checked as it is read.
 * @throws SCAN_DATABASE_UNREADABLE for one in a form that this version does not know
 */
export function carriedSnapshot(layout: Layout, release: BundleRelease): SnapshotSource | undefined {
  const files = release.manifest.files
    .filter(({ mediaType }) => mediaType.startsWith(OSV_SNAPSHOT_PREFIX))
    .map(({ name, mediaType }) => {
      const kind = Object.hasOwn(SNAPSHOT_KINDS, mediaType) ? SNAPSHOT_KINDS[mediaType] : undefined;
      if (kind !== undefined) return snapshotFile(layout, contentDigest(release, name), name, kind);
      throw sbomError(
        "SCAN_DATABASE_UNREADABLE",
        `vulnerability records ${name}: got ${JSON.stringify(mediaType)}, want one of ${Object.keys(SNAPSHOT_KINDS).join(", ")}`,
      );
    });
  return files.length === 0 ? undefined : { location: "carried by the release", isDirectory: false, files };
}

function snapshotFile(layout: Layout, digest: Digest, name: string, kind: SnapshotKind): SnapshotFile {
  return {
    name,
    kind,
    stream: () => layout.stream(digest),
    withRandomAccess: (use) => use(layout.randomAccess(digest)),
  };
}

/** Of the file's own bytes; the release names the manifest that holds it. */
function contentDigest({ files }: BundleRelease, name: string): Digest {
  return files.get(name)?.manifest.layers[0]?.digest as Digest;
}

/**
 * VEX statements and waivers that the release carries. Both count as signed: the security role signs the release.
 * @throws SCAN_STATEMENT_MALFORMED | LAYOUT_DIGEST_MISMATCH | LAYOUT_SIZE_MISMATCH
 */
export function carriedClaims(layout: Layout, release: BundleRelease, at: Date, maxWaiverDays: number): Claims {
  const bytesOf = (mediaType: string): [string, Buffer][] =>
    release.manifest.files
      .filter((file) => file.mediaType === mediaType)
      .map(({ name }) => [name, layout.read(contentDigest(release, name), DOCUMENT_MAX_BYTES)]);
  const vex = bytesOf(VEX_STATEMENTS).map(([name, bytes]) => readVex(bytes, { name, isSigned: true, at }));
  return {
    vex: vex.flatMap(({ statements }) => statements),
    waivers: bytesOf(WAIVERS).flatMap(([name, bytes]) => readWaivers(bytes, name, maxWaiverDays)),
    problems: vex.flatMap(({ problems }) => problems),
  };
}
