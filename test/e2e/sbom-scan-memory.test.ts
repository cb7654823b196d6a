/** A scan reads its records one after the other: many take no more memory than few. The full size is in the benchmark. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { knownPurls, writeOsvExport } from "../support/osv-export.ts";
import { scanCost } from "../support/scan-cost.ts";
import { sbomWith } from "../support/scan-inputs.ts";
import { scratch } from "../support/scratch.ts";

test("85,000 records in OSV's form are scanned within 200 MiB", async (context) => {
  const directory = await scratch(context);
  const records = join(directory, "osv");
  // Enough for ZIP64.
  await writeOsvExport(records, { debian: 15_000, npm: 70_000 });
  const sbom = join(directory, "a.cdx.json");
  await writeFile(sbom, sbomWith(knownPurls(400)));
  const cost = scanCost(sbom, records);
  context.diagnostic(JSON.stringify(cost));
  assert.equal(cost.records, 85_000);
  assert.equal(cost.unreadable, 0);
  assert.ok(cost.findings > 300, `${cost.findings} findings`);
  assert.ok(cost.peakMiB <= 200, `${cost.peakMiB} MiB`);
});
