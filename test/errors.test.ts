import assert from "node:assert/strict";
import test from "node:test";
import { allCodes, sections } from "./support/error-list.ts";

test("runbooks/errors.md explains every code once, and no code that does not exist", async () => {
  const codes = await allCodes();
  assert.ok(codes.size > 150 && codes.has("LAYOUT_INDEX_DIFFERS") && codes.has("LAUNCHER_INCOMPLETE"));
  const explained = sections().map(({ code }) => code);
  assert.deepEqual(
    {
      missing: [...codes.keys()].filter((code) => !explained.includes(code)),
      unknown: explained.filter((code) => !codes.has(code)),
    },
    { missing: [], unknown: [] },
  );
  assert.deepEqual(
    explained,
    [...new Set(explained)].sort(),
    "once each, sorted by code: node test/support/sort-errors.ts",
  );
});

test("each explanation begins with the exit code and says what to do in a few plain sentences", async () => {
  const codes = await allCodes();
  for (const { code, text } of sections()) {
    const exit = codes.get(code);
    if (exit === undefined) continue;
    assert.ok(text.startsWith(`Exit ${exit}. `), `${code}: want it to begin with "Exit ${exit}. "`);
    const sentences = text.split(/[.!?](?:\s|$)/).length - 2;
    assert.ok(sentences >= 1 && text.length < 700, `${code}: got ${sentences} sentences, ${text.length} characters`);
    assert.doesNotMatch(text, /TODO|TBD|FIXME/);
  }
});

test("codes name an area and a condition", async () => {
  for (const code of (await allCodes()).keys()) {
    if (["USAGE", "INTERNAL"].includes(code)) continue;
    assert.match(code, /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$/);
  }
});
