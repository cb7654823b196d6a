import { collateralNeeds } from "../../verify/attestation/collateral-needs.ts";
import { collectReport } from "../../verify/attestation/collect-evidence.ts";
import { writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { reportDataOf } from "../../verify/attestation/report-data.ts";
import { parseSnpReport } from "../../verify/attestation/snp-report.ts";
import { writeNew } from "../host/write-new.ts";
import { readNonce } from "./attest-input.ts";
import { type Command, optionalOption, positionals, requiredOption, usageError } from "./command.ts";

const NAME = "attest collect";

export const attestCollect: Command = {
  name: NAME,
  summary: "ask this confidential VM's processor for a report, to be appraised on another machine",
  usage: "--nonce HEX --out FILE [--vmpl N]",
  details: [
    "--nonce HEX  16 to 64 bytes from whoever will appraise the evidence; an old nonce makes old evidence",
    "--out FILE   the evidence; an existing file is not replaced",
    "--vmpl N     0 to 3; without it the least that the kernel allows",
    "Needs root, and Linux 6.7 or newer in an SEV-SNP guest. It has not been run on AMD's silicon.",
  ],
  options: { nonce: { type: "string" }, out: { type: "string" }, vmpl: { type: "string" } },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const nonce = readNonce(NAME, requiredOption(invocation, NAME, "nonce")) as Buffer;
    const out = requiredOption(invocation, NAME, "out");
    const { provider, report, certificateTable, leftover } = collectReport(
      reportDataOf(nonce),
      readLevel(optionalOption(invocation, "vmpl")),
    );
    const bytes = writeCollectedEvidence(provider, report, certificateTable);
    await writeNew(out, bytes);
    // Our own processor's report, so it is read here and not in the cage.
    const needs = collateralNeeds(parseSnpReport(report));
    const { terminal } = invocation;
    terminal.result(`evidence of ${provider}, ${report.length} bytes, certificates: ${certificateTable.length} bytes`);
    terminal.result(
      `next, on the verifier's machine: sealift attest verify --evidence ${out} --nonce ${nonce.toString("hex")} …`,
    );
    terminal.result("a connected machine fetches, if it has not yet:");
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

function readLevel(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[0-3]$/.test(text)) throw usageError(NAME, `--vmpl: got ${JSON.stringify(text)}, want 0 to 3`);
  return Number(text);
}
