import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { parse } from "yaml";
import type { ComposeTemplate } from "../bundles/model/compose-template.ts";
import { ROLES } from "../bundles/model/signing-roles.ts";
import { hostKeyPath } from "../installer/lifecycle/transport-key.ts";
import { requestKeyPath } from "../installer/site/client-certificate.ts";
import { authorityPath, identityRootPath } from "../installer/site/secret-makers.ts";
import { secretFiles } from "../installer/site/secrets.ts";
import { statePaths } from "../installer/site/state.ts";

const PAGE = readFileSync(new URL("../runbooks/keys.md", import.meta.url), "utf8");
const named = new Set(PAGE.match(/`[^`]+`/g)?.map((text) => text.slice(1, -1)));

test("the page of keys names every secret of the appliance, and says of each whether it can be rotated", () => {
  const compose = readFileSync(new URL("../compose/compose.yaml", import.meta.url), "utf8");
  const { secrets } = (parse(compose, { merge: true }) as ComposeTemplate)["x-sealift"];
  const rotating = new Set<string>();
  for (const rule of secrets) {
    const isRotating = rule.kind === "identity" || ("rotates" in rule && rule.rotates === true);
    for (const file of Object.keys(secretFiles(rule))) {
      assert.ok(named.has(`secrets/${file}`), file);
      if (isRotating) rotating.add(`secrets/${file}`);
    }
  }
  const known = secrets.flatMap((rule) => Object.keys(secretFiles(rule)).map((file) => `secrets/${file}`));
  const gone = [...named].filter((name) => name.startsWith("secrets/") && name !== "secrets/" && !known.includes(name));
  assert.deepEqual(gone, [], "none that there is not");
  for (const line of PAGE.split("\n").filter((one) => one.startsWith("| `secrets/"))) {
    const [file = ""] = line.match(/secrets\/[^`]+/) ?? [];
    assert.equal(/`rotate (?:secrets|certificates)`/.test(line), rotating.has(file), file);
  }
});

test("the page of keys names what a site keeps besides, and every role that signs a release", () => {
  const paths = statePaths("");
  for (const path of [identityRootPath(paths), authorityPath(paths), requestKeyPath(paths), hostKeyPath(paths)]) {
    assert.ok(named.has(path.replace(/^\//, "")), path);
  }
  for (const role of ROLES) assert.ok(named.has(role), role);
});
