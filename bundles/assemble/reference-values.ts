/** From the appliance file's launches to the release's reference values: the digests are computed here. */
import type { BlobSource } from "../layout/blob-source.ts";
import { type ApplianceFile, type LaunchFileSpec, type LaunchSpec, launchProcessors } from "../model/appliance.ts";
import { modelError } from "../model/error.ts";
import { OVMF_MAX_BYTES, readOvmf } from "../model/ovmf.ts";
import {
  DEFAULT_GUEST_FEATURES,
  type LaunchDescription,
  type LaunchFile,
  measureFirmwareForTdx,
  measureProcessors,
  type ReferenceLaunch,
  type ReferenceTd,
  type ReleaseAttestation,
} from "../model/release-attestation.ts";

/**
 * `files` are the carried files by name; the appliance file names no others (`checkApplianceFile`).
 * @throws ATTEST_OVMF_MALFORMED
 */
export async function referenceValues(
  { sevSnp = [], tdx = [] }: NonNullable<ApplianceFile["attestation"]>,
  files: ReadonlyMap<string, BlobSource>,
): Promise<ReleaseAttestation> {
  const tds: ReferenceTd[] = [];
  for (const { firmware: file } of tdx) {
    const blob = files.get(file) as BlobSource;
    const measurements = measureFirmwareForTdx(await readFirmware(file, blob));
    tds.push({ firmware: { file, digest: blob.digest }, measurements });
  }
  const launches: ReferenceLaunch[] = [];
  for (const spec of sevSnp) {
    const launch = describe(spec, files);
    const ovmf = readOvmf(await readFirmware(launch.firmware.file, files.get(launch.firmware.file) as BlobSource));
    const measured = measureProcessors(launch, ovmf, launchProcessors(spec));
    launches.push({ ...launch, measurements: measured.map(({ processors, digest }) => ({ ...processors, digest })) });
  }
  return { ...(launches.length > 0 && { sevSnp: launches }), ...(tds.length > 0 && { tdx: tds }) };
}

function describe(spec: LaunchSpec, files: ReadonlyMap<string, BlobSource>): LaunchDescription {
  const { vmm, firmware, guestFeatures = DEFAULT_GUEST_FEATURES, kernel, initrd, commandLine } = spec;
  const carried = (file: string) => ({ file, digest: (files.get(file) as BlobSource).digest });
  const named = (wanted: LaunchFileSpec): LaunchFile => ("file" in wanted ? carried(wanted.file) : wanted);
  return {
    vmm,
    firmware: carried(firmware),
    guestFeatures,
    ...(kernel && { kernel: named(kernel) }),
    ...(initrd && { initrd: named(initrd) }),
    ...(commandLine !== undefined && { commandLine }),
  };
}

/** That the bytes are those of the digest is checked when they are written, and again by whoever verifies. */
async function readFirmware(name: string, blob: BlobSource): Promise<Buffer> {
  if (blob.size > OVMF_MAX_BYTES) {
    throw modelError(
      "ATTEST_OVMF_MALFORMED",
      `firmware ${JSON.stringify(name)}: got ${blob.size} bytes, want at most ${OVMF_MAX_BYTES}`,
    );
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of blob.open()) chunks.push(chunk);
  return Buffer.concat(chunks);
}
