import assert from "node:assert/strict";
import test from "node:test";
import { plainLines } from "../../bundles/model/plain-text.ts";

test("of lines nothing but their ends and tabs acts on a terminal", () => {
  assert.equal(plainLines("a\tb\n\u001b[2Jc\r\u202e\u009b\u2028"), "a\tb\n\\u{1b}[2Jc\\u{d}\\u{202e}\\u{9b}\\u{2028}");
  assert.equal(plainLines("plain text, ä and 字 too"), "plain text, ä and 字 too");
});
