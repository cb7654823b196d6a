import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import {
  commandLineHash,
  EMPTY_HASH,
  type LaunchInputs,
  measureFirmware,
  measureLaunch,
} from "../../bundles/model/launch-measurement.ts";
import { readOvmf } from "../../bundles/model/ovmf.ts";
import { CPU_SIGNATURES, type Vmm } from "../../bundles/model/processor-state.ts";
import { explainMeasurement } from "../../verify/attestation/explain-measurement.ts";
import { coded } from "../support/test-trust.ts";

const DIRECTORY = new URL("../../../shared/vectors/launch-digest/", import.meta.url).pathname;
const SKIP = existsSync(DIRECTORY) ? false : "the shared launch digests are not here";

interface Row {
  readonly name: string;
  readonly ovmfFile: string;
  readonly vcpus: number;
  readonly vcpuSig: number;
  readonly features: string;
  readonly vmm: Vmm;
  readonly kernel: "empty" | null;
  readonly cmdline: string | null;
  readonly ovmfHashSeed: string | null;
  readonly expected: string;
}

const rows = (): readonly Row[] =>
  (JSON.parse(readFileSync(`${DIRECTORY}launch-digests.json`, "utf8")) as { vectors: Row[] }).vectors;
const image = (name: string): Buffer => readFileSync(`${DIRECTORY}${name}`);
const amdSev = () => readOvmf(image("ovmf_AmdSev_suffix.bin"));
function inputsOf(row: Row): LaunchInputs {
  return {
    ovmf: readOvmf(image(row.ovmfFile)),
    vmm: row.vmm,
    vcpus: row.vcpus,
    cpuSignature: row.vcpuSig,
    guestFeatures: BigInt(row.features),
    kernelHashes:
      row.kernel === null
        ? null
        : { kernel: EMPTY_HASH, initrd: EMPTY_HASH, commandLine: commandLineHash(row.cmdline ?? "") },
  };
}

test("all 8 launch digests that another tool computed are met, for QEMU, EC2 and GCE", { skip: SKIP }, () => {
  const got = rows().map((row) => {
    const seed = row.ovmfHashSeed === null ? undefined : Buffer.from(row.ovmfHashSeed, "hex");
    return [row.name, measureLaunch(inputsOf(row), seed).toString("hex")];
  });
  assert.equal(got.length, 8);
  assert.deepEqual(
    got,
    rows().map(({ name, expected }) => [name, expected]),
  );
});

const base = (): LaunchInputs => ({
  ovmf: amdSev(),
  vmm: "qemu",
  vcpus: 2,
  cpuSignature: CPU_SIGNATURES["EPYC-Milan"] as number,
  guestFeatures: 1n,
  kernelHashes: {
    kernel: createHash("sha256").update("kernel").digest(),
    initrd: createHash("sha256").update("initrd").digest(),
    commandLine: commandLineHash("console=ttyS0"),
  },
});

test("each single input that differs is found and named", { skip: SKIP }, () => {
  const inputs = base();
  const hashes = inputs.kernelHashes;
  assert.ok(hashes);
  const other = createHash("sha256").update("other").digest();
  const cases: readonly (readonly [Partial<LaunchInputs>, string])[] = [
    [{ vcpus: 48 }, "processors: 48, not 2"],
    [{ cpuSignature: CPU_SIGNATURES["EPYC-Genoa"] as number }, "CPU model: EPYC-Genoa, not EPYC-Milan"],
    [{ guestFeatures: 0x21n }, "guest features: 0x21, not 0x1"],
    [{ vmm: "gce" }, "VMM: gce, not qemu"],
    [{ kernelHashes: null }, "kernel: none was given to the VMM"],
    [{ kernelHashes: { ...hashes, initrd: EMPTY_HASH } }, `initrd: none, not sha256:${hashes.initrd.toString("hex")}`],
    [
      { kernelHashes: { ...hashes, kernel: other } },
      `kernel: sha256:${other.toString("hex")}, not sha256:${hashes.kernel.toString("hex")}`,
    ],
    [
      { kernelHashes: { ...hashes, commandLine: commandLineHash("") } },
      `command line: empty, not sha256:${hashes.commandLine.toString("hex")}`,
    ],
  ];
  for (const [change, difference] of cases) {
    const reported = measureLaunch({ ...inputs, ...change });
    const { differences } = explainMeasurement(inputs, reported, { kernels: [other] });
    assert.deepEqual(differences, [difference]);
  }
});

test("two inputs that differ are both named, and what cannot be known is not guessed", { skip: SKIP }, () => {
  const inputs = base();
  const two = explainMeasurement(inputs, measureLaunch({ ...inputs, vcpus: 8, guestFeatures: 0x21n }));
  assert.deepEqual(two.differences, ["processors: 8, not 2", "guest features: 0x21, not 0x1"]);
  const unknown = explainMeasurement(inputs, Buffer.alloc(48, 1));
  assert.equal(unknown.found, null);
  assert.deepEqual(unknown.differences, []);
  assert.ok(unknown.tried > 10_000);
});

test("each byte of the firmware changes the digest", { skip: SKIP }, () => {
  const good = measureFirmware(amdSev());
  for (const at of [0, 1000, 4095]) {
    const changed = Buffer.from(image("ovmf_AmdSev_suffix.bin"));
    changed[at] = (changed[at] ?? 0) ^ 1;
    // Not read again: where the change is in a table, reading may refuse it.
    assert.notDeepEqual(measureFirmware({ ...amdSev(), image: changed }), good);
  }
});

test("a kernel with a firmware that has no place for its hash is refused", { skip: SKIP }, () => {
  const ovmf = readOvmf(image("ovmf_OvmfX64_suffix.bin"));
  assert.throws(() => measureLaunch({ ...base(), ovmf }), coded("ATTEST_OVMF_MALFORMED"));
});

test("a firmware that is cut, has no table or a table that lies is refused, and never crashes the reader", {
  skip: SKIP,
}, () => {
  const good = image("ovmf_AmdSev_suffix.bin");
  assert.throws(() => readOvmf(Buffer.alloc(0)), coded("ATTEST_OVMF_MALFORMED"));
  assert.throws(() => readOvmf(Buffer.alloc(4096)), coded("ATTEST_OVMF_MALFORMED"));
  assert.throws(() => readOvmf(good.subarray(1)), coded("ATTEST_OVMF_MALFORMED"));
  for (let at = 0; at < good.length; at += 1) {
    const changed = Buffer.from(good);
    changed[at] = (changed[at] ?? 0) ^ 0xff;
    try {
      readOvmf(changed);
    } catch (error) {
      assert.ok(coded("ATTEST_OVMF_MALFORMED")(error as { readonly code?: string }), `byte ${at}: ${error}`);
    }
  }
});

test("the number of processors is 1 to 4096", { skip: SKIP }, () => {
  assert.throws(() => measureLaunch({ ...base(), vcpus: 0 }), RangeError);
  assert.throws(() => measureLaunch({ ...base(), vcpus: 4097 }), RangeError);
});
