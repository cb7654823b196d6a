/**
 * What is in a release, for a reviewer to read beside the verdict: packages, known vulnerabilities and what changed
 * since an earlier release. It decides nothing. It comes out of the cage as texts in rows, so that whoever shows it
 * parses no document of the bundle.
 */

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
  readonly image: string;
  readonly change: string;
  readonly package: string;
  readonly from: string;
  readonly to: string;
  readonly detail: string;
}

export interface ReleaseContents {
  readonly images: readonly ImagePackages[];
  /** Age, digest and number of the records, or why nothing was looked up: then there are no rows. */
  readonly records: string;
  readonly vulnerabilities: readonly VulnerabilityRow[];
  /** The earlier release, or why there is none to compare with: then there are no rows. */
  readonly against: string;
  readonly changes: readonly ChangeRow[];
  /** Packages of the same version with other bytes. */
  readonly alarms: number;
  /** Rows beyond ROWS_MAX, of all tables. */
  readonly leftOut: number;
}

/** Of each table: more than a person reads, and less than a browser refuses. */
export const ROWS_MAX = 20_000;
export const CELL_MAX_LENGTH = 512;

const cell = { type: "string", maxLength: CELL_MAX_LENGTH + 1 };
const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
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
  against: cell,
  changes: rows({ image: cell, change: cell, package: cell, from: cell, to: cell, detail: cell }),
  alarms: { type: "integer", minimum: 0 },
  leftOut: { type: "integer", minimum: 0 },
});
