import assert from "node:assert/strict";
import test from "node:test";
import { checkApplianceFile } from "../../bundles/model/appliance.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { commandLineHash, EMPTY_HASH, measureLaunch } from "../../bundles/model/launch-measurement.ts";
import { readOvmf } from "../../bundles/model/ovmf.ts";
import { CPU_SIGNATURES } from "../../bundles/model/processor-state.ts";
import {
  launchInputs,
  measureFirmwareForTdx,
  measureProcessors,
  type ReferenceLaunch,
} from "../../bundles/model/release-attestation.ts";
import { parseReleaseManifest } from "../../bundles/model/release-manifest.ts";
import { smallRelease } from "../support/small-bundle.ts";
import { smallOvmf } from "../support/small-ovmf.ts";
import { smallTdvf } from "../support/small-tdvf.ts";

const image = smallOvmf();
const kernel = Buffer.from("kernel");
const launch: ReferenceLaunch = {
  vmm: "qemu",
  firmware: { file: "ovmf", digest: digestOf(image) },
  guestFeatures: "0x1",
  kernel: { digest: digestOf(kernel) },
  commandLine: "console=ttyS0",
  measurements: [{ vcpus: 1, cpu: "EPYC-Milan", digest: "0".repeat(96) }],
};

test("the digests for several counts and models are those that are measured one by one", () => {
  const ovmf = readOvmf(image);
  const processors = [4, 1, 2].flatMap((vcpus) => ["EPYC-Genoa", "EPYC-Milan"].map((cpu) => ({ vcpus, cpu })));
  const measured = measureProcessors(launch, ovmf, processors);
  assert.deepEqual(
    measured.map((one) => one.processors),
    processors,
  );
  for (const { processors: one, digest } of measured) {
    const inputs = {
      ovmf,
      vmm: "qemu",
      vcpus: one.vcpus,
      cpuSignature: CPU_SIGNATURES[one.cpu] as number,
      guestFeatures: 1n,
      kernelHashes: {
        kernel: Buffer.from(digestOf(kernel).slice(7), "hex"),
        initrd: EMPTY_HASH,
        commandLine: commandLineHash("console=ttyS0"),
      },
    } as const;
    assert.deepEqual(launchInputs(launch, ovmf, one), inputs);
    assert.equal(digest, measureLaunch(inputs).toString("hex"));
  }
  assert.equal(new Set(measured.map(({ digest }) => digest)).size, 6);
});

test("each single input changes the digest", () => {
  const ovmf = readOvmf(image);
  const processors = [{ vcpus: 2, cpu: "EPYC-v4" }];
  const digest = (change: Partial<ReferenceLaunch>, firmware = ovmf): string | undefined =>
    measureProcessors({ ...launch, ...change }, firmware, processors)[0]?.digest;
  const { kernel: _, commandLine: __, ...withoutKernel } = launch;
  const digests = [
    digest({}),
    digest({ commandLine: "" }),
    digest({ guestFeatures: "0x21" }),
    digest({ initrd: { digest: digestOf(kernel) } }),
    digest({ kernel: { digest: digestOf(Buffer.from("other")) } }),
    digest({ vmm: "gce" }),
    digest({}, readOvmf(smallOvmf({ content: "other" }))),
    measureProcessors(withoutKernel, ovmf, processors)[0]?.digest,
  ];
  assert.equal(new Set(digests).size, digests.length);
});

test("a release document says in its reference values nothing that contradicts itself", () => {
  const { manifest } = smallRelease().release;
  const parse = (sevSnp: unknown): unknown =>
    parseReleaseManifest(canonicalJson({ ...manifest, attestation: { sevSnp } })).attestation;
  const good = { ...launch, firmware: { ...launch.firmware, file: "model" } };
  assert.deepEqual(parse([good]), { sevSnp: [good] });
  const [measurement] = launch.measurements;
  const { kernel: _, ...withoutKernel } = good;
  const bad: readonly unknown[] = [
    [],
    [{ ...good, firmware: launch.firmware }],
    [{ ...good, firmware: { digest: launch.firmware.digest } }],
    [{ ...good, kernel: { file: "nowhere", digest: launch.firmware.digest } }],
    [withoutKernel],
    [{ ...good, vmm: "xen" }],
    [{ ...good, vmm: "ec2" }],
    [{ ...good, guestFeatures: "0x01" }],
    [{ ...good, commandLine: "quiet\0" }],
    [{ ...good, measurements: [] }],
    [{ ...good, measurements: [measurement, measurement] }],
    [{ ...good, measurements: [{ vcpus: 1, digest: measurement?.digest }] }],
    [{ ...good, measurements: [{ ...measurement, vcpus: 4097 }] }],
    [{ ...good, measurements: [{ ...measurement, cpu: "pentium" }] }],
    [{ ...good, measurements: [{ ...measurement, digest: "00" }] }],
    [{ ...good, more: 1 }],
  ];
  for (const sevSnp of bad) assert.throws(() => parse(sevSnp), { code: "RELEASE_MALFORMED" }, JSON.stringify(sevSnp));
});

