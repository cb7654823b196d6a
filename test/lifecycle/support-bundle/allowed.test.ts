import assert from "node:assert/strict";
import test from "node:test";
import {
  boolean,
  DIGEST,
  either,
  ID,
  list,
  map,
  NAME,
  namesOnly,
  nothing,
  number,
  object,
  oneOf,
  PATH,
  TIME,
  VERSION,
} from "../../../installer/lifecycle/support-bundle/allowed.ts";
import { shownLines } from "../../../installer/lifecycle/support-bundle/log-lines.ts";
import { COMPOSE, CONFIG, CONTAINER, FSCK } from "../../../installer/lifecycle/support-bundle/shapes.ts";

test("what a list does not name, or what is of another kind, does not come through", () => {
  const shape = object({ a: number, b: boolean, c: oneOf("x", "y"), d: list(NAME), e: either(nothing, DIGEST) });
  assert.deepEqual(shape({ a: 1, b: true, c: "y", d: ["ok", "Not", 3], e: null, f: "secret" }), {
    ...{ a: 1, b: true, c: "y", d: ["ok"], e: null },
  });
  assert.deepEqual(shape({ a: "1", b: "true", c: "z", d: "ok", e: "sha256:no" }), {});
  for (const other of [null, [], "a", 1, undefined]) assert.equal(shape(other), undefined);
  assert.deepEqual(number(Number.NaN), undefined);
  assert.deepEqual(object({ toString: NAME })(Object.create({ toString: "inherited" })), {});
  assert.deepEqual(map(/^[a-z]+$/, number)({ ok: 1, Not: 2, text: "x" }), { ok: 1 });
  assert.deepEqual(namesOnly(/^[A-Z]+$/)({ TOKEN: "secret", "a=b": "secret" }), ["TOKEN"]);
  assert.equal((list(number)(Array.from({ length: 5000 }, (_, i) => i)) as number[]).length, 1000);
});

test("no pattern takes a password, a key or a token as Sealift makes them", () => {
  const secrets = [
    "w3hFzq0nT8cV1mJxYb5RkQe7uLs2aDgIpoN6tWvXyZA",
    "5f2b".repeat(16),
    "slk_abcdefghij23_0123456789abcdef0123456789abcdef",
    "-----BEGIN PRIVATE KEY-----",
    "Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc",
    "what is the diagnosis of Ms Smith?",
  ];
  for (const secret of secrets) {
    for (const allowed of [DIGEST, ID, NAME, PATH, TIME, VERSION]) assert.equal(allowed(secret), undefined, secret);
  }
});

test("of a container neither its environment, its command, its labels nor its health check's words are shown", () => {
  const inspected = {
    Name: "/sealift-0123abcd-blue-gateway-1",
    Args: ["--password", "hunter2"],
    State: { Status: "running", Error: "hunter2", Health: { Status: "unhealthy", Log: [{ Output: "hunter2" }] } },
    Config: {
      Env: ["PASSWORD=hunter2"],
      Cmd: ["hunter2"],
      Labels: { "sealift.colour": "blue", note: "hunter2" },
      Healthcheck: { Test: ["hunter2"] },
    },
    HostConfig: { Binds: ["hunter2"], CapAdd: ["hunter2", "NET_ADMIN"], Memory: 5 },
    Mounts: [{ Type: "bind", Source: "/hunter2", Destination: "/run/secrets/x", RW: false }],
  };
  const shown = CONTAINER(inspected);
  assert.ok(!JSON.stringify(shown).includes("hunter2"));
  assert.deepEqual(shown, {
    Name: inspected.Name,
    State: { Status: "running", Health: { Status: "unhealthy" } },
    Config: { Labels: { "sealift.colour": "blue" } },
    HostConfig: { CapAdd: ["NET_ADMIN"], Memory: 5 },
    Mounts: [{ Type: "bind", Destination: "/run/secrets/x", RW: false }],
  });
});

test("of a Compose file the names of variables are shown, and of a setting its value only if it is a number or a switch", () => {
  const shown = COMPOSE({
    name: "sealift-0123abcd-blue",
    services: { gateway: { environment: { TOKEN: "hunter2" }, command: ["hunter2"], mem_limit: "128m" } },
    secrets: { key: { file: "/var/lib/sealift/secrets/gateway/key" } },
  });
  assert.deepEqual(shown, {
    name: "sealift-0123abcd-blue",
    services: { gateway: { mem_limit: "128m", environment: ["TOKEN"] } },
    secrets: { key: { file: "/var/lib/sealift/secrets/gateway/key" } },
  });
  assert.deepEqual(CONFIG({ clientPort: 8443, tls: true, names: ["hunter2"], text: "hunter2" }), {
    ...{ clientPort: 8443, tls: true, names: "left out", text: "left out" },
  });
});

test("of findings only those sentences are shown that Sealift alone has written", () => {
  const finding = { check: "files", subject: "hunter2", severity: "degraded", hints: ["hunter2"] };
  const shown = FSCK({
    findings: [
      { ...finding, code: "FSCK_UNKNOWN_FILE", message: "hunter2" },
      { ...finding, code: "FSCK_TAG_MISSING", message: "a tag is gone" },
    ],
  });
  assert.deepEqual(shown, {
    findings: [
      { check: "files", code: "FSCK_UNKNOWN_FILE", severity: "degraded" },
      { check: "files", code: "FSCK_TAG_MISSING", severity: "degraded", message: "a tag is gone" },
    ],
  });
});

test("of a log the fields of the services are shown, and of Postgres the level; the rest is counted", () => {
  const stamp = "2026-11-21T08:00:00.000000000Z";
  const own = {
    ...{ time: "2026-11-21T08:00:00.000Z", level: "warn", service: "gateway", event: "answer-failed" },
    ...{ requestId: "0192d3a4-0000-7000-8000-000000000001", code: "ECONNRESET", problem: "upstream-unavailable" },
  };
  const lines = [
    `${stamp} ${JSON.stringify({ ...own, prompt: "hunter2", reason: "hunter2", size: 3 })}`,
    `${stamp} ${JSON.stringify({ ...own, event: "hunter2 said" })}`,
    `${stamp} ${JSON.stringify({ ...own, requestId: "hunter2", code: "hunter2" })}`,
    `${stamp} 2026-11-21 08:00:00.000 UTC [7] gateway@gateway ERROR:  duplicate key "hunter2"`,
    `${stamp} 2026-11-21 08:00:00.000 UTC [7] LOG:  database system is ready to accept connections`,
    `${stamp} hunter2\u001b[2J`,
    JSON.stringify("hunter2"),
    "",
  ];
  const shown = shownLines(Buffer.from(lines.join("\n")));
  assert.ok(!shown.includes("hunter2") && !shown.includes("\u001b"));
  const { requestId: _, code: __, ...rest } = own;
  assert.deepEqual(
    shown
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown),
    [
      { at: stamp, ...own, size: 3 },
      { at: stamp, ...rest },
      { at: stamp, level: "ERROR" },
      { at: stamp, level: "LOG", words: "database system is ready to accept connections" },
      { linesShown: 4, linesLeftOut: 3 },
    ],
  );
});
