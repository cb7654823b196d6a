import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { collateralNeedsOf } from "../../verify/attestation/collateral-needs.ts";
import { type CollectedReport, collectReport } from "../../verify/attestation/collect-evidence.ts";
import { writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { writeNew } from "../host/write-new.ts";
import { answerChallenge } from "../lifecycle/answer-challenge.ts";
import type { Terminal } from "../ui/terminal.ts";
import { RUN_DETAILS, RUN_OPTIONS, readQuestion, runDirectory } from "./attest-input.ts";
import { type Command, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import { withSite } from "./site-options.ts";

const NAME = "attest collect";

export const attestCollect: Command = {
  name: NAME,
  summary: "ask this confidential VM's processor for a report, to be appraised on another machine",
  usage: "(--nonce HEX | --challenge FILE) --out FILE [--vmpl N] [--state DIR] [--run DIR]",
  details: [
    "--nonce HEX  16 to 64 bytes from whoever will appraise the evidence; an old nonce makes old evidence",
    "--challenge F  what attest challenge made on the verifier's machine, instead of a nonce",
    "--out FILE   the evidence; an existing file is not replaced",
    "--vmpl N     0 to 3; without it the least that the kernel allows",
    ...RUN_DETAILS,
    "A challenge that names a site is answered by that site only, while its ledger is where the challenge says. The",
    "answer names the site's host key, and a transport key that lives in memory until attest unseal has used it.",
    "Needs root, and Linux 6.7 or newer in an SEV-SNP guest. It has not been run on AMD's silicon.",
  ],
  options: {
    nonce: { type: "string" },
    challenge: { type: "string" },
    out: { type: "string" },
    vmpl: { type: "string" },
    ...RUN_OPTIONS,
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const question = await readQuestion(invocation, NAME);
    const out = requiredOption(invocation, NAME, "out");
    const vmpl = readLevel(optionalOption(invocation, "vmpl"));
    const ask = (reportData: Buffer): CollectedReport => collectReport(reportData, vmpl);
    const answer = Buffer.isBuffer(question)
      ? unbound(ask(question))
      : await withSite(invocation, NAME, (site) =>
          answerChallenge(site, runDirectory(invocation), question.challenge, ask),
        );
    const { collected, evidence, hostKey } = answer;
    const { provider, report, certificateTable, leftover } = collected;
    await writeNew(out, evidence);
    const { terminal } = invocation;
    if (hostKey !== null)
      terminal.result(`host key ${hostKey}: the verifier must know it by another way than this file`);
    const needs = needsOf(report, terminal);
    terminal.result(`evidence of ${provider}, ${report.length} bytes, certificates: ${certificateTable.length} bytes`);
    if (needs.length > 0) terminal.result("a connected machine fetches, if it has not yet (sealift attest needs):");
    for (const address of needs) terminal.result(`  ${address}`);
    if (leftover !== null)
      terminal.note(`${leftover} could not be removed; it does no harm and is gone after a reboot`);
    terminal.document({
      evidence: out,
      provider,
      collateral: needs,
      certificateTableBytes: certificateTable.length,
      hostKey,
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
    return collateralNeedsOf(report);
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    terminal.note(`this version cannot read the report that was collected: ${cause.message} [${cause.code}]`);
    return [];
  }
}

/** Evidence without keys, to which nothing can be sealed. */
function unbound(collected: CollectedReport): { collected: CollectedReport; evidence: Buffer; hostKey: null } {
  const { provider, report, certificateTable } = collected;
  return { collected, evidence: writeCollectedEvidence(provider, report, certificateTable), hostKey: null };
}

function readLevel(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[0-3]$/.test(text)) throw usageError(NAME, `--vmpl: got ${JSON.stringify(text)}, want 0 to 3`);
  return Number(text);
}