test("a release document names each order of a TD's measurement once, and firmware that it carries", () => {
  const { manifest } = smallRelease().release;
  const parse = (attestation: unknown): unknown =>
    parseReleaseManifest(canonicalJson({ ...manifest, attestation })).attestation;
  const [first, second] = measureFirmwareForTdx(smallTdvf());
  const good = { firmware: { ...launch.firmware, file: "model" }, measurements: [first, second] };
  assert.deepEqual(parse({ tdx: [good] }), { tdx: [good] });
  const bad: readonly unknown[] = [
    {},
    { tdx: [] },
    { tdx: [{ ...good, firmware: launch.firmware }] },
    { tdx: [{ ...good, firmware: { digest: launch.firmware.digest } }] },
    { tdx: [{ ...good, measurements: [first] }] },
    { tdx: [{ ...good, measurements: [first, first] }] },
    { tdx: [{ ...good, measurements: [first, { ...second, order: "backwards" }] }] },
    { tdx: [{ ...good, measurements: [first, { ...second, mrTd: "00" }] }] },
    { tdx: [{ ...good, kernel: launch.firmware }] },
  ];
  for (const one of bad) assert.throws(() => parse(one), { code: "RELEASE_MALFORMED" }, JSON.stringify(one));
});

test("an appliance file names carried files for its launches, and models where they are measured", () => {
  const appliance = (launchSpec: object) => ({
    schemaVersion: 1,
    appliance: "test",
    channel: "stable",
    images: { a: { layout: "x" } },
    files: { ovmf: { path: "OVMF.fd", mediaType: "application/octet-stream" } },
    compose: "compose.yaml",
    configSchema: "config.schema.json",
    attestation: { sevSnp: [launchSpec] },
  });
  const good = { vmm: "qemu", firmware: "ovmf", vcpus: [1, 2], cpus: ["EPYC-v4"] };
  checkApplianceFile(appliance(good));
  checkApplianceFile(appliance({ vmm: "ec2", firmware: "ovmf", vcpus: [1, 2] }));
  for (const bad of [
    { ...good, firmware: "other" },
    { ...good, cpus: undefined },
    { ...good, vmm: "gce" },
    { ...good, vcpus: [] },
    { ...good, vcpus: [1, 1] },
    { ...good, initrd: { file: "ovmf" } },
    { ...good, commandLine: "quiet" },
    { ...good, kernel: { file: "other" } },
    { ...good, kernel: {} },
    { ...good, vcpus: Array.from({ length: 600 }, (_, i) => i + 1), cpus: ["EPYC-v4", "EPYC-Rome"] },
  ]) {
    const value = JSON.parse(JSON.stringify(appliance(bad)));
    assert.throws(() => checkApplianceFile(value), { code: "APPLIANCE_MALFORMED" }, JSON.stringify(bad));
  }
  const of = (attestation: unknown): unknown => ({ ...appliance(good), attestation });
  checkApplianceFile(of({ tdx: [{ firmware: "ovmf" }] }));
  for (const bad of [{}, { tdx: [] }, { tdx: [{ firmware: "other" }] }, { tdx: [{ firmware: "ovmf", vcpus: [1] }] }]) {
    assert.throws(() => checkApplianceFile(of(bad)), { code: "APPLIANCE_MALFORMED" }, JSON.stringify(bad));
  }
});

test("firmware that has pages measured without end is refused before they are", () => {
  readOvmf(smallOvmf({ memoryPages: 4000 }));
  const malformed = { code: "ATTEST_OVMF_MALFORMED" };
  for (const memoryPages of [4096, 2 ** 20 - 1]) assert.throws(() => readOvmf(smallOvmf({ memoryPages })), malformed);
});
