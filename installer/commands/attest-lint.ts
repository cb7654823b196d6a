import { plain } from "../../bundles/model/plain-text.ts";
import { appraiseInCage } from "../../verify/attestation/appraise-in-cage.ts";
import {
  ATTESTATION_POLICY_MAX_BYTES,
  parseAttestationPolicy,
  uncheckedBy,
} from "../../verify/attestation/attestation-policy.ts";
import type { AttestationVerdict } from "../../verify/attestation/attestation-verdict.ts";
import { EVIDENCE_MAX_BYTES } from "../../verify/attestation/evidence.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { readCollateralDirectory, readTime } from "./attest-input.ts";
import { type Command, optionalOption, positionals, repeatedOption, usageError } from "./command.ts";

const NAME = "attest lint";

export const attestLint: Command = {
  name: NAME,
  summary: "say what an attestation policy leaves unchecked, and what it would say of past evidence",
  usage: "POLICY [--evidence FILE… --collateral DIR [--at TIME]]",
  details: [
    "POLICY          an attestation policy; one that would let everything through ends with 2",
    "--evidence F    past evidence; may be given several times",
    "--collateral D  its certificates and revocation lists",
    "--at TIME       as of that time, RFC 3339",
    "Every check is listed as pass, FAIL or not checked with its reason; --json has the findings.",
    "Exit 0: the policy may be used. Exit 3: it denies some of the evidence, for another reason than its nonce.",
  ],
  options: {
    evidence: { type: "string", multiple: true },
    collateral: { type: "string" },
    at: { type: "string" },
  },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "POLICY");
    const policyBytes = await readBoundedFile(path, ATTESTATION_POLICY_MAX_BYTES);
    const { policy, digest } = parseAttestationPolicy(policyBytes);
    const unchecked = [...uncheckedBy(policy)];
    const evidencePaths = repeatedOption(invocation, "evidence");
    const directory = optionalOption(invocation, "collateral");
    if ((directory === undefined) !== (evidencePaths.length === 0)) {
      throw usageError(NAME, "--evidence and --collateral belong together");
    }
    const at = readTime(NAME, optionalOption(invocation, "at"));
    const time: AttestationVerdict["time"] = {
      at: (at ?? new Date()).toISOString(),
      source: at === undefined ? "host-clock" : "option",
    };
    const collateral = directory === undefined ? [] : await readCollateralDirectory(directory);
    const past: PastVerdict[] = [];
    for (const evidencePath of evidencePaths) {
      const evidence = await readBoundedFile(evidencePath, EVIDENCE_MAX_BYTES);
      const verdict = await appraiseInCage({ evidence, collateral, policyBytes, nonce: null, time });
      past.push({ evidence: evidencePath, denied: reasonsToDeny(verdict, unchecked), findings: verdict.findings });
    }
    const { terminal } = invocation;
    terminal.result(`policy ${policy.name} ${digest} may be used; ${unchecked.length} checks are left out:`);
    for (const check of unchecked) terminal.result(`  unchecked   ${check}`);
    for (const { evidence, denied, findings } of past) {
      terminal.result(`${denied.length === 0 ? "would pass" : "WOULD DENY"}  ${plain(evidence)}`);
      for (const reason of denied) terminal.result(`  because     ${plain(reason)}`);
      for (const finding of findings) terminal.result(plain(dryLine(finding)));
    }
    terminal.document({ policy: { name: policy.name, digest }, unchecked, past });
    return past.every(({ denied }) => denied.length === 0) ? 0 : 3;
  },
};

interface PastVerdict {
  readonly evidence: string;
  readonly denied: readonly string[];
  readonly findings: AttestationVerdict["findings"];
}

/** Every check, also those that were not made. */
function dryLine({ check, status, message, code, reason }: AttestationVerdict["findings"][number]): string {
  if (check === "nonce") return `  not checked ${check.padEnd(27)}past evidence answered a question of its own`;
  const text = status === "not-checked" ? reason : `${message}${status === "fail" ? ` [${code}]` : ""}`;
  return `  ${{ pass: "pass", fail: "FAIL", "not-checked": "not checked" }[status].padEnd(12)}${check.padEnd(27)}${text}`;
}

/** Past evidence answered a question of its own, so its nonce says nothing about the policy. */
function reasonsToDeny({ findings }: AttestationVerdict, unchecked: readonly string[]): string[] {
  return findings
    .filter(
      ({ check, status }) =>
        check !== "nonce" && status !== "pass" && !(status === "not-checked" && unchecked.includes(check)),
    )
    .map(
      ({ check, status, code, message, reason }) => `${check}: ${status === "fail" ? `${message} [${code}]` : reason}`,
    );
}
