import assert from "node:assert/strict";
import test from "node:test";
import { workspaceClosure } from "../../bundles/source/recipe/package-lock.ts";

const integrity = `sha512-${"A".repeat(86)}==`;

/** The lock of a root that needs what `packages` has. */
const lock = (dependencies: Readonly<Record<string, string>>, packages: object): Buffer =>
  Buffer.from(JSON.stringify({ lockfileVersion: 3, packages: { "": { dependencies }, ...packages } }));

test("a workspace's closure is what Node would resolve from it, links to workspaces and their packages too", () => {
  const packages = {
    "packages/w": { version: "1.0.0", dependencies: { a: "*" }, optionalDependencies: { none: "*" } },
    "node_modules/w": { resolved: "packages/w", link: true },
    "node_modules/a": { version: "1.0.0", integrity, dependencies: { b: "*" } },
    "node_modules/b": { version: "1.0.0", integrity },
    "node_modules/a/node_modules/b": { version: "2.0.0", integrity },
  };
  const closure = workspaceClosure(lock({ w: "*" }, packages), "", "amd64");
  assert.deepEqual(closure.workspaces, ["", "packages/w"]);
  assert.deepEqual([...closure.links], [["node_modules/w", "packages/w"]]);
  assert.deepEqual([...closure.packages.keys()].sort(), ["node_modules/a", "node_modules/a/node_modules/b"]);
});

// From an absolute path the way up never ended.
for (const path of ["/x", "//x", "../x", "x/../y", "..", "a//b"]) {
  test(`a package that lies at ${path} is refused at once`, { timeout: 10_000 }, () => {
    const link = { "node_modules/a": { resolved: path, link: true }, [path]: { dependencies: { b: "*" } } };
    assert.throws(() => workspaceClosure(lock({ a: "*" }, link), "", "amd64"), {
      code: "RECIPE_MALFORMED",
      message: /leads out of its directory/,
    });
  });
}

test("a link whose own name leads out of node_modules is refused", () => {
  const link = { "node_modules/../w": { resolved: "w", link: true }, w: {} };
  assert.throws(() => workspaceClosure(lock({ "../w": "*" }, link), "", "amd64"), { code: "RECIPE_MALFORMED" });
});
