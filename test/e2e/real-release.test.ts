/** The releases that other e2e tests install (test/support/real-release.ts) are what they say. */
import assert from "node:assert/strict";
import test from "node:test";
import { sealift } from "../support/command-line.ts";
import { realRelease, realTrust } from "../support/real-release.ts";

test("1.0.0 and 1.1.0 of the appliance are signed, allowed by their trust, and different", async () => {
  const trust = await realTrust();
  const [first, next] = [await realRelease("first"), await realRelease("next")];
  assert.notEqual(first.digest, next.digest);
  for (const { bundle, version } of [first, next]) {
    const { exit, stdout, stderr } = await sealift(["verify", bundle, "--trust", trust.directory]);
    assert.equal(exit, 0, `${stdout}${stderr}`);
    assert.match(stdout, new RegExp(`^ALLOWED {2}sealift-gateway ${version}$`, "m"));
  }
  const started = performance.now();
  assert.deepEqual(await realRelease("first"), first);
  assert.ok(performance.now() - started < 1000, "the second time nothing is built");
});
