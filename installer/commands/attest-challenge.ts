import { parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { parseDigest } from "../../bundles/model/digest.ts";
import { ATTESTATION_POLICY_MAX_BYTES, parseAttestationPolicy } from "../../verify/attestation/attestation-policy.ts";
import {
  CHALLENGE_MAX_MINUTES,
  type ChallengeSubject,
  makeChallenge,
  readChallenge,
} from "../../verify/attestation/challenge.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";

const NAME = "attest challenge";
const DEFAULT_MINUTES = 24 * 60;
const HEAD_MAX_BYTES = 64 * 1024;

export const attestChallenge: Command = {
  name: NAME,
  summary: "ask a confidential VM for evidence: a file that is carried there, and kept here for attest verify",
  usage: "--policy FILE --out FILE [--minutes N] [--release DIGEST] [--head FILE | --site ID --ledger-head DIGEST]",
  details: [
    "--policy F      the only policy under which the answer counts",
    "--out F         the challenge; an existing file is not replaced. Keep a copy that nobody else writes to",
    `--minutes N     how long the answer counts, 1 to ${CHALLENGE_MAX_MINUTES} (default ${DEFAULT_MINUTES})`,
    "--release D     the release that the site has or shall have; the VM asserts it, nothing measures it",
    "--head FILE     what `sealift ledger export --head` wrote on the site: its id and where its ledger is;",
    "                --site and --ledger-head say the same in words",
    "For the release of the site's key (attest unlock) all three are needed, and the site must have changed nothing",
    "when it answers.",
  ],
  options: {
    policy: { type: "string" },
    out: { type: "string" },
    minutes: { type: "string" },
    release: { type: "string" },
    head: { type: "string" },
    site: { type: "string" },
    "ledger-head": { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const out = requiredOption(invocation, NAME, "out");
    const policyPath = requiredOption(invocation, NAME, "policy");
    const subject = {
      release: readDigest(invocation, "release"),
      ...(await readWhere(invocation)),
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

/** Which site, and where its ledger is. @throws USAGE | FILE_… */
async function readWhere(invocation: Invocation): Promise<Pick<ChallengeSubject, "siteId" | "ledgerHead">> {
  const path = optionalOption(invocation, "head");
  const siteId = readSite(optionalOption(invocation, "site"));
  const ledgerHead = readDigest(invocation, "ledger-head");
  if (path === undefined) return { siteId, ledgerHead };
  if (siteId !== null || ledgerHead !== null) throw usageError(NAME, "--head says what --site and --ledger-head would");
  const value = parseCanonicalJson(await readBoundedFile(path, HEAD_MAX_BYTES)) as Record<string, unknown> | undefined;
  const head = parseDigest(String(value?.["ledgerHead"]));
  if (head === undefined)
    throw usageError(NAME, `--head: ${JSON.stringify(path)} is not what ledger export --head writes`);
  return { siteId: readSite(String(value?.["siteId"])), ledgerHead: head };
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
