/**
 * The reference values of a release (RFC 9334): from what its confidential VM may be started, which launch
 * digests an SEV-SNP processor must then report, and which MRTD a TD. Inputs and digests stand side by side, so that whoever has the
 * bundle can compute the digests again and need not believe them.
 */
import type { Digest } from "./digest.ts";
import {
  commandLineHash,
  DIGEST_BYTES,
  EMPTY_HASH,
  type KernelHashes,
  type LaunchInputs,
  measureFirmware,
  measureForEachCount,
  VCPUS_MAX,
} from "./launch-measurement.ts";
import type { Ovmf } from "./ovmf.ts";
import { CPU_SIGNATURES, VMMS, type Vmm } from "./processor-state.ts";
import type { JsonSchema } from "./schema.ts";
import { measureTd, TD_ORDERS, type TdOrder } from "./td-measurement.ts";
import { readTdvf } from "./tdvf.ts";

/** Linux's own limit on x86 (COMMAND_LINE_SIZE). */
const COMMAND_LINE_MAX_LENGTH = 2048;
export const LAUNCHES_MAX = 16;
export const LAUNCH_DIGESTS_MAX = 1024;
export const DEFAULT_GUEST_FEATURES = "0x1";

/** A file that the VM is started from: one of the release's files, or one known by its digest alone. */
export interface LaunchFile {
  readonly file?: string;
  /** SHA-256 of the file's own bytes, not of the OCI artifact that carries it. */
  readonly digest: Digest;
}

/** One number of processors of one model, and what is reported then. */
export interface LaunchMeasurement {
  readonly vcpus: number;
  /** QEMU's CPU model (CPU_SIGNATURES); other VMMs measure a constant, and it is absent. */
  readonly cpu?: string;
  /** 96 hexadecimal digits. */
  readonly digest: string;
}

export interface ReferenceLaunch {
  readonly vmm: Vmm;
  /** OVMF; always carried, because nothing can be computed without its bytes. */
  readonly firmware: LaunchFile & { readonly file: string };
  /** SEV_FEATURES, e.g. `0x1`: SEV-SNP alone. */
  readonly guestFeatures: string;
  /** What the VMM starts directly. Without it the guest boots from its disk, of which nothing is measured. */
  readonly kernel?: LaunchFile;
  readonly initrd?: LaunchFile;
  readonly commandLine?: string;
  readonly measurements: readonly LaunchMeasurement[];
}

/** A firmware, and what a TD that is made of it must report as MRTD. */
export interface ReferenceTd {
  readonly firmware: LaunchFile & { readonly file: string };
  /** One for each of TD_ORDERS: which one is met depends on the host's kernel. 96 hexadecimal digits each. */
  readonly measurements: readonly { readonly order: TdOrder; readonly mrTd: string }[];
}

/** At least one of the two. */
export interface ReleaseAttestation {
  readonly sevSnp?: readonly ReferenceLaunch[];
  readonly tdx?: readonly ReferenceTd[];
}

/** Number and model of processors; the part of a measurement that is no result. */
export type LaunchProcessors = Omit<LaunchMeasurement, "digest">;
export type LaunchDescription = Omit<ReferenceLaunch, "measurements">;

const digestSchema = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const fileName = { type: "string", minLength: 1, maxLength: 64 };
const launchFile = (required: readonly string[]): object => ({
  type: "object",
  additionalProperties: false,
  required,
  properties: { file: fileName, digest: digestSchema },
});

/** The members that an appliance file and a release say in the same words. */
export const launchMembers = {
  vmm: { enum: [...VMMS] },
  guestFeatures: { type: "string", pattern: "^0x(?:0|[1-9a-f][0-9a-f]{0,15})$" },
  commandLine: { type: "string", maxLength: COMMAND_LINE_MAX_LENGTH, pattern: "^[ -~]*$" },
  vcpus: { type: "integer", minimum: 1, maximum: VCPUS_MAX },
  cpu: { enum: Object.keys(CPU_SIGNATURES) },
};

/** The member `attestation` of `sealift schema release`. */
export const releaseAttestationSchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  minProperties: 1,
  properties: {
    tdx: {
      type: "array",
      minItems: 1,
      maxItems: LAUNCHES_MAX,
      items: {
        type: "object",
        additionalProperties: false,
        required: ["firmware", "measurements"],
        properties: {
          firmware: launchFile(["file", "digest"]),
          measurements: {
            type: "array",
            minItems: TD_ORDERS.length,
            maxItems: TD_ORDERS.length,
            items: {
              type: "object",
              additionalProperties: false,
              required: ["order", "mrTd"],
              properties: {
                order: { enum: [...TD_ORDERS] },
                mrTd: { type: "string", pattern: `^[0-9a-f]{${2 * DIGEST_BYTES}}$` },
              },
            },
          },
        },
      },
    },
    sevSnp: {
      type: "array",
      minItems: 1,
      maxItems: LAUNCHES_MAX,
      items: {
        type: "object",
        additionalProperties: false,
        required: ["vmm", "firmware", "guestFeatures", "measurements"],
        properties: {
          vmm: launchMembers.vmm,
          firmware: launchFile(["file", "digest"]),
          guestFeatures: launchMembers.guestFeatures,
          kernel: launchFile(["digest"]),
          initrd: launchFile(["digest"]),
          commandLine: launchMembers.commandLine,
          measurements: {
            type: "array",
            minItems: 1,
            maxItems: LAUNCH_DIGESTS_MAX,
            items: {
              type: "object",
              additionalProperties: false,
              required: ["vcpus", "digest"],
              properties: {
                vcpus: launchMembers.vcpus,
                cpu: launchMembers.cpu,
                digest: { type: "string", pattern: `^[0-9a-f]{${2 * DIGEST_BYTES}}$` },
              },
            },
          },
        },
      },
    },
  },
};

