/** From the appliance file's launches to the release's reference values: the digests are computed here. */
import type { BlobSource } from "../layout/blob-source.ts";
import { type ApplianceFile, type LaunchFileSpec, type LaunchSpec, launchProcessors } from "../model/appliance.ts";
import { modelError } from "../model/error.ts";
import { OVMF_MAX_BYTES, type Ovmf, readOvmf } from "../model/ovmf.ts";
import {
  DEFAULT_GUEST_FEATURES,
  type LaunchDescription,
  type LaunchFile,
  measureProcessors,
  type ReferenceLaunch,
  type ReleaseAttestation,
} from "../model/release-attestation.ts";

/**
 * `files` are the carried files by name; the appliance file names no others (`checkApplianceFile`).
 * @throws ATTEST_OVMF_MALFORMED
 */
export async function referenceValues(
  { sevSnp }: NonNullable<ApplianceFile["attestation"]>,
  files: ReadonlyMap<string, BlobSource>,
): Promise<ReleaseAttestation> {
  const launches: ReferenceLaunch[] = [];
  for (const spec of sevSnp) {
    const launch = describe(spec, files);
    const ovmf = await readFirmware(launch.firmware.file, files.get(launch.firmware.file) as BlobSource);
    const measured = measureProcessors(launch, ovmf, launchProcessors(spec));
    launches.push({ ...launch, measurements: measured.map(({ processors, digest }) => ({ ...processors, digest })) });
  }
  return { sevSnp: launches };
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
async function readFirmware(name: string, blob: BlobSource): Promise<Ovmf> {
  if (blob.size > OVMF_MAX_BYTES) {
    throw modelError(
      "ATTEST_OVMF_MALFORMED",
      `firmware ${JSON.stringify(name)}: got ${blob.size} bytes, want at most ${OVMF_MAX_BYTES}`,
    );
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of blob.open()) chunks.push(chunk);
  return readOvmf(Buffer.concat(chunks));
}
