import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import {
  commandLineHash,
  DIGEST_BYTES,
  EMPTY_HASH,
  type KernelHashes,
  type LaunchInputs,
  measureFirmware,
  measureLaunch,
  VCPUS_MAX,
} from "../../bundles/model/launch-measurement.ts";
import { OVMF_MAX_BYTES, readOvmf } from "../../bundles/model/ovmf.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { CPU_SIGNATURES, VMMS, type Vmm } from "../../bundles/model/processor-state.ts";
import { measureFirmwareForTdx } from "../../bundles/model/release-attestation.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { explainMeasurement } from "../../verify/attestation/explain-measurement.ts";
import { installerError } from "../error.ts";
import { readBoundedFile } from "../host/read-file.ts";
import {
  type Command,
  type Invocation,
  optionalOption,
  positionals,
  repeatedOption,
  requiredOption,
  usageError,
} from "./command.ts";

const NAME = "attest measure";

export const attestMeasure: Command = {
  name: NAME,
  summary: "compute the launch digests that a confidential VM must report, and say which input differs",
  usage:
    "--ovmf F (--tdx | --vcpus N… [--cpu MODEL…] [--vmm qemu|ec2|gce] [--kernel F [--initrd F] [--append TEXT]] [--guest-features HEX]) [--expect HEX]",
  details: [
    "--ovmf F              the firmware's image, built for SEV-SNP or TDX",
    "--tdx                 MRTD of a TD that is made of it; what it starts then is in RTMRs, which are not computed",
    "--vcpus N             how many processors; may be given several times",
    `--cpu MODEL           QEMU's CPU model (default EPYC-v4), one of ${Object.keys(CPU_SIGNATURES).join(", ")}`,
    "--vmm V               who starts it: qemu (default), ec2 or gce; the last two measure no CPU model",
    "--kernel, --initrd    what QEMU starts directly; needs an OVMF of OvmfPkg/AmdSev",
    "--append TEXT         the kernel's command line",
    "--guest-features HEX  SEV_FEATURES (default 0x1, SEV-SNP alone)",
    "--expect HEX          a reported digest: exit 0 if it is one of them, else 3 and which input differs",
    "One digest for each number of processors and each model. An SVSM is not supported.",
  ],
  options: {
    ovmf: { type: "string" },
    tdx: { type: "boolean" },
    vcpus: { type: "string", multiple: true },
    cpu: { type: "string", multiple: true },
    vmm: { type: "string" },
    kernel: { type: "string" },
    initrd: { type: "string" },
    append: { type: "string" },
    "guest-features": { type: "string" },
    expect: { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const expected = readExpected(optionalOption(invocation, "expect"));
    if (invocation.options["tdx"] === true) return measureForTdx(invocation, expected);
    const vmm = readVmm(optionalOption(invocation, "vmm"));
    const counts = readCounts(repeatedOption(invocation, "vcpus"));
    const models = readModels(repeatedOption(invocation, "cpu"));
    const guestFeatures = readFeatures(optionalOption(invocation, "guest-features"));
    const image = await readBoundedFile(requiredOption(invocation, NAME, "ovmf"), OVMF_MAX_BYTES);
    const ovmf = readOvmf(image);
    const kernelHashes = await readKernelHashes(invocation);
    const firmware = measureFirmware(ovmf);
    const launches = counts.flatMap((vcpus) =>
      models.map((model) => {
        const cpuSignature = CPU_SIGNATURES[model] as number;
        const inputs: LaunchInputs = { ovmf, vmm, vcpus, cpuSignature, guestFeatures, kernelHashes };
        return { vcpus, cpu: model, inputs, digest: measureLaunch(inputs, firmware).toString("hex") };
      }),
    );
    const [first] = launches;
    const met = expected === undefined || launches.some(({ digest }) => digest === expected.toString("hex"));
    const explained = met || first === undefined ? null : explainMeasurement(first.inputs, expected);
    const { terminal } = invocation;
    for (const { vcpus, cpu, digest } of launches) terminal.result(`${digest}  ${vmm}, ${vcpus} × ${cpu}`);
    if (expected !== undefined && met) terminal.result("the expected digest is one of them");
    for (const line of explained ? explanationLines(explained) : []) terminal.result(line);
    const rootHash = rootHashIn(optionalOption(invocation, "append") ?? "");
    terminal.result(rootfsLine(kernelHashes !== null, rootHash));
    terminal.document({
      schemaVersion: 1,
      inputs: {
        vmm,
        ovmf: `sha256:${createHash("sha256").update(image).digest("hex")}`,
        guestFeatures: `0x${guestFeatures.toString(16)}`,
        kernel: hashText(kernelHashes?.kernel),
        initrd: hashText(kernelHashes?.initrd),
        commandLine: kernelHashes === null ? null : (optionalOption(invocation, "append") ?? ""),
        rootHash,
      },
      digests: launches.map(({ vcpus, cpu, digest }) => ({ vcpus, cpu, digest })),
      ...(expected && { expected: { digest: expected.toString("hex"), met } }),
      ...(explained && {
        explanation: { found: explained.found !== null, differences: explained.differences, tried: explained.tried },
      }),
    });
    return met ? 0 : 3;
  },
};

/** MRTD has neither processors nor a kernel in it. */
const NOT_FOR_TDX = ["vcpus", "cpu", "vmm", "kernel", "initrd", "append", "guest-features"];

async function measureForTdx(invocation: Invocation, expected: Buffer | undefined): Promise<number> {
  const foreign = NOT_FOR_TDX.find((name) => invocation.options[name] !== undefined);
  if (foreign !== undefined) throw usageError(NAME, `--${foreign} is not measured in a TD's MRTD`);
  const image = await readBoundedFile(requiredOption(invocation, NAME, "ovmf"), OVMF_MAX_BYTES);
  const measurements = measureFirmwareForTdx(image);
  const met = expected === undefined || measurements.some(({ mrTd }) => mrTd === expected.toString("hex"));
  const { terminal } = invocation;
  for (const { order, mrTd } of measurements) terminal.result(`${mrTd}  MRTD, ${order}`);
  if (expected !== undefined) {
    terminal.result(met ? "the expected MRTD is one of them" : "the expected MRTD is another firmware's");
  }
  terminal.result(
    "loader, kernel and command line: in RTMR1 and RTMR2, which are not computed; take them from a start of your own",
  );
  terminal.document({
    schemaVersion: 1,
    inputs: { ovmf: `sha256:${createHash("sha256").update(image).digest("hex")}` },
    mrTds: measurements,
    ...(expected && { expected: { digest: expected.toString("hex"), met } }),
  });
  return met ? 0 : 3;
}

/** A dm-verity root hash as systemd's generators take it (`roothash=`, `usrhash=`), or null. */
function rootHashIn(commandLine: string): string | null {
  return /(?:^|\s)(?:roothash|usrhash)=([0-9a-f]{64}(?:[0-9a-f]{64})?)(?:\s|$)/i.exec(commandLine)?.[1] ?? null;
}

/** For the policy's `rootfs`. Whether the initrd heeds the hash, nobody can tell from outside. */
function rootfsLine(hasKernel: boolean, rootHash: string | null): string {
  if (!hasKernel) return "root file system: not measured; without --kernel nothing of the guest's disk is";
  if (rootHash !== null) return `root file system: fixed by the root hash ${rootHash}, if the initrd heeds it`;
  return "root file system: no root hash in the command line; measured only if all of it lies in the initrd";
}

function explanationLines({ found, differences, tried }: ReturnType<typeof explainMeasurement>): string[] {
  if (found !== null)
    return [
      "the expected digest is another's, and would be met with:",
      ...differences.map((line) => `  ${plain(line)}`),
    ];
  return [
    `the expected digest is another's; none of ${tried} variants of processors, VMM, features and kernel meets it:`,
    "  the bytes of the firmware, the kernel, the initrd or the command line differ, and a digest does not say which",
  ];
}

const hashText = (hash: Buffer | undefined): string | null => (hash ? `sha256:${hash.toString("hex")}` : null);

async function readKernelHashes(invocation: Invocation): Promise<KernelHashes | null> {
  const [kernel, initrd, append] = ["kernel", "initrd", "append"].map((name) => optionalOption(invocation, name));
  if (kernel === undefined) {
    if (initrd !== undefined || append !== undefined) throw usageError(NAME, "--initrd and --append need --kernel");
    return null;
  }
  return {
    kernel: await hashOfFile(kernel),
    initrd: initrd === undefined ? EMPTY_HASH : await hashOfFile(initrd),
    commandLine: commandLineHash(append ?? ""),
  };
}

/** SHA-256 of a file, read once and not held. */
async function hashOfFile(path: string): Promise<Buffer> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(path), hash);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "FILE_NOT_FOUND" : "FILE_UNREADABLE";
    throw installerError(code, `${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
  return hash.digest();
}

function readExpected(text: string | undefined): Buffer | undefined {
  if (text === undefined) return undefined;
  if (!/^[0-9a-f]+$/i.test(text) || text.length !== 2 * DIGEST_BYTES) {
    throw usageError(NAME, `--expect: got ${JSON.stringify(text)}, want ${2 * DIGEST_BYTES} hexadecimal digits`);
  }
  return Buffer.from(text, "hex");
}

function readVmm(text: string | undefined): Vmm {
  const found = VMMS.find((vmm) => vmm === (text ?? "qemu"));
  if (found === undefined) throw usageError(NAME, `--vmm: got ${JSON.stringify(text)}, want ${VMMS.join(", ")}`);
  return found;
}

function readCounts(texts: readonly string[]): number[] {
  if (texts.length === 0) throw usageError(NAME, "--vcpus is missing");
  return texts.map((text) => {
    const count = Number(text);
    if (!/^[1-9][0-9]*$/.test(text) || count > VCPUS_MAX) {
      throw usageError(NAME, `--vcpus: got ${JSON.stringify(text)}, want 1 to ${VCPUS_MAX}`);
    }
    return count;
  });
}

function readModels(texts: readonly string[]): readonly string[] {
  const known = Object.keys(CPU_SIGNATURES);
  const unknown = texts.find((text) => !known.includes(text));
  if (unknown !== undefined) {
    throw usageError(NAME, `--cpu: got ${JSON.stringify(unknown)}, want one of ${known.join(", ")}`);
  }
  return texts.length === 0 ? ["EPYC-v4"] : texts;
}

function readFeatures(text = "0x1"): bigint {
  if (!/^0x[0-9a-f]{1,16}$/i.test(text)) {
    throw usageError(NAME, `--guest-features: got ${JSON.stringify(text)}, want a number such as 0x1`);
  }
  return BigInt(text);
}
