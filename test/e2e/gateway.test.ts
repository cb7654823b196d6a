/**
 * The whole way of a request without an engine: the front, Postgres and the model from their images, and
 * gateway, audit and pii as processes of their sources, over TLS and mutual TLS on loopback.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { renderTestModel, TEST_MODEL_NAME } from "../../bundles/source/test-model.ts";
import { PASSWORDS, prepareDatabase } from "../support/database-process.ts";
import {
  eventually,
  freePort,
  killStarted,
  lockedImages,
  PROJECT,
  cannotStart as skip,
  startImage,
  unpackImage,
} from "../support/image-process.ts";
import { ask, textOf } from "../support/service-client.ts";
import { issueTestCertificate } from "../support/test-certificate.ts";
import { testIdentities } from "../support/test-identities.ts";
import { principalKeyFile } from "../support/test-principals.ts";

const CANARY = "canary-86fd21";
const SERVICES = join(PROJECT, "compose/services");
const TOGETHER_MS = 30_000;

let work = "";
const children: ChildProcess[] = [];
const cleanups: (() => Promise<void>)[] = [];
/** What every process of ours wrote. */
let written = "";

interface Site {
  readonly clientPort: number;
  readonly adminPort: number;
  readonly auditAdminPort: number;
  readonly key: string;
  readonly gateway: ChildProcess;
  readonly data: string;
  readonly logDirectory: string;
  readonly authority: string;
  readonly authorityFile: string;
  startGateway(): Promise<ChildProcess>;
}
let site: Site;

before(async () => {
  if (skip) return;
  work = await mkdtemp(join(tmpdir(), "sealift-gateway-"));
  await chmod(work, 0o755);
  site = await startSite();
});

after(async () => {
  for (const child of children) child.kill("SIGKILL");
  for (const clean of cleanups) await clean();
  await killStarted();
  if (work !== "") await rm(work, { recursive: true, force: true });
});

function startService(script: string, env: Readonly<Record<string, string>>): ChildProcess {
  const child = spawn(process.execPath, [join(SERVICES, script)], { env, stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (piece) => {
      written += piece;
    });
  }
  return child;
}

async function runTask(script: string, env: Readonly<Record<string, string>>): Promise<Record<string, unknown>> {
  const child = spawn(process.execPath, [join(SERVICES, script)], { env, stdio: ["ignore", "pipe", "inherit"] });
  const text = textOf(child.stdout);
  const [status] = await once(child, "close");
  assert.equal(status, 0, script);
  return JSON.parse(await text) as Record<string, unknown>;
}

async function file(name: string, content: string | Buffer): Promise<string> {
  const path = join(work, name);
  await writeFile(path, content);
  return path;
}

async function isUp(port: number, path: string): Promise<void> {
  const end = performance.now() + TOGETHER_MS;
  for (;;) {
    const answer = await ask(port, path).catch(() => undefined);
    if (answer?.status === 200) return;
    assert.ok(performance.now() < end, `${path} on ${port}: ${answer?.body}\n${written.slice(-2_000)}`);
    await sleep(50);
  }
}

