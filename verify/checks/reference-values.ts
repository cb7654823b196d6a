/** `attestation`: the release's launch digests are those of the launches that it describes, computed again here. */
import type { BundleEntry, BundleRelease } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { OVMF_MAX_BYTES, type Ovmf, readOvmf } from "../../bundles/model/ovmf.ts";
import {
  type LaunchFile,
  launchInputs,
  measureFirmwareForTdx,
  measureProcessors,
  processorsText,
  type ReferenceLaunch,
  type ReferenceTd,
} from "../../bundles/model/release-attestation.ts";
import { explainMeasurement } from "../attestation/explain-measurement.ts";
import { type Finding, failed, notChecked, passed } from "../verdict.ts";

const CHECK = "attestation";

/**
 * One finding for all of a release's reference values, or one for each launch that is wrong, which names the
 * input that differs as far as a digest tells. Asks no VM anything: `sealift attest verify --release` does.
 * @throws ATTEST_OVMF_MALFORMED
 */
export function checkReferenceValues(layout: Layout, release: BundleRelease): Finding[] {
  const { attestation } = release.manifest;
  if (attestation === undefined) {
    return [notChecked(CHECK, "release", "the release carries no reference values for a confidential VM")];
  }
  const { sevSnp = [], tdx = [] } = attestation;
  const problems = [
    ...sevSnp.flatMap((launch, i) => launchFindings(layout, release, launch, `launch ${i + 1}`)),
    ...tdx.flatMap((td, i) => tdFindings(layout, release, td, `TD ${i + 1}`)),
  ];
  if (problems.length > 0) return problems;
  const digests = sevSnp.reduce((sum, { measurements }) => sum + measurements.length, 0);
  const uncarried = new Set(
    sevSnp.flatMap(({ kernel, initrd }) =>
      [kernel, initrd].flatMap((input) => (input && input.file === undefined ? [input.digest] : [])),
    ),
  );
  const alone = uncarried.size === 0 ? "" : `; ${uncarried.size} files are known by their digests alone`;
  const mrTds = tdx.length === 0 ? "" : ` and MRTDs of ${tdx.length} firmware files for TDX`;
  const message = `${digests} launch digests of SEV-SNP${mrTds}, computed again from their inputs${alone}`;
  return [passed(CHECK, "release", message)];
}

/** What is wrong with the MRTDs of one firmware; empty if nothing. */
function tdFindings(layout: Layout, release: BundleRelease, td: ReferenceTd, name: string): Finding[] {
  const foreign = inputFindings(release, td.firmware, name, "firmware");
  if (foreign.length > 0) return foreign;
  const measured = measureFirmwareForTdx(layout.read(td.firmware.digest, OVMF_MAX_BYTES));
  const wrong = td.measurements.find(({ order, mrTd }) => measured.find((one) => one.order === order)?.mrTd !== mrTd);
  if (wrong === undefined) return [];
  const want = measured.find(({ order }) => order === wrong.order)?.mrTd;
  const problem = `${name}: got MRTD ${wrong.mrTd} ${wrong.order}, want ${want}`;
  return [failed(CHECK, name, "RELEASE_LAUNCH_DIGEST", `${problem}; its bytes or the order differ`)];
}

/** What is wrong with one launch; empty if nothing. */
function launchFindings(layout: Layout, release: BundleRelease, launch: ReferenceLaunch, name: string): Finding[] {
  const foreign = [
    ["firmware", launch.firmware],
    ["kernel", launch.kernel],
    ["initrd", launch.initrd],
  ] as const;
  const findings = foreign.flatMap(([role, input]) => (input ? inputFindings(release, input, name, role) : []));
  if (findings.length > 0) return findings;
  const ovmf = readOvmf(layout.read(launch.firmware.digest, OVMF_MAX_BYTES));
  const wrong = measureProcessors(launch, ovmf, launch.measurements).find(
    ({ processors, digest }) => processors.digest !== digest,
  );
  if (wrong === undefined) return [];
  const { processors, digest } = wrong;
  const problem = `${name}: got ${processors.digest} for ${processorsText(processors)}, want ${digest}`;
  return [failed(CHECK, name, "RELEASE_LAUNCH_DIGEST", `${problem}; ${explained(launch, ovmf, wrong.processors)}`)];
}

/** Whether the file that the release carries is the one of which the launch speaks. */
function inputFindings(release: BundleRelease, { file, digest }: LaunchFile, name: string, role: string): Finding[] {
  if (file === undefined) return [];
  // The names were checked when the release document was read, and each file's manifest has one layer.
  const [layer] = (release.files.get(file) as BundleEntry).manifest.layers;
  if (layer?.digest === digest) return [];
  const message = `${name}: ${role}: carried is ${JSON.stringify(file)} ${layer?.digest}, but its digests are of ${digest}`;
  return [failed(CHECK, name, "RELEASE_LAUNCH_INPUT", message)];
}

function explained(launch: ReferenceLaunch, ovmf: Ovmf, measurement: ReferenceLaunch["measurements"][number]): string {
  const reported = Buffer.from(measurement.digest, "hex");
  const { differences } = explainMeasurement(launchInputs(launch, ovmf, measurement), reported);
  return differences.length === 0
    ? "no other processors, VMM or features explain it: a file or the command line differs"
    : `it is the digest of other inputs: ${differences.join("; ")}`;
}
