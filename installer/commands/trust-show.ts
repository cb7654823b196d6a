import { createHash } from "node:crypto";
import { plain } from "../../bundles/model/plain-text.ts";
import { REVOCATION_KINDS } from "../../bundles/model/revocations.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { parseTrustMetadata, signingState } from "../../bundles/sign/trust-metadata.ts";
import { isTrustKey, loadTrust, readTrustClaim, type TrustClaim, type TrustSigner } from "../../verify/trust/trust.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import type { Terminal } from "../ui/terminal.ts";
import { type Command, positionals } from "./command.ts";
import { signingLine } from "./trust-options.ts";

export const trustShow: Command = {
  name: "trust show",
  summary: "print a release trust: its fingerprint for paper, roles, keys, holders, expiry, what is missing",
  usage: "DIR",
  details: [
    "The root fingerprint is what `sha256sum DIR/1.root.json` prints, in groups.",
    "Exit 0: complete and valid now. Exit 3: signatures are missing, or it does not hold.",
  ],
  options: {},
  run: async (invocation) => {
    const [directory = ""] = positionals(invocation, "trust show", "DIR");
    return showTrust(readTrustDirectory(directory), directory, invocation.terminal);
  },
};

/** Prints what the trust in `files` says and whether it holds now. Returns the exit code, 0 or 3. */
export function showTrust(files: ReadonlyMap<string, Buffer>, directory: string, terminal: Terminal): number {
  const claim = readTrustClaim(files);
  const state = signingState(parseTrustMetadata(files));
  const missing = state.filter(({ signed, threshold }) => signed < threshold);
  const problem = missing.length > 0 ? undefined : problemNow(files);
  const fingerprint = createHash("sha256")
    .update(files.get("1.root.json") ?? "")
    .digest("hex");
  if (missing.some(({ file }) => file === "1.root.json")) {
    terminal.result("root fingerprint: not final before the root has all its signatures");
  } else {
    terminal.result("root fingerprint (compare every group with the paper):");
    terminal.result(`  ${(fingerprint.match(/.{8}/g) ?? []).join(" ")}`);
  }
  printClaim(claim, terminal);
  for (const item of missing) terminal.result(`incomplete: ${signingLine(item)}`);
  if (missing.length > 0) terminal.result(`Next: sealift trust sign ${plain(directory)} --key KEY`);
  if (problem) terminal.result(`does not hold now [${problem.code}]: ${plain(problem.message)}`);
  terminal.document({
    complete: missing.length === 0,
    valid: missing.length === 0 && !problem,
    problem: problem ? { code: problem.code, message: problem.message } : null,
    rootFingerprint: fingerprint,
    rootVersion: claim.rootVersion,
    targetsVersion: claim.targetsVersion,
    expires: Object.fromEntries(claim.expires),
    root: { threshold: claim.rootThreshold, keys: claim.rootKeys.map(named) },
    roles: [...claim.roles].map(([role, { threshold, keys, paths }]) => ({
      role,
      threshold,
      paths,
      keys: keys.map(named),
    })),
    revoked: claim.revoked,
    signatures: state,
  });
  return missing.length === 0 && !problem ? 0 : 3;
}

const named = (signer: TrustSigner) => {
  const { holder, fingerprint } = signer;
  return isTrustKey(signer)
    ? { holder, fingerprint }
    : { holder, fingerprint, identity: signer.identity, issuer: signer.issuer };
};

function problemNow(
  files: ReadonlyMap<string, Buffer>,
): { readonly code: string; readonly message: string } | undefined {
  try {
    loadTrust(files, new Date());
    return undefined;
  } catch (cause) {
    return { code: cause instanceof SealiftError ? cause.code : "INTERNAL", message: reasonOf(cause) };
  }
}

/** Whom a certificate must name; nothing for a key. */
function identityText(signer: TrustSigner): string {
  return isTrustKey(signer) ? "" : `, as ${plain(signer.identity)} of ${plain(signer.issuer)}`;
}

/** The keys and thresholds that a signer of the trust is about to vouch for. */
export function printClaim(claim: TrustClaim, terminal: Terminal): void {
  const group = (name: string, threshold: number, keys: readonly TrustSigner[], scope: string): void => {
    terminal.result(`${name}: ${threshold} of ${keys.length}${scope}`);
    for (const signer of keys)
      terminal.result(`  ${signer.fingerprint}  ${plain(signer.holder)}${identityText(signer)}`);
  };
  for (const [file, expires] of claim.expires) terminal.result(`${file.padEnd(18)} valid until ${expires}`);
  group("root", claim.rootThreshold, claim.rootKeys, ", also for targets, snapshot and timestamp");
  for (const [role, { threshold, keys, paths }] of claim.roles) {
    group(role, threshold, keys, `, for ${paths.join(", ")}`);
  }
  for (const kind of REVOCATION_KINDS) {
    for (const { id, at, reason } of claim.revoked[kind]) {
      terminal.result(`revoked ${kind.slice(0, -1)} ${plain(id)} at ${at}: ${plain(reason)}`);
    }
  }
}
