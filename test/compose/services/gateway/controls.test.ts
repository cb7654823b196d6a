import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { CONTROLS } from "../../../../compose/services/gateway/src/gates/controls.ts";
import { commands } from "../../../../installer/commands/commands.ts";
import { CONTROLS_PAGE, controlsPage } from "../../../support/write-controls.ts";

test("the page of controls is what the gateway runs over", () => {
  assert.equal(readFileSync(CONTROLS_PAGE, "utf8"), controlsPage(), "run test/support/write-controls.ts");
});

test("each control has an owner, what it assumes, and what shows it; settings and verbs of owners are there", async () => {
  const schema = readFileSync(join(import.meta.dirname, "../../../../compose/config.schema.json"), "utf8");
  const { properties } = JSON.parse(schema) as { properties: Readonly<Record<string, object>> };
  const verbs = [...commands.keys()];
  for (const { id, owner, assumes, promise } of CONTROLS) {
    for (const text of [owner, assumes, promise]) assert.match(text, /\S{2,} \S+/, id);
    for (const [, named = ""] of owner.matchAll(/`([^`]+)`/g)) {
      const isVerb = verbs.some(
        (verb) => verb === named || verb.startsWith(`${named} `) || named.startsWith(`${verb} `),
      );
      assert.ok(isVerb || Object.hasOwn(properties, named), `${id}: ${named}`);
    }
  }
  assert.equal(new Set(CONTROLS.map(({ id }) => id)).size, CONTROLS.length);
});

test("each control names a test that is there", () => {
  for (const { id, test: file } of CONTROLS) {
    assert.ok(existsSync(join(import.meta.dirname, "../../../..", file)), `${id}: ${file}`);
  }
});
