import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { readOvmf } from "../../bundles/model/ovmf.ts";
import { measureProcessors } from "../../bundles/model/release-attestation.ts";
import type { AttestationVerdict } from "../../verify/attestation/attestation-verdict.ts";
import { measuredRelease } from "../support/bad-bundles.ts";
import { sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";
import { SMALL_NOW, signedBundle, signedFiles, writeTrustFiles } from "../support/signed-bundle.ts";
import { renderTar, type SmallReleaseOptions, smallRelease } from "../support/small-bundle.ts";
import { smallOvmf } from "../support/small-ovmf.ts";
import { simulatedCollateral, simulatedPolicy, simulator } from "../verify/attestation/evidence.ts";

/** A signed release, and evidence of a VM that was started with its launch digest or another. */
async function setting(t: TestContext, options: SmallReleaseOptions, measurement?: string) {
  const directory = await scratch(t);
  const path = (name: string): string => join(directory, name);
  const bundle = signedBundle({ small: smallRelease(options) });
  await writeFile(path("bundle"), renderTar(signedFiles(bundle)));
  await writeTrustFiles(path("trust"), bundle.trustFiles);
  const { manifest, descriptor } = bundle.small.release;
  const own = manifest.attestation?.sevSnp?.[0]?.measurements[0]?.digest ?? "07".repeat(48);
  const by = simulator();
  await mkdir(path("collateral"));
  for (const { name, bytes } of simulatedCollateral(by)) await writeFile(path(`collateral/${name}`), bytes);
  await writeFile(path("evidence"), by.report({ measurement: Buffer.from(measurement ?? own, "hex") }));
  await writeFile(path("policy.json"), canonicalJson(simulatedPolicy(by, { measurements: "release" })));
  const args = ["--evidence", path("evidence"), "--collateral", path("collateral"), "--policy", path("policy.json")];
  const release = ["--release", path("bundle"), "--trust", path("trust"), "--at", SMALL_NOW];
  const verify = (...more: readonly string[]) => sealift(["attest", "verify", ...args, ...more, "--json"]);
  return { path, release, verify, digest: descriptor.digest };
}

test("attest verify --release: the launch digest must be one of a release that is verified first", async (t) => {
  const { release, verify, digest } = await setting(t, measuredRelease());
  const { exit, stdout, stderr } = await verify(...release);
  assert.equal(exit, 3, stderr);
  const verdict = JSON.parse(stdout) as AttestationVerdict;
  assert.deepEqual([verdict.decision, verdict.reference], ["simulated", digest]);
  assert.equal(verdict.findings.find(({ check }) => check === "measurement")?.status, "pass");
  const without = JSON.parse((await verify("--at", SMALL_NOW)).stdout) as AttestationVerdict;
  assert.equal(without.findings.find(({ check }) => check === "measurement")?.code, "ATTEST_RELEASE_MISSING");
  const other = await setting(t, measuredRelease(), "0a".repeat(48));
  const denied = JSON.parse((await other.verify(...other.release)).stdout) as AttestationVerdict;
  assert.equal(denied.decision, "deny");
  assert.equal(denied.findings.find(({ check }) => check === "measurement")?.code, "ATTEST_MEASUREMENT_UNKNOWN");
});

test("attest verify --release: of a launch digest that is not the release's it says which input differs", async (t) => {
  const [launch] = measuredRelease().release?.attestation?.sevSnp ?? [];
  assert.ok(launch);
  const [larger] = measureProcessors(launch, readOvmf(smallOvmf()), [{ vcpus: 6, cpu: "EPYC-Milan" }]);
  const { release, verify } = await setting(t, measuredRelease(), larger?.digest as string);
  const { exit, stderr } = await verify(...release);
  assert.equal(exit, 3);
  assert.match(stderr, /launch 1 of the release \(2 × EPYC-Milan\) with:\n\s+processors: 6, not 2/);
  const other = await setting(t, measuredRelease(), "0a".repeat(48));
  assert.match(
    (await other.verify(...other.release)).stderr,
    /a file or the command line differs, or it is another VM/,
  );
});

test("attest verify --release: a release that is denied, or has no launch digests, gives none", async (t) => {
  const wrong = await setting(
    t,
    measuredRelease({}, () => "1".repeat(96)),
  );
  const denied = await wrong.verify(...wrong.release);
  assert.equal(denied.exit, 3);
  assert.match(denied.stdout, /"RELEASE_DENIED"[\s\S]*RELEASE_LAUNCH_DIGEST/);
  const plain = await setting(t, {});
  const unmeasured = await plain.verify(...plain.release);
  assert.equal(unmeasured.exit, 3);
  assert.match(unmeasured.stdout, /"RELEASE_UNMEASURED"/);
  const alone = await plain.verify("--trust", plain.path("trust"));
  assert.equal(alone.exit, 2);
});
