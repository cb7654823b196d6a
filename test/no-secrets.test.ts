/** No secret of anybody is in what is published: the sources, and the appliance's settings. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { SECRET_KINDS, secretsIn } from "./support/secret-patterns.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const PUBLISHED = ["bundles", "compose", "installer", "runbooks", "sbom", "verify"];
const FILES = [
  "CHANGELOG.md",
  "README.md",
  "SECURITY.md",
  "package.json",
  "package-lock.json",
  "sealift",
  "biome.json",
];
const SKIPPED = ["node_modules", ".git"];
const MAX_BYTES = 8 * 1024 * 1024;

function filesIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    if (SKIPPED.includes(entry.name)) return [];
    const path = join(directory, entry.name);
    return entry.isDirectory() ? filesIn(path) : entry.isFile() ? [path] : [];
  });
}

test("no file that is published has a secret in it", () => {
  const files = [...PUBLISHED.flatMap((name) => filesIn(join(ROOT, name))), ...FILES.map((name) => join(ROOT, name))];
  assert.ok(files.length > 300, String(files.length));
  const bad = files.flatMap((path) => {
    const bytes = readFileSync(path);
    assert.ok(bytes.length < MAX_BYTES, path);
    return secretsIn(bytes.toString("latin1")).map((what) => `${relative(ROOT, path)}: ${what}`);
  });
  assert.deepEqual(bad, []);
});

test("the scan finds what it looks for", () => {
  // Put together here, so that this file has none either.
  const samples: Readonly<Record<string, string>> = {
    "a private key": `-----BEGIN ${"PRIVATE KEY"}-----\n${"QUJD".repeat(16)}\n`,
    "an OpenSSH key": `-----BEGIN ${"OPENSSH PRIVATE KEY"}-----\n${"QUJD".repeat(16)}\n`,
    "an age key": `AGE-SECRET-KEY-1${"Q".repeat(58)}`,
    "an API key of the gateway": ["slk", "abcdefghijkl", "A".repeat(43)].join("_"),
    "a key of AWS": `AKIA${"A1".repeat(8)}`,
    "a token of GitHub": `ghp_${"a".repeat(36)}`,
    "a token of npm": `npm_${"a".repeat(36)}`,
    "a token of Slack": `xoxb-${"1".repeat(12)}`,
    "a key of OpenAI": `sk-${"a".repeat(48)}`,
    "a JSON Web Token": ["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "a".repeat(43)].join("."),
    "a password in an address": `postgres://gateway:${"hunter2"}@db`,
  };
  assert.deepEqual(Object.keys(samples), SECRET_KINDS);
  for (const [what, sample] of Object.entries(samples)) assert.ok(secretsIn(`x ${sample} y`).includes(what), what);
});

test("no setting of a container is a secret: secrets are files", () => {
  const compose = parse(readFileSync(join(ROOT, "compose/compose.yaml"), "utf8"), { merge: true }) as {
    services: Readonly<Record<string, { environment?: Readonly<Record<string, string>> }>>;
  };
  const schema = readFileSync(join(ROOT, "compose/config.schema.json"), "utf8");
  const isSecret = (name: string): boolean => /PASSWORD|SECRET|PEPPER|TOKEN$|KEY|CREDENTIAL/i.test(name);
  for (const [service, { environment = {} }] of Object.entries(compose.services)) {
    for (const name of Object.keys(environment).filter(isSecret)) {
      assert.match(`${name}=${environment[name]}`, /_FILE=\/run\/secrets\/[a-z.-]+$/, `${service}: ${name}`);
    }
  }
  const { properties } = JSON.parse(schema) as { properties: Readonly<Record<string, object>> };
  assert.deepEqual(Object.keys(properties).filter(isSecret), [], "the configuration is shown in plans");
});
