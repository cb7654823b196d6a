/**
 * What is in a release, for a reviewer to read beside the verdict: packages, known vulnerabilities and what changed
 * since an earlier release. It decides nothing. It comes out of the cage as texts in rows, so that whoever shows it
 * parses no document of the bundle.
 */

import type { Store } from "../bundles/layout/layout.ts";
import type { Digest } from "../bundles/model/digest.ts";
import type { JsonSchema } from "../bundles/model/schema.ts";

export interface PackageRow {
  /** `npm`, `deb` …; of a component without a purl its CycloneDX type. */
  readonly kind: string;
  readonly name: string;
  readonly version: string;
  readonly licences: string;
}

export interface ImagePackages {
  readonly name: string;
  readonly digest: Digest;
  /** Of the SBOM's bytes. */
  readonly sbom: Digest;
  readonly packages: readonly PackageRow[];
}

export interface VulnerabilityRow {
  readonly image: string;
  readonly id: string;
  readonly level: string;
  readonly package: string;
  readonly fixed: string;
  readonly status: "open" | "suppressed";
  /** What VEX and waivers say of it. */
  readonly said: string;
}

export interface ChangeRow {
  /** As sbom/diff calls it, or `vulnerability introduced`, `vulnerability fixed`, `vulnerability carried`. */
  readonly kind: string;
  readonly package: string;
  readonly from: string;
  readonly to: string;
  /** Licences or hashes before and after; of a vulnerability its name and level. */
  readonly detail: string;
}

export interface ImageChanges {
  readonly name: string;
  readonly presence: "both" | "added" | "removed";
  readonly unchanged: number;
  readonly rows: readonly ChangeRow[];
}

/** An earlier release against this one. It depends on the two and on the records alone, not on when it is made. */
export interface Comparison {
  /** The earlier release, or why there is none to compare with: then there are no images. */
  readonly against: string;
  readonly images: readonly ImageChanges[];
  /** Packages of the same version with other bytes. */
  readonly alarms: number;
  /** Whether both releases were looked up in vulnerability records. */
  readonly isScanned: boolean;
  /** In which: the time of the newest, and a digest; or why in none. */
  readonly records: string;
}

export interface ReleaseContents {
  readonly images: readonly ImagePackages[];
  /** Age, digest and number of the records, or why nothing was looked up: then there are no rows. */
  readonly records: string;
  readonly vulnerabilities: readonly VulnerabilityRow[];
  readonly comparison: Comparison;
  /** Rows beyond ROWS_MAX, of all tables. */
  readonly leftOut: number;
}

/** A release to compare with, in open files; `digest` is the one that it must be, if that is known. */
export interface EarlierRelease {
  readonly store: Store;
  readonly digest: Digest | undefined;
}

/** Of each table: more than a person reads, and less than a browser refuses. */
export const ROWS_MAX = 20_000;
export const CELL_MAX_LENGTH = 512;

const cell = { type: "string", maxLength: CELL_MAX_LENGTH + 1 };
const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const count = { type: "integer", minimum: 0 };
const closed = (properties: Record<string, object>): JsonSchema => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});
const rows = (properties: Record<string, object>): object => ({
  type: "array",
  maxItems: ROWS_MAX,
  items: closed(properties),
});

export const releaseContentsSchema: JsonSchema = closed({
  images: {
    type: "array",
    maxItems: 256,
    items: closed({
      name: cell,
      digest,
      sbom: digest,
      packages: rows({ kind: cell, name: cell, version: cell, licences: cell }),
    }),
  },
  records: cell,
  vulnerabilities: rows({
    image: cell,
    id: cell,
    level: cell,
    package: cell,
    fixed: cell,
    status: { enum: ["open", "suppressed"] },
    said: cell,
  }),
  comparison: closed({
    against: cell,
    images: {
      type: "array",
      maxItems: 512,
      items: closed({
        name: cell,
        presence: { enum: ["both", "added", "removed"] },
        unchanged: count,
        rows: rows({ kind: cell, package: cell, from: cell, to: cell, detail: cell }),
      }),
    },
    alarms: count,
    isScanned: { type: "boolean" },
    records: cell,
  }),
  leftOut: count,
});
