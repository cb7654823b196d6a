import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import {
  readSecret,
  readSecretValues,
  SettingsError,
  SettingsReader,
} from "../../../../compose/services/service-kit/src/settings.ts";
import { scratch } from "../../../support/scratch.ts";

test("takes an address of scheme, host and port, and nothing more", () => {
  const reader = new SettingsReader({ A: "http://model:8080", B: "https://pii:8443" });
  assert.equal(reader.origin("A", "http:").port, "8080");
  assert.equal(reader.origin("B", "https:").hostname, "pii");
  reader.done();
  for (const text of [
    "model:8080",
    "https://model",
    "http://u:p@model",
    "http://model/v1",
    "http://model?x",
    "file:///x",
  ]) {
    const wrong = new SettingsReader({ A: text });
    wrong.origin("A", "http:");
    assert.throws(() => wrong.done(), SettingsError, text);
  }
});

test("reads a secret of one line, and refuses an empty one or two", async (t) => {
  const path = join(await scratch(t), "secret");
  for (const [content, secret] of [
    ["abc\n", "abc"],
    ["abc", "abc"],
    [" a b ", " a b "],
  ] as const) {
    await writeFile(path, content);
    assert.equal(await readSecret(path), secret);
  }
  for (const content of ["", "\n", "a\nb\n", "x".repeat(5000)]) {
    await writeFile(path, content);
    await assert.rejects(readSecret(path), SettingsError);
  }
});

test("reads a secret that is rotated: the reader's own value, then the one that is as good", async (t) => {
  const path = join(await scratch(t), "secret");
  for (const [content, values] of [
    ["abc\n", ["abc"]],
    ["new\nold", ["new", "old"]],
    ["new\nold\n", ["new", "old"]],
  ] as const) {
    await writeFile(path, content);
    assert.deepEqual(await readSecretValues(path), values);
  }
  for (const content of ["", "\n", "a\n\nb", "a\nb\nc", "a\r\nb", "x".repeat(5000)]) {
    await writeFile(path, content);
    await assert.rejects(readSecretValues(path), SettingsError, JSON.stringify(content));
  }
});
