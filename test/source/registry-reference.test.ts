import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { credentialKeys, parseReference, registryOrigin } from "../../bundles/source/registry-reference.ts";

const DIGEST = digestOf("x");

test("reads references with Docker's defaults", () => {
  for (const [text, full] of [
    ["postgres", "docker.io/library/postgres:latest"],
    ["team/app", "docker.io/team/app:latest"],
    ["team/app:v1", "docker.io/team/app:v1"],
    [`postgres@${DIGEST}`, `docker.io/library/postgres@${DIGEST}`],
    [`postgres:17@${DIGEST}`, `docker.io/library/postgres:17@${DIGEST}`],
    ["localhost/app", "localhost/app:latest"],
    ["host:5000/a/b/c:1.0_x-y", "host:5000/a/b/c:1.0_x-y"],
    ["registry.example/a__b/c--d", "registry.example/a__b/c--d:latest"],
    ["[::1]:5000/app", "[::1]:5000/app:latest"],
  ] as const) {
    assert.equal(parseReference(text).text, full, text);
  }
});

test("refuses what is not a reference", () => {
  for (const text of [
    ...["", ":", "@", "/", "app:", "app@", "App", "host:5000/", "host:5000/App", "a//b", "a/../b", "-a", "a b", "a\n"],
    ...[
      "https://host/app",
      "app@sha256:12",
      "app@sha512:00",
      "host:99x/app",
      "app:-x",
      `app:${"x".repeat(129)}`,
      "a".repeat(2000),
    ],
    ...["host.example/app?x=1", "user@host.example/app", "host.example/app#1"],
  ]) {
    assert.throws(() => parseReference(text), { code: "SOURCE_REFERENCE_MALFORMED" }, JSON.stringify(text));
  }
});

test("asks over plain HTTP on the loopback interface only", () => {
  for (const [registry, origin] of [
    ["localhost:5000", "http://localhost:5000"],
    ["127.83.76.1:5000", "http://127.83.76.1:5000"],
    ["[::1]:5000", "http://[::1]:5000"],
    ["127.evil.example", "https://127.evil.example"],
    ["localhost.evil.example", "https://localhost.evil.example"],
    ["192.0.2.1:5000", "https://192.0.2.1:5000"],
    ["docker.io", "https://registry-1.docker.io"],
  ] as const) {
    assert.equal(registryOrigin(registry), origin);
  }
});

test("looks for a login under the keys that docker login writes", () => {
  assert.equal(credentialKeys("docker.io")[0], "https://index.docker.io/v1/");
  assert.equal(credentialKeys("host:5000")[0], "host:5000");
});
