import assert from "node:assert/strict";
import test from "node:test";
import { commands } from "../../installer/commands/commands.ts";
import { summaries } from "../../installer/commands/summaries.ts";

test("the list of verbs says of each, in the same order, what the verb says of itself", async () => {
  const ofVerbs = await Promise.all([...commands].map(async ([name, load]) => [name, (await load()).summary] as const));
  assert.deepEqual(Object.entries(summaries), ofVerbs);
});
