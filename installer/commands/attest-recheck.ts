import { digestOf } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { appraiseInCage } from "../../verify/attestation/appraise-in-cage.ts";
import { ATTESTATION_POLICY_MAX_BYTES } from "../../verify/attestation/attestation-policy.ts";
import { CHALLENGE_MAX_BYTES } from "../../verify/attestation/challenge.ts";
import { EVIDENCE_MAX_BYTES } from "../../verify/attestation/evidence.ts";
import {
  ATTESTATION_NAMESPACE,
  RELEASE_FILE_MAX_BYTES,
  type ReleaseFile,
  readReleaseFile,
  verdictDigest,
} from "../../verify/attestation/release-file.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { checkReceiptSignature } from "../lifecycle/verifier-signature.ts";
import { parseSigners, SIGNERS_MAX_BYTES } from "../site/allowed-signers.ts";
import { readCollateralDirectory } from "./attest-input.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption } from "./command.ts";
import { releaseReference } from "./release-reference.ts";

const NAME = "attest recheck";

interface Recheck {
  readonly check: string;
  readonly status: "pass" | "fail";
  readonly message: string;
}

export const attestRecheck: Command = {
  name: NAME,
  summary: "make a verifier's verdict again on another machine, at the time that its receipt states",
  usage:
    "FILE --verifiers FILE --challenge FILE --evidence FILE --collateral DIR --policy FILE [--release BUNDLE [--trust DIR | --state DIR]]",
  details: [
    "FILE            what attest unlock wrote; whether it was used does not matter",
    "--verifiers F   allowed_signers lines, as `sealift policy show` prints them after the word verifier",
    "--challenge, --evidence, --collateral, --policy, --release   the very files that the verifier used, by the same names",
    "--trust DIR     release trust to verify the release by; the site's own if absent (--state DIR)",
    "The sealed key is not looked at. Exit 0: signature, files and verdict are the receipt's. Exit 3: something differs.",
  ],
  options: {
    verifiers: { type: "string" },
    challenge: { type: "string" },
    evidence: { type: "string" },
    collateral: { type: "string" },
    policy: { type: "string" },
    release: { type: "string" },
    trust: { type: "string" },
    state: { type: "string" },
  },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "FILE");
    const file = readReleaseFile(await readBoundedFile(path, RELEASE_FILE_MAX_BYTES));
    const checks = [await signatureCheck(invocation, file), ...(await verdictChecks(invocation, file))];
    const { terminal } = invocation;
    for (const { check, status, message } of checks) {
      terminal.result(`${status === "pass" ? "pass" : "FAIL"}  ${check.padEnd(12)}${plain(message)}`);
    }
    const holds = checks.every(({ status }) => status === "pass");
    const { decision, siteId, release, time } = file.receipt;
    terminal.result(
      `${holds ? "the receipt holds" : "THE RECEIPT DOES NOT HOLD"}: ${decision} for site ${siteId}, release ${release}, at ${time}`,
    );
    terminal.document({ holds, checks, receipt: file.receipt });
    return holds ? 0 : 3;
  },
};

async function signatureCheck(
  invocation: Invocation,
  { receipt, receiptBytes, signature }: ReleaseFile,
): Promise<Recheck> {
  const path = requiredOption(invocation, NAME, "verifiers");
  const text = (await readBoundedFile(path, SIGNERS_MAX_BYTES)).toString("utf8");
  const verifiers = parseSigners(text, path, ATTESTATION_NAMESPACE);
  try {
    const by = await checkReceiptSignature({ verifiers }, receiptBytes, signature, new Date(receipt.time));
    return { check: "signature", status: "pass", message: `by ${by.principal}, key ${by.fingerprint}` };
  } catch (cause) {
    if (!(cause instanceof SealiftError) || cause.code === "SSH_KEYGEN_MISSING") throw cause;
    return { check: "signature", status: "fail", message: `${cause.message} [${cause.code}]` };
  }
}

async function verdictChecks(invocation: Invocation, { receipt }: ReleaseFile): Promise<Recheck[]> {
  const file = (name: string, maxBytes: number): Promise<Buffer> =>
    readBoundedFile(requiredOption(invocation, NAME, name), maxBytes);
  const challenge = await file("challenge", CHALLENGE_MAX_BYTES);
  const evidence = await file("evidence", EVIDENCE_MAX_BYTES);
  const policyBytes = await file("policy", ATTESTATION_POLICY_MAX_BYTES);
  const collateral = await readCollateralDirectory(requiredOption(invocation, NAME, "collateral"));
  const time = { at: receipt.time, source: "option" } as const;
  const release = optionalOption(invocation, "release");
  const reference = release === undefined ? null : await releaseReference(invocation, release, time);
  const question = { evidence, collateral, policyBytes, nonce: null, challenge, time, reference };
  const verdict = await appraiseInCage(question);
  const same = (check: string, got: string, want: string): Recheck =>
    got === want
      ? { check, status: "pass", message: got }
      : { check, status: "fail", message: `got ${got}, the receipt has ${want}` };
  return [
    same("challenge", digestOf(challenge), receipt.challenge),
    same("evidence", digestOf(evidence), receipt.evidence),
    same("policy", digestOf(policyBytes), receipt.policy),
    same("collateral", names(verdict.collateral), names(receipt.collateral)),
    same("decision", verdict.decision, receipt.decision),
    same("verdict", verdictDigest(verdict), receipt.verdict),
  ];
}

function names(files: readonly { readonly name: string; readonly digest: string }[]): string {
  return files.map(({ name, digest }) => `${name} ${digest.slice(0, 19)}`).join(", ");
}
