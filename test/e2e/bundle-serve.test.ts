import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";
import { writeSmallBundle } from "../support/small-bundle.ts";

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));

test("bundle serve listens on loopback only", async (t) => {
  const path = join(await scratch(t), "b.tar");
  await writeSmallBundle(path);
  for (const address of [
    "0.0.0.0:0",
    "192.0.2.1:5000",
    "[::]:0",
    "127.0.0.1",
    "127.0.0.1:99999",
    "127.0.0.1.example:1",
  ]) {
    const refused = await sealift(["bundle", "serve", path, "--address", address]);
    assert.equal(refused.exit, 2, address);
    assert.match(refused.stderr, /\[USAGE\]/);
  }
});

for (const [signal, exit] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test(`bundle serve answers until ${signal} and then ends with ${exit}`, async (t) => {
    const path = join(await scratch(t), "b.tar");
    await writeSmallBundle(path);
    const child = spawn(process.execPath, [MAIN, "bundle", "serve", path, "--address", "127.0.0.1:0"]);
    t.after(() => child.kill("SIGKILL"));
    const [first] = (await once(child.stdout, "data")) as [Buffer];
    const address = /serving {2}(127\.0\.0\.1:\d+)\//.exec(first.toString())?.[1];
    assert.equal((await fetch(`http://${address}/v2/`)).status, 200);
    child.kill(signal);
    const [code] = (await once(child, "exit")) as [number];
    assert.equal(code, exit);
    await assert.rejects(fetch(`http://${address}/v2/`));
  });
}
