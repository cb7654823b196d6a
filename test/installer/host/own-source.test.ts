import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { ownBuilder, sourceDigest } from "../../../installer/host/own-source.ts";
import { scratch } from "../../support/scratch.ts";

const AREAS = ["bundles", "compose", "installer", "sbom", "verify"];
const LISTED = ["package.json", "package-lock.json", "sealift", ...AREAS];

/** A checkout in small. */
async function checkout(t: { after(work: () => Promise<void>): void }): Promise<string> {
  const root = await scratch(t);
  for (const area of AREAS) mkdirSync(join(root, area, "sub.d"), { recursive: true });
  for (const file of ["package.json", "package-lock.json", "sealift"]) writeFileSync(join(root, file), file);
  for (const area of AREAS) writeFileSync(join(root, area, "sub.d/a.ts"), area);
  writeFileSync(join(root, "bundles/b.ts"), "b");
  return root;
}

test("the program's digest is the one that find, sort and sha256sum come to", async (t) => {
  const root = await checkout(t);
  const script = `find ${LISTED.join(" ")} -name node_modules -prune -o -type f -print | LC_ALL=C sort | xargs sha256sum | sha256sum`;
  const byShell = execFileSync("sh", ["-c", script], { cwd: root, encoding: "utf8" }).slice(0, 64);
  assert.equal(sourceDigest(root), `sha256:${byShell}`);
});

test("what was installed, what is beside the sources and links do not count; every byte of a source does", async (t) => {
  const root = await checkout(t);
  const before = sourceDigest(root);
  mkdirSync(join(root, "compose/node_modules/x"), { recursive: true });
  writeFileSync(join(root, "compose/node_modules/x/index.js"), "x");
  writeFileSync(join(root, "notes.md"), "x");
  symlinkSync("/etc/passwd", join(root, "verify/link"));
  assert.equal(sourceDigest(root), before);
  writeFileSync(join(root, "verify/sub.d/a.ts"), "verifY");
  assert.notEqual(sourceDigest(root), before);
});

test("the commit is named of a checkout without changes and of a kit only", async (t) => {
  const root = await checkout(t);
  assert.equal(ownBuilder(root).commit, undefined);
  const git = (...args: string[]): string => {
    const who = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"];
    return execFileSync("git", ["-C", root, ...who, ...args], { encoding: "utf8" }).trim();
  };
  git("init", "-q");
  git("add", ".");
  git("commit", "-q", "-m", "x");
  assert.equal(ownBuilder(root).commit, git("rev-parse", "HEAD"));
  mkdirSync(join(root, "compose/node_modules/x"), { recursive: true });
  writeFileSync(join(root, "compose/node_modules/x/index.js"), "x");
  writeFileSync(join(root, ".git/info/exclude"), "node_modules/\nhidden.ts\n");
  assert.equal(ownBuilder(root).commit, git("rev-parse", "HEAD"));
  writeFileSync(join(root, "verify/hidden.ts"), "");
  assert.equal(ownBuilder(root).commit, undefined, "a file that somebody's settings hide");
  rmSync(join(root, "verify/hidden.ts"));
  writeFileSync(join(root, "verify/new.ts"), "");
  assert.equal(ownBuilder(root).commit, undefined, "a file that is not in the commit");
  const kit = await checkout(t);
  const sbom = (value: unknown) =>
    writeFileSync(
      join(kit, "kit.cdx.json"),
      JSON.stringify({ metadata: { component: { properties: [{ name: "sealift:kit:commit", value }] } } }),
    );
  sbom("ab".repeat(20));
  assert.equal(ownBuilder(kit).commit, "ab".repeat(20));
  sbom("HEAD");
  assert.equal(ownBuilder(kit).commit, undefined);
});
