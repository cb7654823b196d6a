/** The launch digests of a release, for who appraises the VM that runs it. */
import { readRelease, releaseAt } from "../../bundles/layout/contents.ts";
import { closeStore, openStore, readLayout } from "../../bundles/layout/layout.ts";
import { OCI_INDEX } from "../../bundles/model/media-types.ts";
import { OVMF_MAX_BYTES, type Ovmf, readOvmf } from "../../bundles/model/ovmf.ts";
import { launchInputs, processorsText, type ReferenceLaunch } from "../../bundles/model/release-attestation.ts";
import { readApprovals } from "../../verify/approval-files.ts";
import type { ReferenceValues } from "../../verify/attestation/appraise.ts";
import { explainMeasurement } from "../../verify/attestation/explain-measurement.ts";
import { verifyInCage } from "../../verify/cage/run-cage.ts";
import { verifyError } from "../../verify/error.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { sealiftVersion } from "../host/this-host.ts";
import type { Invocation } from "./command.ts";
import { advisoryStandards } from "./verify.ts";

export interface ReleaseReference extends ReferenceValues {
  /** Which input of the release's launches would give `reported`, a launch digest in hexadecimal; lines for a person. */
  readonly explain: (reported: string) => readonly string[];
}

/**
 * Verifies the bundle at `path` as `sealift verify` does, by `--trust` or the site's own standards, and reads the
 * reference values of the release that was allowed, by its digest and from the same open files.
 * @throws RELEASE_DENIED | RELEASE_UNMEASURED for a release without any, and what verification throws
 */
export async function releaseReference(
  invocation: Invocation,
  path: string,
  time: Verdict["time"],
): Promise<ReleaseReference> {
  const progress = invocation.terminal.progress("verifying the release");
  const standards = await advisoryStandards(invocation);
  const store = openStore(path);
  try {
    const approvals = readApprovals(path);
    const question = {
      ...standards,
      approvals,
      store,
      time,
      scope: "advisory",
      sealiftVersion: sealiftVersion(),
    } as const;
    const verdict = await verifyInCage({ ...question, onProgress: () => {} });
    progress.done(verdict.decision === "allow" ? "allowed" : "denied");
    const { digest } = verdict.subject;
    if (verdict.decision !== "allow" || digest === null) throw denied(verdict);
    const layout = readLayout(store);
    const size = layout.blob(digest)?.size ?? 0;
    const { manifest } = readRelease(layout, releaseAt({ mediaType: OCI_INDEX, digest, size }));
    if (manifest.attestation === undefined) {
      throw verifyError("RELEASE_UNMEASURED", `release ${digest}: it carries no launch digests`, {
        hints: ["list them in the policy's measurements; sealift attest measure computes them"],
      });
    }
    const { sevSnp = [], tdx = [] } = manifest.attestation;
    const launches = sevSnp.map((launch) => ({
      launch,
      ovmf: readOvmf(layout.read(launch.firmware.digest, OVMF_MAX_BYTES)),
    }));
    const launchDigests = launches.flatMap(({ launch }) =>
      launch.measurements.map((measurement) => measurement.digest),
    );
    const mrTds = tdx.flatMap(({ measurements }) => measurements.map(({ mrTd }) => mrTd));
    return { release: digest, launchDigests, mrTds, explain: (reported) => explained(launches, reported) };
  } finally {
    closeStore(store);
  }
}

interface KnownLaunch {
  readonly launch: ReferenceLaunch;
  readonly ovmf: Ovmf;
}

/** The launch that comes nearest, and what differs from it; or that none does. */
function explained(launches: readonly KnownLaunch[], reported: string): string[] {
  const found = launches.flatMap(({ launch, ovmf }, i) => {
    const [first] = launch.measurements;
    if (first === undefined) return [];
    const { differences, found: inputs } = explainMeasurement(
      launchInputs(launch, ovmf, first),
      Buffer.from(reported, "hex"),
    );
    return inputs === null ? [] : [{ name: `launch ${i + 1} of the release (${processorsText(first)})`, differences }];
  });
  const [nearest] = found.toSorted((a, b) => a.differences.length - b.differences.length);
  if (nearest === undefined) {
    return ["the release does not explain the launch digest: a file or the command line differs, or it is another VM"];
  }
  return [`the launch digest is that of ${nearest.name} with:`, ...nearest.differences.map((line) => `  ${line}`)];
}

function denied({ subject, findings }: Verdict): Error {
  const codes = findings.filter(({ status }) => status === "fail" || status === "error").map(({ code }) => code);
  const why = [...new Set(codes)].join(", ") || "denied";
  return verifyError("RELEASE_DENIED", `release ${subject.digest ?? "unknown"}: ${why}`, {
    hints: ["sealift verify BUNDLE says what is wrong with it"],
  });
}
