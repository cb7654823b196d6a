/** rpm's database in an image, read while its layer streams by. */
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { type RpmPackage, readRpmHeader } from "./rpm-header.ts";
import { readTableBlobs } from "./sqlite-table.ts";

export interface RpmFacts {
  readonly kind: "rpm";
  readonly packages: readonly RpmPackage[];
  /** Why the database is not to be believed; `packages` is empty then. */
  readonly malformed: string | undefined;
  /** Why the database was not read; `packages` is empty then. */
  readonly unread: string | undefined;
}

/** As rpm 4.16 and newer have it; the path differs between distributions. */
export const RPM_DATABASE = /^(?:var\/lib|usr\/lib\/sysimage|usr\/share)\/rpm\/rpmdb\.sqlite$/;
/** Larger ones are reported as not read. */
export const RPM_DATABASE_MAX_BYTES = 64 * 1024 * 1024;
const PACKAGES_MAX = 50_000;
const FILES_MAX = 2_000_000;
const [TABLE, BLOB_COLUMN] = ["Packages", 1];

/** Never throws. */
export function readRpmDatabase(bytes: Buffer): RpmFacts {
  const packages: RpmPackage[] = [];
  let files = 0;
  try {
    for (const blob of readTableBlobs(bytes, TABLE, BLOB_COLUMN)) {
      const one = readRpmHeader(blob);
      files += one.files.length;
      packages.push(one);
      if (packages.length > PACKAGES_MAX) throw new RangeError(`more than ${PACKAGES_MAX} packages`);
      if (files > FILES_MAX) throw new RangeError(`more than ${FILES_MAX} files`);
    }
  } catch (cause) {
    return { kind: "rpm", packages: [], malformed: reasonOf(cause), unread: undefined };
  }
  return { kind: "rpm", packages, malformed: undefined, unread: undefined };
}

export function unreadRpmDatabase(reason: string): RpmFacts {
  return { kind: "rpm", packages: [], malformed: undefined, unread: reason };
}
