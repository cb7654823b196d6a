import { appraiseInCage } from "../../verify/attestation/appraise-in-cage.ts";
import { ATTESTATION_POLICY_MAX_BYTES } from "../../verify/attestation/attestation-policy.ts";
import type { AttestationVerdict } from "../../verify/attestation/attestation-verdict.ts";
import { renderAttestationVerdict } from "../../verify/attestation/attestation-verdict-text.ts";
import { CHALLENGE_MAX_BYTES } from "../../verify/attestation/challenge.ts";
import { EVIDENCE_MAX_BYTES } from "../../verify/attestation/evidence.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { readCollateralDirectory, readNonce, readTime } from "./attest-input.ts";
import { type Command, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import type { ReleaseReference } from "./release-reference.ts";

const NAME = "attest verify";

export const attestVerify: Command = {
  name: NAME,
  summary: "appraise a confidential VM's evidence, offline, on a machine that is not the VM's host",
  usage:
    "--evidence FILE --collateral DIR --policy FILE [--nonce HEX | --challenge FILE] [--release BUNDLE [--trust DIR]] [--at TIME]",
  details: [
    "--evidence F    what attest collect wrote, an SEV-SNP report, a TDX quote, or Azure's envelope",
    "--collateral D  certificates and revocation lists, DER or PEM, Intel's signed JSON; every file in it is read",
    "--policy F      what the evidence must say (sealift schema attestation-policy, attestation-policy-tdx)",
    "--nonce HEX     16 to 64 bytes: the nonce with which the evidence was collected",
    "--challenge F   what attest challenge made; the answer counts until it expires, and for its policy only",
    "--release B     verify this bundle too; the launch digest must be one of its manifest's (measurements: release)",
    "--trust DIR     release trust to verify it by; the site's own if absent (--state DIR)",
    "--at TIME       appraise as of that time, RFC 3339",
    "Exit 0: allowed. Exit 3: denied, or evidence of the simulator. Nothing is changed and nothing released.",
  ],
  options: {
    evidence: { type: "string" },
    collateral: { type: "string" },
    policy: { type: "string" },
    nonce: { type: "string" },
    challenge: { type: "string" },
    release: { type: "string" },
    trust: { type: "string" },
    state: { type: "string" },
    at: { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const evidencePath = requiredOption(invocation, NAME, "evidence");
    const directory = requiredOption(invocation, NAME, "collateral");
    const policyPath = requiredOption(invocation, NAME, "policy");
    const nonce = readNonce(NAME, optionalOption(invocation, "nonce"));
    const challengePath = optionalOption(invocation, "challenge");
    if (nonce !== null && challengePath !== undefined) throw usageError(NAME, "give a nonce or a challenge, not both");
    const at = readTime(NAME, optionalOption(invocation, "at"));
    const time: AttestationVerdict["time"] = {
      at: (at ?? new Date()).toISOString(),
      source: at === undefined ? "host-clock" : "option",
    };
    const release = optionalOption(invocation, "release");
    if (release === undefined && optionalOption(invocation, "trust") !== undefined) {
      throw usageError(NAME, "--trust is for --release");
    }
    const reference = release === undefined ? null : await referenceOf(invocation, release, time);
    const verdict = await appraiseInCage({
      evidence: await readBoundedFile(evidencePath, EVIDENCE_MAX_BYTES),
      collateral: await readCollateralDirectory(directory),
      policyBytes: await readBoundedFile(policyPath, ATTESTATION_POLICY_MAX_BYTES),
      nonce,
      challenge: challengePath === undefined ? null : await readBoundedFile(challengePath, CHALLENGE_MAX_BYTES),
      reference,
      time,
    });
    const { terminal } = invocation;
    for (const line of renderAttestationVerdict(verdict)) terminal.result(line);
    for (const line of explanation(verdict, reference)) terminal.note(line);
    terminal.document(verdict);
    return verdict.decision === "allow" ? 0 : 3;
  },
};

/** Which input differs from the release's, if it is the launch digest that is not one of them. */
function explanation({ claims, findings }: AttestationVerdict, reference: ReleaseReference | null): readonly string[] {
  const reported = claims?.["measurement"];
  const failed = findings.some(({ check, status }) => check === "measurement" && status === "fail");
  return failed && reference !== null && typeof reported === "string" ? reference.explain(reported) : [];
}

/** Loaded only for a release: its parsers take longer to load than an appraisal. */
const referenceOf = async (
  ...question: Parameters<typeof import("./release-reference.ts")["releaseReference"]>
): Promise<ReleaseReference> => (await import("./release-reference.ts")).releaseReference(...question);
