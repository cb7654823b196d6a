/** The README's walk-through, in a fresh clone, as a newcomer types it: its own fenced blocks, run by a shell. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { requirePeer, skipWithout } from "../support/peers.ts";
import { scratch } from "../support/scratch.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const MARKER = "<!-- walk-through";

test("the README's walk-through works in a fresh clone", {
  skip: skipWithout("oras", "skopeo"),
  timeout: 600_000,
}, async (t) => {
  const clone = join(await scratch(t), "sealift");
  execFileSync("git", ["clone", "--quiet", root, clone]);
  const readme = readFileSync(join(clone, "README.md"), "utf8");
  assert.ok(readme.includes(MARKER));
  const blocks = [...readme.slice(readme.indexOf(MARKER)).matchAll(/^```sh\n(.*?)^```$/gms)].map(
    (match) => match[1] as string,
  );
  assert.equal(blocks.length, 3, "build and sign; release signature and verify; reviewer");
  const shell = (script: string) =>
    spawnSync("sh", ["-eu", "-c", script], {
      cwd: clone,
      encoding: "utf8",
      env: { ...process.env, PATH: `${dirname(requirePeer("oras"))}:${process.env["PATH"]}` },
    });
  let run = shell(blocks.join("\n"));
  // Debian takes a package away when it has a newer one. The lock of this commit then has to be refreshed.
  if (run.stderr.includes("SOURCE_PACKAGE_GONE")) {
    t.diagnostic("locked packages are gone from the archive: the lock was refreshed in the clone");
    run = shell(
      ["./sealift bundle lock --appliance compose/appliance.yaml", "rm -rf trust *.key *.pub", ...blocks].join("\n"),
    );
  }
  const { status, stdout, stderr } = run;
  assert.equal(status, 0, `${stdout}\n${stderr}`);
  assert.match(stdout, /^ALLOWED {2}sealift-gateway 1\.0\.0$/m);
  assert.match(stdout, /^0 wrong, \d+ passed, \d+ not checked$/m);
  assert.doesNotMatch(stdout, /FAILED/);
});