async function startSite(): Promise<Site> {
  const { images } = await lockedImages(work, ["front", "model", "postgres"]);
  const unpack = (name: string) => unpackImage(images[name] ?? assert.fail(name), name, work);
  const context = { after: (clean: () => Promise<void>) => void cleanups.push(clean) };
  const postgres = await prepareDatabase(context, await unpack("postgres"), work);
  const postgresProcess = postgres.start();
  await eventually("postgres", postgresProcess, () => postgres.ask("gateway", PASSWORDS.gateway, "SELECT 1"));

  const modelImage = await unpack("model");
  await writeFile(join(modelImage.rootfs, "models/model.gguf"), renderTestModel(), { mode: 0o444 });
  const modelPort = await freePort();
  startImage(modelImage, {
    env: {
      LLAMA_ARG_HOST: "127.0.0.1",
      LLAMA_ARG_PORT: String(modelPort),
      LLAMA_ARG_ALIAS: TEST_MODEL_NAME,
      LLAMA_ARG_CTX_SIZE: "8192",
      LLAMA_ARG_N_PARALLEL: "2",
      LLAMA_ARG_THREADS: "1",
    },
  });

  const common = { LISTEN_HOST: "127.0.0.1", RELEASE: "1.2.3" };
  const database = { DATABASE_HOST: "127.0.0.1", DATABASE_PORT: String(postgres.port), DATABASE_NAME: "gateway" };
  const owner = {
    ...database,
    DATABASE_USER: "gateway_owner",
    DATABASE_PASSWORD_FILE: await file("owner-password", PASSWORDS.gateway_owner),
  };
  const pepperFile = await file("pepper", "c".repeat(64));
  await runTask("gateway/src/migrate.ts", owner);
  const made = await runTask("gateway/src/credentials.ts", {
    ...owner,
    API_KEY_PEPPER_FILE: pepperFile,
    MODELS: TEST_MODEL_NAME,
  });

  const identities = testIdentities(work);
  const [auditPort, auditAdminPort, piiPort, piiAdminPort, gatewayPort, adminPort] = await Promise.all(
    Array.from({ length: 6 }, freePort),
  );
  const ports = (port: number | undefined, admin: number | undefined) => ({
    LISTEN_PORT: String(port),
    ADMIN_PORT: String(admin),
  });
  const logDirectory = join(work, "log");
  await mkdir(logDirectory);
  const { privateKey } = generateKeyPairSync("ed25519");
  startService("audit/src/main.ts", {
    ...common,
    ...ports(auditPort, auditAdminPort),
    IDENTITY_FILE: identities.path("audit"),
    LOG_DIRECTORY: logDirectory,
    CHECKPOINT_KEY_FILE: await file("checkpoint.pem", privateKey.export({ type: "pkcs8", format: "pem" })),
    PRINCIPAL_KEY_FILE: principalKeyFile(work, "audit"),
  });
  startService("pii/src/main.ts", {
    ...common,
    ...ports(piiPort, piiAdminPort),
    IDENTITY_FILE: identities.path("pii"),
    PRINCIPAL_KEY_FILE: principalKeyFile(work, "pii"),
  });
  const { authority, cert, key } = issueTestCertificate();
  const gatewayEnv = {
    ...common,
    ...ports(gatewayPort, adminPort),
    ...database,
    DATABASE_USER: "gateway",
    DATABASE_PASSWORD_FILE: await file("service-password", PASSWORDS.gateway),
    UPSTREAM_URL: `http://127.0.0.1:${modelPort}`,
    AUDIT_URL: `https://127.0.0.1:${auditPort}`,
    PII_URL: `https://127.0.0.1:${piiPort}`,
    IDENTITY_FILE: identities.path("gateway"),
    API_KEY_PEPPER_FILE: pepperFile,
    RECORD_KEY_FILE: await file("record-key", "d".repeat(64)),
    AUDIT_PRINCIPAL_KEY_FILE: principalKeyFile(work, "audit"),
    PII_PRINCIPAL_KEY_FILE: principalKeyFile(work, "pii"),
    MODELS: TEST_MODEL_NAME,
    TLS_CERTIFICATE_FILE: await file("server.pem", cert),
    TLS_KEY_FILE: await file("server-key.pem", key),
  };
  const startGateway = async (): Promise<ChildProcess> => {
    const gateway = startService("gateway/src/main.ts", gatewayEnv);
    await isUp(adminPort as number, "/readyz");
    return gateway;
  };
  const gateway = await startGateway();
  // The model is loaded when it answers, which is later than that the gateway is ready.
  await isUp(adminPort as number, "/canary");
  return {
    clientPort: await startFront(await unpack("front"), gatewayPort as number, adminPort as number),
    adminPort: adminPort as number,
    auditAdminPort: auditAdminPort as number,
    key: String(made["key"]),
    gateway,
    data: postgres.data,
    logDirectory,
    authority,
    authorityFile: await file("authority.pem", authority),
    startGateway,
  };
}

/** The front's own configuration, with addresses of this machine in place of the containers'. */
async function startFront(
  image: Awaited<ReturnType<typeof unpackImage>>,
  port: number,
  adminPort: number,
): Promise<number> {
  const [clientPort, monitorPort] = [await freePort(), await freePort()];
  const path = join(image.rootfs, "etc/haproxy/haproxy.cfg");
  const config = (await readFile(path, "utf8"))
    .replace("bind :8080", `bind 127.0.0.1:${clientPort}`)
    .replace("bind :8404", `bind 127.0.0.1:${monitorPort}`)
    .replaceAll(/gateway-(?:blue|green):8443/g, `127.0.0.1:${port}`)
    .replaceAll("check port 8081", `check port ${adminPort}`)
    .replaceAll(/ resolvers engine resolve-prefer ipv4 init-addr libc,none/g, "");
  await writeFile(path, config);
  await mkdir(join(image.rootfs, "etc/haproxy/switch"), { recursive: true });
  await writeFile(join(image.rootfs, "etc/haproxy/switch/active.map"), "active blue\n", { mode: 0o644 });
  const front = startImage(image);
  await eventually("the front", front, async () => {
    const { body } = await ask(monitorPort, "/switch");
    assert.match(body, /"blue":1/);
  });
  return clientPort;
}

