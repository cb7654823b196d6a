import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSbom } from "../../sbom/document.ts";
import { judgeLicence, judgeLicences, type LicencePolicy, parseLicencePolicy } from "../../sbom/licence/evaluate.ts";
import { sbomWith } from "../support/scan-inputs.ts";

const POLICY: LicencePolicy = {
  schemaVersion: 1,
  allow: ["MIT", "Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"],
  review: ["MPL-2.0"],
  deny: ["GPL-3.0-only"],
  unlisted: "review",
  unknown: "deny",
};

test("OR takes the best, AND the worst, and a licence with an exception is one of its own", () => {
  const truth: Readonly<Record<string, string>> = {
    MIT: "allow",
    "MIT OR GPL-3.0-only": "allow",
    "MIT AND GPL-3.0-only": "deny",
    "MPL-2.0 AND MIT": "review",
    "(MPL-2.0 OR MIT) AND Apache-2.0": "allow",
    "GPL-3.0-only OR (MIT AND GPL-3.0-only)": "deny",
    "GPL-2.0-only WITH Classpath-exception-2.0": "allow",
    "GPL-2.0-only": "review",
    "BSD-3-Clause": "review",
    "LicenseRef-own": "review",
  };
  for (const [text, want] of Object.entries(truth)) {
    assert.deepEqual(judgeLicence(text, POLICY), { rule: want, isUnknown: false }, text);
  }
  for (const text of ["", "free as in beer", "MIT AND", "see LICENSE"]) {
    assert.deepEqual(judgeLicence(text, POLICY), { rule: "deny", isUnknown: true }, text);
  }
});

test("several licences of one package are a sum, and none is unknown", () => {
  const component = (name: string, ...ids: readonly string[]): object => ({
    type: "library",
    name,
    licenses: ids.map((id) => ({ license: { id } })),
  });
  const expression = { type: "library", name: "e", licenses: [{ expression: "MIT OR GPL-3.0-only" }] };
  const system = { type: "operating-system", name: "debian" };
  const components = [component("a", "MIT", "GPL-3.0-only"), component("b", "MIT"), component("c"), expression, system];
  const found = judgeLicences(parseSbom(sbomWith([], { components })), POLICY);
  assert.deepEqual(
    found.map(({ package: name, rule, isUnknown }) => [name, rule, isUnknown]),
    [
      ["a@", "deny", false],
      ["b@", "allow", false],
      ["c@", "deny", true],
      ["e@", "allow", false],
    ],
  );
  assert.deepEqual(found[0]?.decided, ["GPL-3.0-only"]);
});

test("refuses a policy that would not do what it says", () => {
  const bad: readonly object[] = [
    { ...POLICY, deny: ["GPL3"] },
    { ...POLICY, deny: ["GPL-3.0-only OR MIT"] },
    { ...POLICY, deny: ["MIT"] },
    { ...POLICY, unknown: "ignore" },
    { ...POLICY, extra: 1 },
    { ...POLICY, unlisted: undefined },
  ];
  for (const one of bad) {
    const bytes = Buffer.from(JSON.stringify(one));
    assert.throws(() => parseLicencePolicy(bytes), { code: "LICENCE_POLICY_MALFORMED" }, JSON.stringify(one));
  }
  assert.throws(() => parseLicencePolicy(Buffer.from("{")), { code: "LICENCE_POLICY_MALFORMED" });
  assert.deepEqual(parseLicencePolicy(Buffer.from(JSON.stringify(POLICY))), POLICY);
});
