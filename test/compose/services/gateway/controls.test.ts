import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { CONTROLS } from "../../../../compose/services/gateway/src/gates/controls.ts";
import { CONTROLS_PAGE, controlsPage } from "../../../support/write-controls.ts";

test("the page of controls is what the gateway runs over", () => {
  assert.equal(readFileSync(CONTROLS_PAGE, "utf8"), controlsPage(), "run test/support/write-controls.ts");
});

test("each control names a test that is there", () => {
  for (const { id, test: file } of CONTROLS) {
    assert.ok(existsSync(join(import.meta.dirname, "../../../..", file)), `${id}: ${file}`);
  }
});
