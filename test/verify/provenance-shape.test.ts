import assert from "node:assert/strict";
import test from "node:test";
import { isBelow, isLocked } from "../../verify/checks/provenance-shape.ts";

test("a source is accepted in whole components only, and never by dots that lead elsewhere", () => {
  for (const [accepted, uri] of [
    ["compose/", "compose/images/a.json"],
    ["compose", "compose/images/a.json"],
    ["compose/images/a.json", "compose/images/a.json"],
    ["pkg:deb/debian/", "pkg:deb/debian/bash@5.2?arch=amd64"],
    ["pkg:npm/yaml", "pkg:npm/yaml@2.9.1"],
    ["docker://example.com/", "docker://example.com/a@sha256:0"],
    ["https://example.com", "https://example.com/a..b/.c"],
  ] as const) {
    assert.ok(isBelow(uri, accepted), `${accepted} has ${uri}`);
  }
  for (const [accepted, uri] of [
    ["https://example.com", "https://example.com.evil.example/a"],
    ["https://example.com", "https://example.com@evil.example/a"],
    ["https://example.com", "https://example.com:x@evil.example/a"],
    ["compose", "compose-evil/a.tar"],
    ["compose/images/a.json", "compose/images/a.json.evil"],
    ["pkg:npm/yaml", "pkg:npm/yaml-evil@1"],
    ["compose/", "compose/../evil"],
    ["compose/", "compose/%2E%2e/evil"],
    ["compose/", "compose/images\\..\\..\\evil"],
    ["compose/", "compose/.."],
    ["compose/", "other/compose/"],
    ["compose/", ""],
  ] as const) {
    assert.ok(!isBelow(uri, accepted), `${accepted} has not ${uri}`);
  }
});

test("an input is in the lock by every strong digest that it has, and by no weak one", () => {
  const [locked, other, weak] = ["a".repeat(64), "b".repeat(128), "c".repeat(40)];
  const lock = new Set([locked, weak]);
  const isIn = (digest: Record<string, unknown>): boolean => isLocked({ uri: "x", digest }, lock);
  assert.ok(isIn({ sha256: locked }));
  assert.ok(isIn({ sha256: locked, sha1: "d".repeat(40) }));
  for (const digest of [
    { sha256: "e".repeat(64) },
    { sha256: locked, sha512: other },
    { sha256: "e".repeat(64), anything: locked },
    { anything: locked },
    { sha1: weak },
    {},
  ]) {
    assert.ok(!isIn(digest), JSON.stringify(digest));
  }
});
