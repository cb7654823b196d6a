import assert from "node:assert/strict";
import { test } from "node:test";
import { kitBuild } from "../../installer/commands/kit-build.ts";
import { createTerminal } from "../../installer/ui/terminal.ts";

async function refusal(
  options: Readonly<Record<string, string | string[]>>,
  args: readonly string[] = [],
): Promise<unknown[]> {
  const terminal = createTerminal({ json: true });
  const error: unknown = await kitBuild.run({ args, options, terminal }).then(
    () => assert.fail("it must be refused"),
    (cause: unknown) => cause,
  );
  const { code, exit } = error as { code?: string; exit?: number };
  return [code, exit];
}

const good = { platform: "linux/amd64", out: "/no/such/directory/kit.tar" };

test("kit build refuses what it cannot do, before it fetches anything", async () => {
  assert.deepEqual(await refusal({ out: good.out }), ["USAGE", 2]);
  assert.deepEqual(await refusal({ platform: good.platform }), ["USAGE", 2]);
  assert.deepEqual(await refusal(good, ["extra"]), ["USAGE", 2]);
  assert.deepEqual(await refusal({ ...good, platform: "linux/riscv64" }), ["KIT_PLATFORM_UNSUPPORTED", 2]);
  assert.deepEqual(await refusal({ ...good, engine: ["debian12", "slackware"] }), ["USAGE", 2]);
  assert.deepEqual(await refusal({ ...good, key: "/no/such.key", "password-env": "PATH" }), ["KEY_NOT_FOUND", 4]);
});
