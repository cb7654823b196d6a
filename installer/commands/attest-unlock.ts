import { parseDigest } from "../../bundles/model/digest.ts";
import { appraiseInCage } from "../../verify/attestation/appraise-in-cage.ts";
import { ATTESTATION_POLICY_MAX_BYTES } from "../../verify/attestation/attestation-policy.ts";
import { renderAttestationVerdict } from "../../verify/attestation/attestation-verdict-text.ts";
import { CHALLENGE_MAX_BYTES } from "../../verify/attestation/challenge.ts";
import { EVIDENCE_MAX_BYTES } from "../../verify/attestation/evidence.ts";
import { ATTESTATION_NAMESPACE } from "../../verify/attestation/release-file.ts";
import { UNLOCK_KEY_MAX_BYTES, UNLOCK_KEY_MIN_BYTES } from "../../verify/attestation/sealed-key.ts";
import { unlock } from "../../verify/attestation/unlock.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { signWithSshKeygen } from "../lifecycle/ssh-keygen.ts";
import { readCollateralDirectory, readHours } from "./attest-input.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import { releaseReference } from "./release-reference.ts";

const NAME = "attest unlock";
const DEFAULT_HOURS = 24;
const HOURS_MAX = 720;

export const attestUnlock: Command = {
  name: NAME,
  summary: "on the verifier's machine: appraise a site's answer, and if it is allowed seal the site's key for it",
  usage:
    "--challenge FILE --evidence FILE --collateral DIR --policy FILE --host-key DIGEST --unlock-key FILE --key K --out FILE [--hours N] [--release BUNDLE [--trust DIR | --state DIR]]",
  details: [
    "--challenge F   what attest challenge made here; not a copy that came back with the evidence",
    "--evidence F    what attest collect wrote on the site",
    "--collateral D, --policy F   as for attest verify",
    "--host-key D    the site's host key, sha256: and 64 digits, which you know by another way than this medium",
    `--unlock-key F  the site's key, ${UNLOCK_KEY_MIN_BYTES} to ${UNLOCK_KEY_MAX_BYTES} bytes`,
    "--key K         your verifier's key: an OpenSSH private key, or the .pub of one in the agent or on a FIDO token",
    "--out F         the release, to be carried to the site",
    `--hours N       how long the site then counts as attested, 1 to ${HOURS_MAX} (default ${DEFAULT_HOURS})`,
    "--release B     verify this bundle too; the launch digest must be one of its manifest's",
    "--trust DIR     release trust to verify it by; the site's own if absent (--state DIR)",
    "Known-bad evidence is appraised first: if any of it is accepted, everything stops (ATTEST_CANARY_ACCEPTED).",
    "Exit 0: the release was written. Exit 3: denied; or simulated, with a release that has no key in it.",
  ],
  options: {
    challenge: { type: "string" },
    evidence: { type: "string" },
    collateral: { type: "string" },
    policy: { type: "string" },
    "host-key": { type: "string" },
    "unlock-key": { type: "string" },
    key: { type: "string" },
    out: { type: "string" },
    hours: { type: "string" },
    release: { type: "string" },
    trust: { type: "string" },
    state: { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const file = (name: string, maxBytes: number): Promise<Buffer> =>
      readBoundedFile(requiredOption(invocation, NAME, name), maxBytes);
    const out = requiredOption(invocation, NAME, "out");
    const key = requiredOption(invocation, NAME, "key");
    const now = new Date();
    const release = optionalOption(invocation, "release");
    const time = { at: now.toISOString(), source: "host-clock" } as const;
    const reference = release === undefined ? null : await releaseReference(invocation, release, time);
    const {
      verdict,
      receipt,
      file: bytes,
    } = await unlock(
      {
        challenge: await file("challenge", CHALLENGE_MAX_BYTES),
        evidence: await file("evidence", EVIDENCE_MAX_BYTES),
        collateral: await readCollateralDirectory(requiredOption(invocation, NAME, "collateral")),
        policyBytes: await file("policy", ATTESTATION_POLICY_MAX_BYTES),
        hostKey: readHostKey(invocation),
        unlockKey: await readUnlockKey(invocation),
        now,
        validHours: readHours(NAME, optionalOption(invocation, "hours"), DEFAULT_HOURS, HOURS_MAX),
        reference,
      },
      {
        appraise: appraiseInCage,
        sign: (one) => signWithSshKeygen(one, key, terminal.interactive, ATTESTATION_NAMESPACE),
      },
    );
    for (const line of renderAttestationVerdict(verdict)) terminal.result(line);
    terminal.document({ verdict, receipt: receipt ?? null, out: bytes === undefined ? null : out });
    if (bytes === undefined) return 3;
    await writeNew(out, bytes);
    terminal.result(`canaries  ${receipt?.canaries.length} refused: ${receipt?.canaries.join(", ")}`);
    if (verdict.decision !== "allow") {
      terminal.result("SIMULATED – NOT AMD: the release has a key that opens nothing, and the site will say so");
      return 3;
    }
    terminal.result(`released until ${receipt?.openUntil}; next, on the site: sealift attest unseal FILE`);
    return 0;
  },
};

function readHostKey(invocation: Invocation) {
  const text = requiredOption(invocation, NAME, "host-key");
  const digest = parseDigest(text);
  if (digest === undefined) {
    throw usageError(
      NAME,
      `--host-key: got ${JSON.stringify(text)}, want sha256: and 64 digits, as attest collect prints`,
    );
  }
  return digest;
}

async function readUnlockKey(invocation: Invocation): Promise<Buffer> {
  const bytes = await readBoundedFile(requiredOption(invocation, NAME, "unlock-key"), UNLOCK_KEY_MAX_BYTES);
  if (bytes.length >= UNLOCK_KEY_MIN_BYTES) return bytes;
  throw usageError(NAME, `--unlock-key: got ${bytes.length} bytes, want at least ${UNLOCK_KEY_MIN_BYTES}`);
}