interface Streaming {
  readonly response: IncomingMessage;
  readonly text: Promise<string>;
}

function post(body: object, agent: Agent): Promise<IncomingMessage> {
  const bytes = JSON.stringify(body);
  const sent = request({
    agent,
    host: "127.0.0.1",
    port: site.clientPort,
    servername: "localhost",
    path: "/v1/chat/completions",
    method: "POST",
    headers: { authorization: `Bearer ${site.key}`, "content-length": Buffer.byteLength(bytes) },
  });
  sent.end(bytes);
  return once(sent, "response").then(([response]) => response as IncomingMessage);
}

async function stream(agent: Agent): Promise<Streaming> {
  const messages = [{ role: "user", content: CANARY }];
  const response = await post({ model: TEST_MODEL_NAME, messages, stream: true, max_tokens: 2_000 }, agent);
  return { response, text: textOf(response) };
}

test("the official client gets models, answers, streams and errors through front, TLS and every gate", {
  skip,
}, async () => {
  const script = join(PROJECT, "test/support/ask-gateway.ts");
  const child = spawn(process.execPath, [script, `https://localhost:${site.clientPort}/v1`, TEST_MODEL_NAME], {
    env: { API_KEY: site.key, NODE_EXTRA_CA_CERTS: site.authorityFile, PROMPT: `${CANARY} says jane.roe@corp.example` },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const text = await textOf(child.stdout);
  const { pieces, usage, finish, ...rest } = JSON.parse(text) as { pieces: number; usage: number; finish: string };
  assert.deepEqual(rest, { models: [TEST_MODEL_NAME], refused: "model-not-allowed", release: "1.2.3" });
  // The test model says what comes to its mind, and sometimes that is all.
  assert.ok(usage >= 1 && usage <= 16, String(usage));
  assert.ok(["length", "stop"].includes(finish), finish);
  assert.ok(pieces > 1);
});

test("many requests over few kept connections are all answered, and each has its two records", { skip }, async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 4, ca: site.authority });
  const messages = [{ role: "user", content: CANARY }];
  const statuses = await Promise.all(
    Array.from({ length: 60 }, async () => {
      const response = await post({ model: TEST_MODEL_NAME, messages, max_tokens: 2 }, agent);
      await textOf(response);
      return response.statusCode;
    }),
  );
  assert.deepEqual(new Set(statuses), new Set([200]));
  agent.destroy();
});

test("a gateway that stops lets its streams end, asks kept clients to go, and ends with 0", { skip }, async () => {
  const agent = new Agent({ keepAlive: true, ca: site.authority });
  const { response, text } = await stream(agent);
  await once(response, "readable");
  site.gateway.kill("SIGTERM");
  assert.match(await text, /data: \[DONE\]\n\n$/);
  // The kept connection is still good for one more request, whose answer says that it was the last.
  const last = await post({ model: TEST_MODEL_NAME, messages: [{ role: "user", content: "x" }], max_tokens: 1 }, agent);
  await textOf(last);
  assert.deepEqual([last.statusCode, last.headers["connection"]], [200, "close"]);
  agent.destroy();
  const [status] = await once(site.gateway, "exit");
  assert.equal(status, 0);
  await site.startGateway();
});

test("what was said is nowhere on disk: not in the log, not in the database, not in what the services print", {
  skip,
}, async () => {
  for (const directory of [site.logDirectory, site.data]) {
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const bytes = await readFile(join(entry.parentPath, entry.name)).catch(() => Buffer.alloc(0));
      for (const word of [CANARY, "jane.roe", site.key]) assert.ok(!bytes.includes(word), `${entry.name}: ${word}`);
    }
  }
  for (const word of [CANARY, "jane.roe", site.key]) assert.ok(!written.includes(word), word);
  const segments = await readdir(join(site.logDirectory, "segments"));
  const log = Buffer.concat(
    await Promise.all(segments.map((name) => readFile(join(site.logDirectory, "segments", name)))),
  );
  const count = (type: string): number => log.toString("latin1").split(`"type":"${type}"`).length - 1;
  assert.ok(count("request.allowed") > 60, "the log is where it is looked for");
  assert.equal(count("request.allowed"), count("request.settled"));
  assert.equal(count("request.refused.model"), 1);
});
