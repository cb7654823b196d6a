import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { appraiseInCage } from "../../verify/attestation/appraise-in-cage.ts";
import { ATTESTATION_POLICY_MAX_BYTES } from "../../verify/attestation/attestation-policy.ts";
import { renderAttestationVerdict } from "../../verify/attestation/attestation-verdict-text.ts";
import { CRL_MAX_BYTES } from "../../verify/attestation/certificate.ts";
import { EVIDENCE_MAX_BYTES } from "../../verify/attestation/evidence.ts";
import { installerError } from "../error.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { readNonce } from "./attest-nonce.ts";
import { type Command, optionalOption, positionals, requiredOption, usageError } from "./command.ts";

const NAME = "attest verify";

export const attestVerify: Command = {
  name: NAME,
  summary: "appraise a confidential VM's evidence, offline, on a machine that is not the VM's host",
  usage: "--evidence FILE --collateral DIR --policy FILE [--nonce HEX] [--at TIME]",
  details: [
    "--evidence F    what attest collect wrote, a report of 1184 bytes, or Azure's envelope",
    "--collateral D  certificates and revocation lists, DER or PEM; every file in it is read",
    "--policy F      what the evidence must say (sealift schema attestation-policy)",
    "--nonce HEX     16 to 64 bytes: the nonce with which the evidence was collected",
    "--at TIME       appraise as of that time, RFC 3339",
    "Exit 0: allowed. Exit 3: denied, or evidence of the simulator. Nothing is changed and nothing released.",
  ],
  options: {
    evidence: { type: "string" },
    collateral: { type: "string" },
    policy: { type: "string" },
    nonce: { type: "string" },
    at: { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const evidencePath = requiredOption(invocation, NAME, "evidence");
    const directory = requiredOption(invocation, NAME, "collateral");
    const policyPath = requiredOption(invocation, NAME, "policy");
    const at = readTime(optionalOption(invocation, "at"));
    const verdict = await appraiseInCage({
      evidence: await readBoundedFile(evidencePath, EVIDENCE_MAX_BYTES),
      collateral: await readCollateralDirectory(directory),
      policyBytes: await readBoundedFile(policyPath, ATTESTATION_POLICY_MAX_BYTES),
      nonce: readNonce(NAME, optionalOption(invocation, "nonce")),
      time: { at: (at ?? new Date()).toISOString(), source: at === undefined ? "host-clock" : "option" },
    });
    const { terminal } = invocation;
    for (const line of renderAttestationVerdict(verdict)) terminal.result(line);
    terminal.document(verdict);
    return verdict.decision === "allow" ? 0 : 3;
  },
};

/** Every file of the directory: one that is no certificate and no list makes the appraisal fail, and is named. */
async function readCollateralDirectory(directory: string): Promise<{ name: string; bytes: Buffer }[]> {
  const names = await readdir(directory).catch((cause: NodeJS.ErrnoException) => {
    const code = cause.code === "ENOENT" ? "FILE_NOT_FOUND" : "FILE_UNREADABLE";
    throw installerError(code, `${JSON.stringify(directory)}: ${reasonOf(cause)}`, { cause });
  });
  const files: { name: string; bytes: Buffer }[] = [];
  for (const name of names.sort()) {
    files.push({ name, bytes: await readBoundedFile(join(directory, name), CRL_MAX_BYTES) });
  }
  return files;
}

/** RFC 3339 with a zone; a local time without one would mean another instant on another machine. */
function readTime(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const at = new Date(text);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/.test(text) || Number.isNaN(at.getTime())) {
    throw usageError(NAME, `--at: got ${JSON.stringify(text)}, want RFC 3339, e.g. 2026-11-21T12:00:00Z`);
  }
  return at;
}
