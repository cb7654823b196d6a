import { existsSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileExists } from "../../bundles/model/file-exists.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { CHALLENGE_MAX_BYTES } from "../../verify/attestation/challenge.ts";
import type { CollectedReport } from "../../verify/attestation/collect-evidence.ts";
import { writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { reportDataOf } from "../../verify/attestation/report-data.ts";
import { installerError } from "../error.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { answerChallenge } from "../lifecycle/answer-challenge.ts";
import { RUN_DETAILS, RUN_OPTIONS, readNonce, runDirectory } from "./attest-input.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import { type SimulatedMachine, simulatedSnp, simulatedTdx } from "./simulated-machine.ts";
import { withSite } from "./site-options.ts";

const NAME = "attest simulate";
const WAIT_MAX_MS = 10 * 60_000;
const WAIT_STEP_MS = 200;

export const attestSimulate: Command = {
  name: NAME,
  summary: "make evidence of a processor that is none, to try the way without the hardware",
  usage: "--out DIR [--nonce HEX | --challenge FILE [--state DIR] [--run DIR]] [--tdx] [--impostor]",
  details: [
    "--out DIR    a new directory: evidence.json, collateral/ and policy.json",
    "--nonce HEX  16 to 64 bytes; the policy then asks for it",
    "--challenge F  writes policy and collateral, then waits up to ten minutes for this file, because a challenge is",
    "             made for a policy; then answers it as attest collect does on a site",
    ...RUN_DETAILS,
    "--tdx        a platform with Intel TDX instead of a processor with SEV-SNP",
    "--impostor   with AMD's or Intel's own names, to see that nothing but the pinned keys keeps it out",
    "SIMULATED – NOT AMD, NOT INTEL: the keys are made in this run and thrown away, the certificates say what they are,",
    "and no policy for real machines takes them. attest verify ends with 3 for this evidence, always.",
  ],
  options: {
    out: { type: "string" },
    nonce: { type: "string" },
    challenge: { type: "string" },
    tdx: { type: "boolean" },
    impostor: { type: "boolean" },
    ...RUN_OPTIONS,
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const directory = requiredOption(invocation, NAME, "out");
    const nonce = readNonce(NAME, optionalOption(invocation, "nonce"));
    const challenge = optionalOption(invocation, "challenge");
    if (nonce !== null && challenge !== undefined) throw usageError(NAME, "give --nonce or --challenge, not both");
    const make = invocation.options["tdx"] === true ? simulatedTdx : simulatedSnp;
    const machine = make(invocation.options["impostor"] === true);
    const files = machine.files(nonce !== null || challenge !== undefined);
    await makeDirectories(directory);
    for (const [name, bytes] of files) await writeNew(join(directory, name), bytes);
    const { terminal } = invocation;
    terminal.result(`${machine.name}: this evidence proves nothing about any machine`);
    const evidence =
      challenge === undefined
        ? evidenceOf(machine, nonce)
        : await answer(invocation, challenge, (reportData) => machine.collect(reportData));
    await writeNew(join(directory, "evidence.json"), evidence);
    const question = nonce === null ? challenge && ` --challenge ${challenge}` : ` --nonce ${nonce.toString("hex")}`;
    const where = (name: string): string => join(directory, name);
    terminal.result(
      `next: sealift attest verify --evidence ${where("evidence.json")} --collateral ${where("collateral")} --policy ${where("policy.json")}${question ?? ""}`,
    );
    terminal.document({ simulated: true, directory, files: ["evidence.json", ...files.map(([name]) => name)] });
    return 0;
  },
};

/** @throws FILE_EXISTS | FILE_WRITE_FAILED */
async function makeDirectories(directory: string): Promise<void> {
  const there = await readdir(directory).catch(() => []);
  if (there.length > 0) throw fileExists(directory, "is not empty");
  await mkdir(join(directory, "collateral"), { recursive: true }).catch((cause: unknown) => {
    throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(directory)}: ${reasonOf(cause)}`, {
      cause,
    });
  });
}

function evidenceOf(machine: SimulatedMachine, nonce: Buffer | null): Buffer {
  const { provider, report, certificateTable } = machine.collect(nonce ? reportDataOf(nonce) : Buffer.alloc(64));
  return writeCollectedEvidence(provider, report, certificateTable);
}

async function answer(
  invocation: Invocation,
  path: string,
  collect: (reportData: Buffer) => CollectedReport,
): Promise<Buffer> {
  const { terminal } = invocation;
  terminal.note(`waiting for ${path}`);
  const end = Date.now() + WAIT_MAX_MS;
  while (!existsSync(path) && Date.now() < end) await sleep(WAIT_STEP_MS);
  const challenge = await readBoundedFile(path, CHALLENGE_MAX_BYTES);
  return withSite(invocation, NAME, async (site) => {
    const { evidence, hostKey } = await answerChallenge(site, runDirectory(invocation), challenge, collect);
    terminal.result(`host key ${hostKey}: the verifier must know it by another way than this file`);
    return evidence;
  });
}
