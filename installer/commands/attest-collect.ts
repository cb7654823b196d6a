import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { CHALLENGE_MAX_BYTES, challengeReportData, readChallenge } from "../../verify/attestation/challenge.ts";
import { collateralNeeds } from "../../verify/attestation/collateral-needs.ts";
import { collectReport } from "../../verify/attestation/collect-evidence.ts";
import { writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { reportDataOf } from "../../verify/attestation/report-data.ts";
import { parseSnpReport } from "../../verify/attestation/snp-report.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import type { Terminal } from "../ui/terminal.ts";
import { readNonce } from "./attest-input.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";

const NAME = "attest collect";

export const attestCollect: Command = {
  name: NAME,
  summary: "ask this confidential VM's processor for a report, to be appraised on another machine",
  usage: "(--nonce HEX | --challenge FILE) --out FILE [--vmpl N]",
  details: [
    "--nonce HEX  16 to 64 bytes from whoever will appraise the evidence; an old nonce makes old evidence",
    "--challenge F  what attest challenge made on the verifier's machine, instead of a nonce",
    "--out FILE   the evidence; an existing file is not replaced",
    "--vmpl N     0 to 3; without it the least that the kernel allows",
    "Needs root, and Linux 6.7 or newer in an SEV-SNP guest. It has not been run on AMD's silicon.",
  ],
  options: {
    nonce: { type: "string" },
    challenge: { type: "string" },
    out: { type: "string" },
    vmpl: { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const reportData = await readQuestion(invocation);
    const out = requiredOption(invocation, NAME, "out");
    const { provider, report, certificateTable, leftover } = collectReport(
      reportData,
      readLevel(optionalOption(invocation, "vmpl")),
    );
    const bytes = writeCollectedEvidence(provider, report, certificateTable);
    await writeNew(out, bytes);
    const { terminal } = invocation;
    const needs = needsOf(report, terminal);
    terminal.result(`evidence of ${provider}, ${report.length} bytes, certificates: ${certificateTable.length} bytes`);
    if (needs.length > 0) terminal.result("a connected machine fetches, if it has not yet:");
    for (const address of needs) terminal.result(`  ${address}`);
    if (leftover !== null)
      terminal.note(`${leftover} could not be removed; it does no harm and is gone after a reboot`);
    terminal.document({
      evidence: out,
      provider,
      collateral: needs,
      certificateTableBytes: certificateTable.length,
      leftover,
    });
    return 0;
  },
};

/**
 * What to fetch, or nothing with a note: a report that is not understood here may be by a newer verifier. It is
 * our own processor's, so it is read here and not in the cage.
 */
function needsOf(report: Buffer, terminal: Terminal): readonly string[] {
  try {
    return collateralNeeds(parseSnpReport(report));
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    terminal.note(`this version cannot read the report that was collected: ${cause.message} [${cause.code}]`);
    return [];
  }
}

/** REPORT_DATA for the nonce or the challenge. */
async function readQuestion(invocation: Invocation): Promise<Buffer> {
  const nonce = readNonce(NAME, optionalOption(invocation, "nonce"));
  const path = optionalOption(invocation, "challenge");
  if ((nonce === null) === (path === undefined)) throw usageError(NAME, "give --nonce or --challenge");
  if (nonce !== null) return reportDataOf(nonce);
  const challenge = await readBoundedFile(path as string, CHALLENGE_MAX_BYTES);
  readChallenge(challenge);
  return challengeReportData(challenge);
}

function readLevel(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[0-3]$/.test(text)) throw usageError(NAME, `--vmpl: got ${JSON.stringify(text)}, want 0 to 3`);
  return Number(text);
}
