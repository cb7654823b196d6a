import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { readOvmf } from "../../bundles/model/ovmf.ts";
import {
  measureFirmwareForTdx,
  measureProcessors,
  type ReferenceLaunch,
  type ReferenceTd,
} from "../../bundles/model/release-attestation.ts";
import type { Finding } from "../../verify/verdict.ts";
import { measuredRelease } from "../support/bad-bundles.ts";
import { judge } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import { signedBundle, signedFiles } from "../support/signed-bundle.ts";
import { renderTar, type SmallReleaseOptions, smallRelease } from "../support/small-bundle.ts";
import { smallOvmf } from "../support/small-ovmf.ts";
import { smallTdvf } from "../support/small-tdvf.ts";

/** The verdict's finding about reference values. */
async function attestationFinding(
  t: TestContext,
  options: SmallReleaseOptions,
): Promise<Finding & { decision: string }> {
  const bundle = signedBundle({ small: smallRelease(options) });
  const path = join(await scratch(t), "bundle");
  await writeFile(path, renderTar(signedFiles(bundle)));
  const { findings, decision } = await judge(path, { trustFiles: bundle.trustFiles });
  const [finding, ...more] = findings.filter(({ check }) => check === "attestation");
  assert.ok(finding && more.length === 0);
  return { ...finding, decision };
}

test("launch digests are computed again from what the release carries", async (t) => {
  const { status, message, decision } = await attestationFinding(t, measuredRelease());
  assert.deepEqual([status, decision], ["pass", "allow"]);
  assert.equal(
    message,
    "1 launch digests of SEV-SNP, computed again from their inputs; 1 files are known by their digests alone",
  );
});

test("a release without reference values is not checked, and says so", async (t) => {
  const { status, reason, decision } = await attestationFinding(t, {});
  assert.deepEqual([status, decision], ["not-checked", "allow"]);
  assert.match(reason, /carries no reference values/);
});

test("a digest of other inputs is refused, and the input that differs is named", async (t) => {
  const image = smallOvmf();
  const launch: Omit<ReferenceLaunch, "measurements"> = {
    vmm: "qemu",
    firmware: { file: "ovmf", digest: digestOf(image) },
    guestFeatures: "0x1",
    kernel: { digest: digestOf(Buffer.from("kernel")) },
    commandLine: "console=ttyS0",
  };
  const digestWith = (change: Partial<typeof launch>, vcpus = 2, cpu = "EPYC-Milan"): string =>
    measureProcessors({ ...launch, ...change }, readOvmf(image), [{ vcpus, cpu }])[0]?.digest as string;
  const cases: readonly (readonly [string, RegExp])[] = [
    [digestWith({}, 4), /processors: 4, not 2/],
    [digestWith({}, 2, "EPYC-Genoa"), /CPU model: EPYC-Genoa, not EPYC-Milan/],
    [digestWith({ guestFeatures: "0x21" }), /guest features: 0x21, not 0x1/],
    [digestWith({ commandLine: "" }), /command line: empty/],
    [digestWith({ kernel: { digest: digestOf(Buffer.from("other")) } }), /a file or the command line differs/],
  ];
  for (const [digest, difference] of cases) {
    const { code, message, decision } = await attestationFinding(
      t,
      measuredRelease({}, () => digest),
    );
    assert.deepEqual([code, decision], ["RELEASE_LAUNCH_DIGEST", "deny"]);
    assert.match(message, difference);
  }
});

test("a carried file that is not the one that was measured is named", async (t) => {
  const { code, message } = await attestationFinding(
    t,
    measuredRelease({ firmware: { file: "ovmf", digest: digestOf(Buffer.from("other")) } }),
  );
  assert.equal(code, "RELEASE_LAUNCH_INPUT");
  assert.match(message, /firmware: carried is "ovmf"/);
});

test("MRTDs of a firmware for TDX are computed again, and a wrong one is refused", async (t) => {
  const image = smallTdvf();
  const firmware = { file: "tdvf", digest: digestOf(image) };
  const measurements = measureFirmwareForTdx(image);
  const judged = (td: Partial<ReferenceTd>): ReturnType<typeof attestationFinding> =>
    attestationFinding(t, {
      files: [{ name: "tdvf", mediaType: "application/octet-stream", bytes: image }],
      release: { attestation: { tdx: [{ firmware, measurements, ...td }] } },
    });
  const good = await judged({});
  assert.deepEqual([good.status, good.decision], ["pass", "allow"]);
  assert.match(good.message, /^0 launch digests of SEV-SNP and MRTDs of 1 firmware files for TDX, computed again/);
  const wrong = measurements.map((one, i) => (i === 1 ? { ...one, mrTd: "0a".repeat(48) } : one));
  const denied = await judged({ measurements: wrong });
  assert.deepEqual([denied.code, denied.decision], ["RELEASE_LAUNCH_DIGEST", "deny"]);
  assert.match(denied.message, /^TD 1: got MRTD (?:0a){48} section-by-section, want /);
  const foreign = await judged({ firmware: { ...firmware, digest: digestOf(Buffer.from("other")) } });
  assert.equal(foreign.code, "RELEASE_LAUNCH_INPUT");
});
