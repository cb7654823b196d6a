import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { type RunningGateway, startGateway } from "../../../../compose/services/gateway/src/gateway.ts";
import { type GatewaySettings, readSettings } from "../../../../compose/services/gateway/src/settings.ts";
import { createLog } from "../../../../compose/services/service-kit/src/log.ts";
import { SettingsError } from "../../../../compose/services/service-kit/src/settings.ts";
import { scratch } from "../../../support/scratch.ts";
import { ask, askAsFront } from "../../../support/service-client.ts";

const LINES: string[] = [];
const log = createLog("test", (line) => LINES.push(line));

async function gateway(t: TestContext, changes: Partial<GatewaySettings> = {}): Promise<RunningGateway> {
  LINES.length = 0;
  const settings = {
    host: "127.0.0.1",
    clientPort: 0,
    adminPort: 0,
    release: "1.2.3",
    leastTls: "TLSv1.2" as const,
    drainTimeoutMs: 1_000,
    ...changes,
  };
  const running = await startGateway(settings, log);
  t.after(async () => {
    await running.stop().catch(() => {});
  });
  return running;
}

test("tells clients and the appliance that it lives, and which release it is", async (t) => {
  const { clientPort, adminPort } = await gateway(t);
  for (const answer of [await askAsFront(clientPort, "/healthz?x=1"), await ask(adminPort, "/healthz")]) {
    assert.equal(answer.status, 200);
    assert.deepEqual(JSON.parse(answer.body), { status: "ok", release: "1.2.3" });
  }
  for (const path of ["/healthz", "/v1/models", "/nothing"]) {
    assert.equal((await askAsFront(clientPort, path)).headers["sealift-release"], "1.2.3", path);
  }
  assert.equal((await ask(adminPort, "/readyz")).status, 200, "ready without a database");
  assert.deepEqual(JSON.parse((await ask(adminPort, "/canary")).body), { status: "ok", release: "1.2.3" });
});

test("shows a client nothing of the appliance's own side", async (t) => {
  const { clientPort } = await gateway(t);
  for (const path of ["/readyz", "/canary"]) assert.equal((await askAsFront(clientPort, path)).status, 404);
});

test("is not ready without its database, says so within the time limit, and asks it once a second", async (t) => {
  let connections = 0;
  // Takes connections and says nothing: the worst database.
  const silent = createServer((socket) => {
    connections += 1;
    socket.on("error", () => {});
    t.after(() => void socket.destroy());
  });
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.after(() => void silent.close());
  const passwordFile = join(await scratch(t), "password");
  await writeFile(passwordFile, "secret-password\n");
  const address = silent.address() as { port: number };
  const database = { host: "127.0.0.1", port: address.port, name: "d", user: "u", passwordFile };
  const { adminPort: port } = await gateway(t, { database });
  const started = performance.now();
  const answers = await Promise.all([1, 2, 3, 4].map(() => ask(port, "/readyz")));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([503]));
  assert.equal(JSON.parse(answers[0]?.body ?? "").type, "https://sealift.dev/problems/not-ready");
  assert.equal((await ask(port, "/readyz")).status, 503);
  assert.ok(performance.now() - started < 6_000);
  assert.equal(connections, 2, "the look at its role, then one question");
  assert.equal((await ask(port, "/healthz")).status, 200, "it lives all the same");
  assert.ok(!LINES.some((line) => line.includes("secret-password")));
});

test("reads its settings, and names everything that is wrong with them at once", () => {
  const settings = readSettings({ RELEASE: "1.0.0", LISTEN_PORT: "81" });
  assert.deepEqual([settings.clientPort, settings.adminPort, settings.release], [81, 8081, "1.0.0"]);
  const wrong = {
    LISTEN_PORT: "http",
    DRAIN_TIMEOUT_MS: "-1",
    DATABASE_HOST: "postgres",
    UPSTREAM_URL: "x",
    TLS_CERTIFICATE_FILE: "/c",
  };
  assert.throws(
    () => readSettings(wrong),
    (error: Error) => {
      const named = [
        "RELEASE",
        "LISTEN_PORT",
        "DRAIN_TIMEOUT_MS",
        "DATABASE_NAME",
        "DATABASE_PASSWORD_FILE",
        "UPSTREAM_URL",
        "TLS_KEY_FILE",
      ];
      for (const name of named) assert.ok(error.message.includes(name), name);
      return error instanceof SettingsError;
    },
  );
});

const MAIN = join(import.meta.dirname, "../../../../compose/services/gateway/src/main.ts");

test("starts as a process, ends with 0 after SIGTERM, and with 78 where its settings are wrong", async () => {
  const env = { RELEASE: "1.0.0", LISTEN_HOST: "127.0.0.1", LISTEN_PORT: "0", ADMIN_PORT: "0" };
  const child = spawn(process.execPath, [MAIN], { env, stdio: ["ignore", "pipe", "inherit"] });
  let port = 0;
  for await (const chunk of child.stdout) {
    const started = /"listening","port":(\d+)/.exec(String(chunk));
    if (!started) continue;
    port = Number(started[1]);
    break;
  }
  // Leaving the loop closed the pipe: whoever reads the log may go away, and the service stays.
  assert.ok(port > 0);
  child.kill("SIGTERM");
  const [status] = await once(child, "exit");
  assert.equal(status, 0);
  const wrong = spawn(process.execPath, [MAIN], { env: {}, stdio: "ignore" });
  assert.deepEqual((await once(wrong, "exit"))[0], 78);
});
