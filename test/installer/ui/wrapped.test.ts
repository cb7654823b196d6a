import assert from "node:assert/strict";
import { test } from "node:test";
import { wrapped } from "../../../installer/ui/terminal.ts";

test("a line that fits stays as it is", () => {
  for (const line of ["", "  - a bullet", "one two three"]) assert.deepEqual(wrapped(line, 72), [line]);
});

test("a long line is broken between words, and goes on below where its text began", () => {
  assert.deepEqual(wrapped("  --cpu MODEL   the model that QEMU shows to the guest", 40), [
    "  --cpu MODEL   the model that QEMU",
    "                shows to the guest",
  ]);
  assert.deepEqual(wrapped("  - a bullet with more words than there is room for", 40), [
    "  - a bullet with more words than there",
    "    is room for",
  ]);
});

test("a word that is longer than the terminal gets a line of its own, and stays whole to be copied", () => {
  const digest = `sha256:${"0".repeat(64)}`;
  assert.deepEqual(wrapped(`  to   ${digest} and more`, 40), ["  to", `    ${digest}`, "       and more"]);
});
