/**
 * Says which input of a launch differs when the reported digest is not the computed one. A digest tells nothing
 * by itself, so what can be guessed is tried: number and model of processors, VMM, features, and a kernel, initrd
 * or command line that is missing or known from elsewhere. Changed bytes of a file cannot be found in this way.
 */
import {
  commandLineHash,
  EMPTY_HASH,
  type KernelHashes,
  type LaunchInputs,
  measureFirmware,
  measureForEachCount,
} from "../../bundles/model/launch-measurement.ts";
import { CPU_SIGNATURES, VMMS } from "../../bundles/model/processor-state.ts";

/** Other values that one may have been started with, beside those that are always tried. */
export interface Alternatives {
  readonly kernels?: readonly Buffer[];
  readonly initrds?: readonly Buffer[];
  readonly commandLines?: readonly string[];
}

export interface Explanation {
  /** Inputs with which the digest would be the reported one; null if none was found. */
  readonly found: LaunchInputs | null;
  /** One line for each input that differs, e.g. `processors: 4, not 2`. */
  readonly differences: readonly string[];
  /** How many digests were compared. */
  readonly tried: number;
}

/** More processors than most hosts have. */
const VCPUS_TRIED = 512;
/** SEV-SNP alone; with debug swap; with restricted injection; with both. */
const FEATURES_TRIED = [0x1n, 0x21n, 0x9n, 0x29n];

/** `reported` is a launch digest, 48 bytes. Of several explanations the one with the fewest differences. */
export function explainMeasurement(inputs: LaunchInputs, reported: Buffer, others: Alternatives = {}): Explanation {
  const firmware = measureFirmware(inputs.ovmf);
  let tried = 0;
  let best: { readonly found: LaunchInputs; readonly differences: readonly string[] } | null = null;
  for (const variant of variants(inputs, others)) {
    const digests = measureForEachCount(variant, firmware, Math.max(VCPUS_TRIED, inputs.vcpus));
    tried += digests.length;
    const at = digests.findIndex((digest) => digest.equals(reported));
    if (at < 0) continue;
    const found = { ...variant, vcpus: at + 1 };
    const differences = differencesOf(inputs, found);
    if (best === null || differences.length < best.differences.length) best = { found, differences };
    if (differences.length <= 1) break;
  }
  return { found: best?.found ?? null, differences: best?.differences ?? [], tried };
}

function* variants(inputs: LaunchInputs, others: Alternatives): Generator<LaunchInputs> {
  const signatures = new Set([inputs.cpuSignature, ...Object.values(CPU_SIGNATURES)]);
  const features = new Set([inputs.guestFeatures, ...FEATURES_TRIED]);
  for (const kernelHashes of kernelVariants(inputs, others)) {
    for (const vmm of VMMS) {
      for (const cpuSignature of vmm === "qemu" ? signatures : [inputs.cpuSignature]) {
        for (const guestFeatures of features) yield { ...inputs, kernelHashes, vmm, cpuSignature, guestFeatures };
      }
    }
  }
}

/** Each of the three changed alone, and no kernel at all. */
function kernelVariants({ ovmf, kernelHashes }: LaunchInputs, others: Alternatives): (KernelHashes | null)[] {
  const takesKernel = ovmf.hashTableGpa !== undefined && ovmf.sections.some(({ kind }) => kind === "kernel-hashes");
  if (kernelHashes === null || !takesKernel) return [kernelHashes];
  const kernels = (others.kernels ?? []).map((kernel) => ({ ...kernelHashes, kernel }));
  const initrds = [EMPTY_HASH, ...(others.initrds ?? [])].map((initrd) => ({ ...kernelHashes, initrd }));
  const lines = ["", ...(others.commandLines ?? [])].map((line) => ({
    ...kernelHashes,
    commandLine: commandLineHash(line),
  }));
  return [kernelHashes, null, ...kernels, ...initrds, ...lines];
}

function differencesOf(want: LaunchInputs, got: LaunchInputs): string[] {
  const differences: string[] = [];
  const note = (name: string, wanted: string, found: string): void => {
    if (wanted !== found) differences.push(`${name}: ${found}, not ${wanted}`);
  };
  note("VMM", want.vmm, got.vmm);
  note("processors", `${want.vcpus}`, `${got.vcpus}`);
  if (want.vmm === "qemu" && got.vmm === "qemu") note("CPU model", modelText(want), modelText(got));
  note("guest features", featuresText(want), featuresText(got));
  if (want.kernelHashes !== null && got.kernelHashes === null) differences.push("kernel: none was given to the VMM");
  if (want.kernelHashes !== null && got.kernelHashes !== null) {
    for (const [member, name] of [
      ["kernel", "kernel"],
      ["initrd", "initrd"],
      ["commandLine", "command line"],
    ] as const) {
      const [wanted, found] = [want.kernelHashes[member], got.kernelHashes[member]];
      if (!wanted.equals(found)) differences.push(`${name}: ${hashText(found)}, not ${hashText(wanted)}`);
    }
  }
  return differences;
}

function hashText(hash: Buffer): string {
  if (hash.equals(EMPTY_HASH)) return "none";
  if (hash.equals(commandLineHash(""))) return "empty";
  return `sha256:${hash.toString("hex")}`;
}

const featuresText = ({ guestFeatures }: LaunchInputs): string => `0x${guestFeatures.toString(16)}`;

function modelText({ cpuSignature }: LaunchInputs): string {
  const names = Object.keys(CPU_SIGNATURES).filter((name) => CPU_SIGNATURES[name] === cpuSignature);
  return names[0] ?? `signature 0x${cpuSignature.toString(16)}`;
}
