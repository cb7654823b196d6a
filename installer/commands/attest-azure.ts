import { keyedReportData } from "../../verify/attestation/challenge.ts";
import {
  type BoundKeys,
  EVIDENCE_MAX_BYTES,
  readEvidence,
  writeCollectedEvidence,
} from "../../verify/attestation/evidence.ts";
import { QUOTE_MAX_BYTES, QUOTE_SIGNATURE_MAX_BYTES } from "../../verify/attestation/tpm-quote.ts";
import { PCR_VALUES_MAX_BYTES, qualifyingData, verifyVtpm } from "../../verify/attestation/verify-vtpm.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { beginAnswer, boundKeys } from "../lifecycle/answer-challenge.ts";
import { type Question, RUN_DETAILS, RUN_OPTIONS, readQuestion, runDirectory } from "./attest-input.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import { withSite } from "./site-options.ts";

const NAME = "attest azure";
/** Where Azure's paravisor keeps the envelope, and the handle of the vTPM's attestation key. */
const ENVELOPE_INDEX = "0x01400001";
const KEY_HANDLE = "0x81000003";
const QUOTED = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14";
const NO_TABLE = Buffer.alloc(0);
const FILES = ["envelope", "quote", "signature", "pcrs"] as const;

export const attestAzure: Command = {
  name: NAME,
  summary: "in a confidential VM of Azure: what to ask its vTPM for, and evidence from what it answered",
  usage:
    "(--nonce HEX | --challenge FILE) [--envelope FILE --quote FILE --signature FILE --pcrs FILE --out FILE] [--state DIR] [--run DIR]",
  details: [
    "--nonce HEX, --challenge F   as for attest collect",
    "--envelope F, --quote F, --signature F, --pcrs F   what the commands wrote that it prints without them",
    "--out FILE   the evidence; an existing file is not replaced",
    ...RUN_DETAILS,
    "Without files it prints commands of tpm2-tools. The report is made when the VM starts and names the vTPM's key; the",
    "nonce is in the vTPM's quote, with the PCRs that say what was started. It has not been run on Azure.",
  ],
  options: {
    nonce: { type: "string" },
    challenge: { type: "string" },
    envelope: { type: "string" },
    quote: { type: "string" },
    signature: { type: "string" },
    pcrs: { type: "string" },
    out: { type: "string" },
    ...RUN_OPTIONS,
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const isAnswered = [...FILES, "out"].some((name) => optionalOption(invocation, name) !== undefined);
    return isAnswered ? pack(invocation) : ask(invocation);
  },
};

/** Prints what to ask the vTPM with; for a challenge to a site a transport key is kept from here on. */
async function ask(invocation: Invocation): Promise<number> {
  const question = await readQuestion(invocation, NAME);
  const reportData = Buffer.isBuffer(question)
    ? question
    : await withSite(invocation, NAME, (site) => beginAnswer(site, runDirectory(invocation), question.challenge));
  const data = qualifyingData(reportData).toString("hex");
  const commands = [
    `tpm2_nvread -C o ${ENVELOPE_INDEX} -o envelope.bin`,
    `tpm2_quote -c ${KEY_HANDLE} -l ${QUOTED} -g sha256 -q ${data} -m quote.msg -s quote.sig -o pcrs.bin -F values`,
  ];
  const { terminal } = invocation;
  for (const command of commands) terminal.result(command);
  terminal.note("then: the same command again with --envelope, --quote, --signature, --pcrs and --out");
  terminal.document({ qualifyingData: data, commands });
  return 0;
}

async function pack(invocation: Invocation): Promise<number> {
  const out = requiredOption(invocation, NAME, "out");
  const file = (name: (typeof FILES)[number], maxBytes: number): Promise<Buffer> =>
    readBoundedFile(requiredOption(invocation, NAME, name), maxBytes);
  const envelope = await file("envelope", EVIDENCE_MAX_BYTES);
  const vtpm = {
    quote: await file("quote", QUOTE_MAX_BYTES),
    signature: await file("signature", QUOTE_SIGNATURE_MAX_BYTES),
    pcrValues: await file("pcrs", PCR_VALUES_MAX_BYTES),
  };
  const question = await readQuestion(invocation, NAME);
  const bound = Buffer.isBuffer(question)
    ? { keys: null, hostKey: null }
    : await withSite(invocation, NAME, async (site) => boundKeys(site, runDirectory(invocation), question.challenge));
  const evidence = writeCollectedEvidence("azure_hcl", envelope, NO_TABLE, bound.keys, vtpm);
  const { pcrs, answers } = check(evidence, question, bound.keys);
  await writeNew(out, evidence);
  const { terminal } = invocation;
  if (bound.hostKey !== null)
    terminal.result(`host key ${bound.hostKey}: the verifier must know it by another way than this file`);
  terminal.result(`evidence of a vTPM's quote of PCRs ${pcrs.join(", ")}`);
  if (!answers) terminal.note("the quote answers another question: its qualifying data are not those of this one");
  terminal.document({ evidence: out, pcrs, hostKey: bound.hostKey, answers });
  return 0;
}

/** Our own VM's files are read here, so that a mixed-up one is found before the journey. @throws ATTEST_EVIDENCE_MALFORMED | ATTEST_VTPM_INVALID */
function check(
  bytes: Buffer,
  question: Question,
  keys: BoundKeys | null,
): { readonly pcrs: readonly number[]; readonly answers: boolean } {
  const { vtpm } = readEvidence(bytes);
  if (vtpm === null) throw usageError(NAME, `--envelope: not what NV index ${ENVELOPE_INDEX} has`);
  const { quote } = verifyVtpm(vtpm);
  const reportData = Buffer.isBuffer(question) ? question : keys && keyedReportData(question.challenge, keys);
  return { pcrs: quote.pcrs, answers: reportData ? quote.extraData.equals(qualifyingData(reportData)) : false };
}
