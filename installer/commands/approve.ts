import { plain } from "../../bundles/model/plain-text.ts";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { signApproval } from "../../bundles/sign/approval.ts";
import { hintedKey } from "../../bundles/sign/signing-key.ts";
import { statementPath } from "../../verify/approval-files.ts";
import { verifyError } from "../../verify/error.ts";
import { parsePolicy } from "../../verify/policy.ts";
import { decide, type Finding, type Verdict } from "../../verify/verdict.ts";
import { sealiftVersion } from "../host/this-host.ts";
import { writeNew } from "../host/write-new.ts";
import { openSiteForVerify, siteStandards, verifyForSite } from "../lifecycle/site-verify.ts";
import { verdictSummary } from "../ui/verdict-summary.ts";
import { type Command, optionalOption, positionals, usageError } from "./command.ts";
import { RECORDS_OPTION, withImportedRecords } from "./records-option.ts";
import { readSigningKey, requireSigningKey, SIGNING_KEY_DETAILS, SIGNING_KEY_OPTIONS } from "./signing-key-options.ts";

const NAME = "approve";
const REASON_MAX_LENGTH = 1024;

export const approve: Command = {
  name: NAME,
  summary: "verify a bundle by the site's own trust and policy, then sign that it passed (a SLSA VSA)",
  usage: "BUNDLE (--key K | --signer COMMAND --public-key PUB) [--reason TEXT] [--out FILE] [--db FILE] [--state DIR]",
  details: [
    ...SIGNING_KEY_DETAILS,
    "--reason TEXT         why, in your words; it is signed with the rest",
    "--out FILE            default: BUNDLE.approval-….json beside the bundle, where `verify` looks for it",
    "--db FILE             newer OSV records than the release carries; FILE.sigstore.json of the security role beside it",
    "--state DIR           the site's state directory (default /var/lib/sealift)",
    "Signed is the release's digest, with policy, trust and every signature that was verified, each by digest.",
    "A policy may demand approvals (`sealift schema policy`); missing ones do not hinder yours.",
    "Exit 0: signed. Exit 3: the release is denied, and nothing was signed.",
  ],
  options: {
    ...SIGNING_KEY_OPTIONS,
    reason: { type: "string" },
    out: { type: "string" },
    ...RECORDS_OPTION,
    state: { type: "string" },
  },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "BUNDLE");
    const { terminal } = invocation;
    requireSigningKey(invocation, NAME);
    const reason = readReason(optionalOption(invocation, "reason"));
    const site = openSiteForVerify(optionalOption(invocation, "state"));
    const { policyBytes } = siteStandards(site);
    const progress = terminal.progress("verifying");
    const onProgress = (done: number, total: number): void =>
      progress.update(`${Math.round(done / 1e6)} of ${Math.round(total / 1e6)} MB hashed`);
    const { verdict, close } = await withImportedRecords(invocation, (imported) =>
      verifyForSite(site, path, onProgress, { imported }),
    );
    close();
    progress.done(verdict.decision === "allow" ? "allowed" : "denied");
    requireApprovable(verdict, policyBytes);
    for (const line of verdictSummary(verdict)) terminal.note(line);
    const key = await readSigningKey(invocation, NAME);
    const fingerprint = keyFingerprint(hintedKey(key));
    const inputs = { ...statedIn(verdict), sealiftVersion: sealiftVersion() };
    const approval = signApproval(key, reason === undefined ? inputs : { ...inputs, reason });
    const out = optionalOption(invocation, "out") ?? statementPath(path, "approval", fingerprint);
    await writeNew(out, approval);
    terminal.result(`approved ${plain(inputs.appliance)} ${plain(inputs.version)}, release ${inputs.release}`);
    terminal.result(`signed with key ${fingerprint} into ${plain(out)}`);
    terminal.document({ release: inputs.release, policy: inputs.policy, key: fingerprint, out });
    return 0;
  },
};

function readReason(text: string | undefined): string | undefined {
  if (text === undefined || (text !== "" && text.length <= REASON_MAX_LENGTH && plain(text) === text)) return text;
  throw usageError(NAME, `--reason: want 1 to ${REASON_MAX_LENGTH} printable characters`);
}

/** Whether all that denies is that others have not approved yet. @throws APPROVE_DENIED */
function requireApprovable(verdict: Verdict, policyBytes: Buffer): void {
  const isMissingApproval = ({ code }: Finding): boolean => code === "APPROVAL_MISSING";
  const others = verdict.findings.filter((finding) => !isMissingApproval(finding));
  const allowed = decide(others, parsePolicy(policyBytes).policy) === "allow";
  if (verdict.decision === "allow" || allowed) return;
  const codes = others.filter(({ status }) => status === "fail" || status === "error").map(({ code }) => code);
  throw verifyError(
    "APPROVE_DENIED",
    `release ${verdict.subject.digest ?? "unknown"}: ${[...new Set(codes)].join(", ")}`,
    {
      hints: ["sealift verify BUNDLE says what is wrong with it; nothing was signed"],
    },
  );
}

/** What the verdict says of its inputs; it allows, so that all of it is there. */
function statedIn({ subject, policy, trust, time, signatures }: Verdict) {
  const { digest, appliance, version } = subject;
  const { rootFingerprint, rootVersion, targetsVersion } = trust;
  if (digest === null || appliance === null || version === null)
    throw new TypeError("an allowed verdict without a release");
  if (rootFingerprint === null || rootVersion === null || targetsVersion === null) {
    throw new TypeError("an allowed verdict without a trust");
  }
  return {
    release: digest,
    appliance,
    version,
    policy: policy.digest,
    trust: { rootFingerprint, rootVersion, targetsVersion },
    attestations: [...new Set(signatures.flatMap(({ objects }) => objects))].sort(),
    timeVerified: time.at,
  };
}
