import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { siteLogs } from "../../../installer/audit/site-log.ts";
import { statePaths } from "../../../installer/site/state.ts";
import { openLog, testKey } from "../../compose/services/audit/audit-directory.ts";
import { scratch } from "../../support/scratch.ts";

const SITE_ID = "0123456789abcdef0123456789abcdef";

/** An engine that knows these volumes, all of them of the site that is asked for. */
async function engineWith(t: TestContext, root: string, mountpoints: readonly string[]): Promise<string> {
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://engine");
    const filters = JSON.parse(searchParams.get("filters") ?? "{}") as { label?: unknown };
    assert.match(pathname, /\/volumes$/);
    assert.deepEqual(filters.label, [`sealift.site=${SITE_ID}`]);
    const volumes = mountpoints.map((Mountpoint, i) => ({ Name: `volume-${i}`, Mountpoint }));
    response.setHeader("content-type", "application/json").end(JSON.stringify({ Volumes: volumes }));
  });
  const socketPath = join(root, "engine.sock");
  server.listen(socketPath);
  await once(server, "listening");
  t.after(() => void server.close());
  return socketPath;
}

test("the log of a site is found in its volumes, and its key among the secrets", async (t) => {
  const root = await scratch(t);
  const [database, audit, state] = [join(root, "database"), join(root, "audit"), join(root, "state")];
  for (const directory of [database, audit, join(state, "secrets/audit")]) await mkdir(directory, { recursive: true });
  await (await openLog(audit)).close();
  const key = join(state, "secrets/audit/checkpoint-key.pub");
  const pem = createPublicKey(testKey.export({ format: "pem", type: "pkcs8" })).export({ format: "pem", type: "spki" });
  await writeFile(join(state, "secrets/audit/checkpoint-key"), testKey.export({ format: "pem", type: "pkcs8" }));
  await writeFile(key, pem);
  const socketPath = await engineWith(t, root, [audit, database, join(root, "gone")]);
  const site = { siteId: SITE_ID, paths: statePaths(state) };
  assert.deepEqual(await siteLogs({ socketPath }, site), [{ directory: audit, publicKey: key }]);
});

test("a site without a log has none, and an engine that does not answer is told", async (t) => {
  const root = await scratch(t);
  const site = { siteId: SITE_ID, paths: statePaths(join(root, "state")) };
  assert.deepEqual(await siteLogs({ socketPath: await engineWith(t, root, [root]) }, site), []);
  await assert.rejects(siteLogs({ socketPath: join(root, "nobody") }, site), { code: /^ENGINE_/ });
});
