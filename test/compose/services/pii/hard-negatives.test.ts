import assert from "node:assert/strict";
import test from "node:test";
import { judge, redact } from "../../../../compose/services/pii/src/judge.ts";
import { BUILT_IN_POLICY, CHANNELS } from "../../../../compose/services/pii/src/policy.ts";
import { scanText } from "../../../../compose/services/pii/src/scan.ts";
import { hardNegatives, MAKERS } from "./hard-negatives.ts";

const COUNT = 2_300;
const SEED = 20_261_121;

test("nothing with a score of 0.8 or more in 2,300 texts that machines write", () => {
  const texts = hardNegatives(COUNT, SEED);
  assert.equal(new Set(texts.map(({ kind }) => kind)).size, Object.keys(MAKERS).length);
  const wrong = texts.flatMap(({ kind, text }) =>
    scanText(text)
      .filter(({ score }) => score >= 0.8)
      .map((finding) => `${kind}: ${finding.class} ${text.slice(finding.start, finding.end)}`),
  );
  assert.deepEqual(wrong, []);
});

test("the built-in policy changes and blocks none of them", () => {
  for (const { kind, text } of hardNegatives(COUNT, SEED)) {
    for (const channel of CHANNELS) {
      const findings = judge(scanText(text), BUILT_IN_POLICY, "t", channel);
      assert.equal(redact(text, text.length, findings), text, kind);
      assert.deepEqual(
        findings.filter(({ action }) => action === "deny"),
        [],
        kind,
      );
    }
  }
});
