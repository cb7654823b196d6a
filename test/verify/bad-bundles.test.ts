import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { badBundles, type Exhibit, goodExhibit } from "../support/bad-bundles.ts";
import { judge } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";

async function judged(context: { after(work: () => Promise<void>): void }, exhibit: Exhibit) {
  const path = join(await scratch(context), "bundle");
  await writeFile(path, exhibit.bytes);
  return judge(path, exhibit);
}

test("allows the bundle from which the bad ones are made", async (t) => {
  const verdict = await judged(t, goodExhibit);
  assert.deepEqual(
    verdict.findings.filter(({ status }) => status === "fail" || status === "error"),
    [],
  );
  assert.equal(verdict.decision, "allow");
});

for (const bad of badBundles) {
  test(`refuses ${bad.name}`, async (t) => {
    const verdict = await judged(t, bad.make());
    const wrong = verdict.findings.filter(({ status }) => status === "fail" || status === "error");
    const codes = wrong.map(({ check, code }) => `${check} ${code}`);
    assert.equal(verdict.decision, "deny");
    assert.ok(codes.includes(`${bad.check} ${bad.code}`), `got ${JSON.stringify(wrong, null, 1)}`);
    assert.ok(!verdict.findings.some(({ status }) => status === "error"), `an error is a defect: ${codes.join(", ")}`);
  });
}
