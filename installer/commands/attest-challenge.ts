import { parseDigest } from "../../bundles/model/digest.ts";
import { ATTESTATION_POLICY_MAX_BYTES, parseAttestationPolicy } from "../../verify/attestation/attestation-policy.ts";
import { CHALLENGE_MAX_MINUTES, makeChallenge, readChallenge } from "../../verify/attestation/challenge.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";

const NAME = "attest challenge";
const DEFAULT_MINUTES = 24 * 60;

export const attestChallenge: Command = {
  name: NAME,
  summary: "ask a confidential VM for evidence: a file that is carried there, and kept here for attest verify",
  usage: "--policy FILE --out FILE [--minutes N] [--release DIGEST] [--site ID] [--ledger-head DIGEST]",
  details: [
    "--policy F      the only policy under which the answer counts",
    "--out F         the challenge; an existing file is not replaced. Keep a copy that nobody else writes to",
    `--minutes N     how long the answer counts, 1 to ${CHALLENGE_MAX_MINUTES} (default ${DEFAULT_MINUTES})`,
    "--release, --site, --ledger-head   what the question is about; the answer is then one to no other question,",
    "                and says nothing about whether the VM is at that release, site or ledger",
  ],
  options: {
    policy: { type: "string" },
    out: { type: "string" },
    minutes: { type: "string" },
    release: { type: "string" },
    site: { type: "string" },
    "ledger-head": { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const out = requiredOption(invocation, NAME, "out");
    const policyPath = requiredOption(invocation, NAME, "policy");
    const subject = {
      release: readDigest(invocation, "release"),
      siteId: readSite(optionalOption(invocation, "site")),
      ledgerHead: readDigest(invocation, "ledger-head"),
    };
    const minutes = readMinutes(optionalOption(invocation, "minutes"));
    const { digest } = parseAttestationPolicy(await readBoundedFile(policyPath, ATTESTATION_POLICY_MAX_BYTES));
    const bytes = makeChallenge(digest, subject, new Date(), minutes);
    await writeNew(out, bytes);
    const challenge = readChallenge(bytes);
    const { terminal } = invocation;
    terminal.result(`challenge for policy ${digest}, until ${challenge.expires}`);
    terminal.result(`next, in the VM: sealift attest collect --challenge FILE --out EVIDENCE`);
    terminal.document({ file: out, challenge });
    return 0;
  },
};

function readDigest(invocation: Invocation, name: string) {
  const text = optionalOption(invocation, name);
  if (text === undefined) return null;
  const digest = parseDigest(text);
  if (digest === undefined)
    throw usageError(NAME, `--${name}: got ${JSON.stringify(text)}, want sha256: and 64 digits`);
  return digest;
}

function readSite(text: string | undefined): string | null {
  if (text === undefined) return null;
  if (!/^[0-9a-f]{32}$/.test(text))
    throw usageError(NAME, `--site: got ${JSON.stringify(text)}, want 32 hexadecimal digits, as sealift status prints`);
  return text;
}

function readMinutes(text: string | undefined): number {
  if (text === undefined) return DEFAULT_MINUTES;
  const minutes = Number(text);
  if (!/^[1-9][0-9]*$/.test(text) || minutes > CHALLENGE_MAX_MINUTES) {
    throw usageError(NAME, `--minutes: got ${JSON.stringify(text)}, want 1 to ${CHALLENGE_MAX_MINUTES}`);
  }
  return minutes;
}
