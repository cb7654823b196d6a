/**
 * Recall on the synthetic data set of Microsoft's presidio-research (data/synth_dataset_v2.json, MIT), which is
 * not in this repository: SEALIFT_PII_DATASET names a copy. A value counts as found if one finding of the right
 * class, with a score of 0.8 or more, covers all of it.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import { fileURLToPath } from "node:url";
import type { PiiClass } from "../../../../compose/services/pii/src/classes.ts";
import { scanText } from "../../../../compose/services/pii/src/scan.ts";

const DATASET =
  process.env["SEALIFT_PII_DATASET"] ??
  fileURLToPath(new URL("../../../../../shared/vectors/presidio-research/synth_dataset_v2.json", import.meta.url));
const skip = existsSync(DATASET) ? false : "the data set is not on this machine";

interface Entry {
  readonly full_text: string;
  readonly spans: readonly {
    readonly entity_type: string;
    readonly start_position: number;
    readonly end_position: number;
  }[];
}

const GOALS: Readonly<Record<string, readonly [PiiClass, number]>> = {
  CREDIT_CARD: ["payment-card", 1],
  IBAN_CODE: ["iban", 1],
  US_SSN: ["us-ssn", 1],
  EMAIL_ADDRESS: ["email", 1],
  IP_ADDRESS: ["ip-address", 1],
  PHONE_NUMBER: ["phone", 0.85],
};
/** What the data set labels and this service does not look for. */
const OUT_OF_SCOPE = ["PERSON", "STREET_ADDRESS", "AGE", "ORGANIZATION", "US_DRIVER_LICENSE"];
const MIN_SCORE = 0.8;

test("finds what the data set has of each class, and nothing in its texts without any", { skip }, (t) => {
  const entries = JSON.parse(readFileSync(DATASET, "utf8")) as Entry[];
  const counts = new Map<string, { all: number; found: number }>();
  let clean = 0;
  let changed = 0;
  for (const { full_text: text, spans } of entries) {
    const findings = scanText(text).filter(({ score }) => score >= MIN_SCORE);
    if (spans.length === 0) {
      clean++;
      if (findings.length > 0) changed++;
    }
    for (const { entity_type: type, start_position: start, end_position: end } of spans) {
      const [piiClass] = GOALS[type] ?? [];
      const count = counts.get(type) ?? { all: 0, found: 0 };
      count.all++;
      if (findings.some((found) => found.class === piiClass && found.start <= start && found.end >= end)) count.found++;
      counts.set(type, count);
    }
  }
  for (const [type, [piiClass, goal]] of Object.entries(GOALS)) {
    const { all, found } = counts.get(type) ?? { all: 0, found: 0 };
    t.diagnostic(`${piiClass}: ${found} of ${all}`);
    assert.ok(all > 0 && found / all >= goal, `${piiClass}: ${found} of ${all}`);
  }
  for (const type of OUT_OF_SCOPE)
    t.diagnostic(`not looked for: ${type}, ${counts.get(type)?.all ?? 0} in the data set`);
  t.diagnostic(`texts without anything personal that were changed: ${changed} of ${clean}`);
  assert.equal(changed, 0);
});
