import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { containerLog } from "../../../compose/engine/container-log.ts";
import type { EngineTools } from "../../../compose/engine/engine.ts";
import { scratch } from "../../support/scratch.ts";

/** An engine whose docker is a script. */
async function engineWith(t: TestContext, script: string): Promise<EngineTools> {
  const directory = await scratch(t);
  const dockerPath = join(directory, "docker");
  writeFileSync(dockerPath, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return { socketPath: join(directory, "socket"), dockerPath, composePath: "/nonexistent", configDirectory: directory };
}

test("both streams come in the order of their times", async (t) => {
  const engine = await engineWith(t, 'echo "2026-01-01T00:00:02Z b"; echo "2026-01-01T00:00:01Z a" >&2');
  assert.equal(
    (await containerLog(engine, "id", 1_000)).toString(),
    "2026-01-01T00:00:01Z a\n2026-01-01T00:00:02Z b\n",
  );
});

test("of more than may be kept the end is kept, whole lines of it", async (t) => {
  const engine = await engineWith(t, "/usr/bin/seq -f '%05.0f' 1 20000");
  const log = (await containerLog(engine, "id", 100)).toString();
  assert.ok(log.length <= 100 && log.length > 90, log);
  assert.match(log, /^(?:\d{5}\n)+$/);
  assert.ok(log.endsWith("20000\n"));
});

test("a container that wrote nothing has an empty log, and a docker that never ends is an error", async (t) => {
  assert.equal((await containerLog(await engineWith(t, ":"), "id", 100)).length, 0);
  const endless = await engineWith(t, "exec /usr/bin/yes");
  await assert.rejects(containerLog(endless, "id", 100), { code: "ENGINE_CALL_FAILED" });
});