/** What the schema cannot say, or undefined. `fileNames` are the release's files. Computes nothing. */
export function releaseAttestationProblem(
  { sevSnp = [], tdx = [] }: ReleaseAttestation,
  fileNames: readonly string[],
): string | undefined {
  for (const [i, { firmware, measurements }] of tdx.entries()) {
    const orders = measurements.map(({ order }) => order);
    const twice = new Set(orders).size < orders.length ? "an order is there twice" : undefined;
    const problem = launchProblem({ firmware }, fileNames) ?? twice;
    if (problem !== undefined) return `/tdx/${i}: ${problem}`;
  }
  for (const [i, launch] of sevSnp.entries()) {
    const problem = launchProblem(launch, fileNames) ?? processorsProblem(launch.vmm, launch.measurements);
    if (problem !== undefined) return `/sevSnp/${i}: ${problem}`;
  }
  return undefined;
}

type NamedOrNot = { readonly file: string } | { readonly digest: Digest };

/** What is wrong with the inputs of one launch, or undefined. */
export function launchProblem(
  launch: {
    readonly firmware: NamedOrNot;
    readonly kernel?: NamedOrNot;
    readonly initrd?: NamedOrNot;
    readonly commandLine?: string;
  },
  fileNames: readonly string[],
): string | undefined {
  const { firmware, kernel, initrd } = launch;
  for (const input of [firmware, kernel, initrd]) {
    const file = input && "file" in input ? input.file : undefined;
    if (file !== undefined && !fileNames.includes(file)) return `file ${JSON.stringify(file)} is none of those carried`;
  }
  if (launch.kernel === undefined && (launch.initrd !== undefined || launch.commandLine !== undefined)) {
    return "an initrd and a command line need a kernel";
  }
  return undefined;
}

/** Whether each is there once, with a CPU model exactly where the VMM measures one. */
export function processorsProblem(vmm: Vmm, processors: readonly LaunchProcessors[]): string | undefined {
  const seen = new Set<string>();
  for (const { vcpus, cpu } of processors) {
    if (vmm === "qemu" && cpu === undefined) return "QEMU measures the CPU model, and none is named";
    if (vmm !== "qemu" && cpu !== undefined) return `${vmm} measures no CPU model, got ${cpu}`;
    const name = processorsText({ vcpus, ...(cpu !== undefined && { cpu }) });
    if (seen.has(name)) return `${name} is there twice`;
    seen.add(name);
  }
  return undefined;
}

/** e.g. `4 × EPYC-Milan`, or `4 processors` where no model is measured. */
export function processorsText({ vcpus, cpu }: LaunchProcessors): string {
  return cpu === undefined ? `${vcpus} processors` : `${vcpus} × ${cpu}`;
}

/** The inputs of one launch digest. `ovmf` is the launch's firmware; nothing here compares it with its digest. */
export function launchInputs(launch: LaunchDescription, ovmf: Ovmf, { vcpus, cpu }: LaunchProcessors): LaunchInputs {
  return {
    ovmf,
    vmm: launch.vmm,
    vcpus,
    cpuSignature: cpu === undefined ? 0 : (CPU_SIGNATURES[cpu] as number),
    guestFeatures: BigInt(launch.guestFeatures),
    kernelHashes: kernelHashes(launch),
  };
}

/** QEMU gives OVMF SHA-256 digests, which is what a LaunchFile has: the files themselves need not be read. */
function kernelHashes({ kernel, initrd, commandLine = "" }: LaunchDescription): KernelHashes | null {
  if (kernel === undefined) return null;
  return {
    kernel: hashOf(kernel),
    initrd: initrd === undefined ? EMPTY_HASH : hashOf(initrd),
    commandLine: commandLineHash(commandLine),
  };
}

const hashOf = ({ digest }: LaunchFile): Buffer => Buffer.from(digest.slice("sha256:".length), "hex");

/**
 * The launch digest of each of `processors`, in their order.
 * @throws ATTEST_OVMF_MALFORMED for a kernel with firmware that would start any.
 */
export function measureProcessors<Processors extends LaunchProcessors>(
  launch: LaunchDescription,
  ovmf: Ovmf,
  processors: readonly Processors[],
): readonly { readonly processors: Processors; readonly digest: string }[] {
  const firmware = measureFirmware(ovmf);
  const byModel = new Map<string | undefined, readonly Buffer[]>();
  for (const model of new Set(processors.map(({ cpu }) => cpu))) {
    const ofModel = processors.filter(({ cpu }) => cpu === model);
    const most = Math.max(...ofModel.map(({ vcpus }) => vcpus));
    const inputs = launchInputs(launch, ovmf, { vcpus: most, ...(model !== undefined && { cpu: model }) });
    byModel.set(model, measureForEachCount(inputs, firmware, most));
  }
  return processors.map((one) => {
    const digest = byModel.get(one.cpu)?.[one.vcpus - 1] as Buffer;
    return { processors: one, digest: digest.toString("hex") };
  });
}

/** The MRTDs of a firmware's image, in all orders. @throws ATTEST_OVMF_MALFORMED */
export function measureFirmwareForTdx(image: Buffer): ReferenceTd["measurements"] {
  const sections = readTdvf(image);
  return TD_ORDERS.map((order) => ({ order, mrTd: measureTd(sections, order).toString("hex") }));
}
