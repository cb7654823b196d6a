import assert from "node:assert/strict";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { unfitForCanonicalJson } from "../../bundles/model/json-limits.ts";

const unfit: Readonly<Record<string, string>> = {
  "1e999": "a number that is too large",
  '{"a":[0,-1191e11111]}': "a number that is too large",
  '["\\ud800"]': "a string that is no Unicode text",
  '{"\\udfff":1}': "a string that is no Unicode text",
  [`${"[".repeat(129)}${"]".repeat(129)}`]: "nested deeper than 128 levels",
};

for (const [json, why] of Object.entries(unfit)) {
  test(`${json.slice(0, 30)} has no canonical form: ${why}`, () => {
    assert.equal(unfitForCanonicalJson(JSON.parse(json)), why);
  });
}

test("what is fit has a canonical form", () => {
  for (const json of ['{"a":[1.7976931348623157e308,-0,5e-324,1e-999],"é":"\\ud83d\\ude00"}', "null", "[]"]) {
    const value = JSON.parse(json) as unknown;
    assert.equal(unfitForCanonicalJson(value), undefined);
    assert.ok(canonicalJson(value).length > 0);
  }
});
