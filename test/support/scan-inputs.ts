/** Small SBOMs and OSV records for tests of the scan. */
import { digestOf } from "../../bundles/model/digest.ts";
import type { ScanReport } from "../../sbom/scan/report.ts";
import { type ScanOptions, scanSboms } from "../../sbom/scan/scan.ts";
import { DEFAULT_SCAN_POLICY } from "../../sbom/scan/scan-policy.ts";
import { snapshotOnDisk } from "../../sbom/scan/snapshot-on-disk.ts";
import { NO_CLAIMS } from "../../sbom/scan/statements.ts";

export const SERIAL = "urn:uuid:6f2f1c6e-8b9b-4c8f-9c0e-0a2b4c6d8e1f";
export const IMAGE = `sha256:${"a".repeat(64)}`;

/** A document about an image with these package URLs. */
export function sbomWith(purls: readonly string[], more: object = {}): Buffer {
  return Buffer.from(
    JSON.stringify({
      bomFormat: "CycloneDX",
      specVersion: "1.6",
      serialNumber: SERIAL,
      metadata: {
        timestamp: "2026-01-02T03:04:05Z",
        component: {
          type: "container",
          name: "test",
          "bom-ref": "image",
          purl: `pkg:oci/test@${IMAGE.replace(":", "%3A")}`,
        },
      },
      components: purls.map((purl) => ({ type: "library", name: "x", "bom-ref": purl, purl })),
      ...more,
    }),
  );
}

export interface RecordParts {
  readonly id?: string;
  readonly ecosystem?: string;
  readonly name?: string;
  readonly events?: readonly object[];
  readonly versions?: readonly string[];
  readonly more?: object;
}

export function osvRecord(parts: RecordParts = {}): object {
  const { id = "TEST-1", ecosystem = "npm", name = "lib", events = [{ introduced: "0" }], versions, more } = parts;
  return {
    id,
    modified: "2026-01-01T00:00:00Z",
    affected: [
      { package: { ecosystem, name }, ranges: [{ type: "ECOSYSTEM", events }], ...(versions ? { versions } : {}) },
    ],
    ...more,
  };
}

export function ndjson(records: readonly object[]): string {
  return records.map((record) => `${JSON.stringify(record)}\n`).join("");
}

/** The report on one SBOM, as of 2026-01-03 and with the default policy unless `options` say otherwise. */
export async function scanOne(
  sbom: Buffer,
  database: string,
  options: Partial<Omit<ScanOptions, "database">> = {},
): Promise<ScanReport> {
  return scanSboms([{ name: "test", digest: undefined, sbom }], {
    database: snapshotOnDisk(database),
    databaseSigners: () => [],
    policy: DEFAULT_SCAN_POLICY,
    policyDigest: digestOf("policy"),
    at: new Date("2026-01-03T00:00:00Z"),
    claims: NO_CLAIMS,
    onProgress: () => {},
    ...options,
  });
}

export function denialsOf(report: ScanReport): string[] {
  return report.denials.map(({ code }) => code);
}
