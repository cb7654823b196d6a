/** What `trust rotate` and `trust revoke` share: the next version of a release trust, written and signed. */

import { TRUSTED_ROOT_TARGET } from "../../bundles/model/certificate-identity.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { loadPrivateKey, type PrivateKey } from "../../bundles/sign/key-file.ts";
import {
  parseTrustMetadata,
  signingState,
  signTrust,
  trustedRootTarget,
  writeTrustMetadata,
} from "../../bundles/sign/trust-metadata.ts";
import { planTrustUpdate, type TrustUpdate } from "../../bundles/sign/trust-update.ts";
import { readTrustClaim } from "../../verify/trust/trust.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { keyPassword } from "../ui/key-password.ts";
import { type Invocation, optionalOption, repeatedOption } from "./command.ts";
import {
  carriedFiles,
  IDENTITY_DETAILS,
  readRoleHolders,
  readRootKeys,
  readRootThreshold,
  readThresholds,
  readTrustedRoot,
  signingLine,
  TRUST_KEY_OPTIONS,
} from "./trust-options.ts";
import { printClaim } from "./trust-show.ts";

export const UPDATE_OPTIONS = {
  ...TRUST_KEY_OPTIONS,
  key: { type: "string", multiple: true },
  out: { type: "string" },
} as const;

export const UPDATE_DETAILS = [
  "--root-key K[@HOLDER]…    the new root keys, all of them; a private key signs at once",
  "--root-threshold M        how many root keys must sign from now on",
  "--role ROLE=PUB[@HOLDER]… the new keys of this role, all of them",
  ...IDENTITY_DETAILS,
  "--threshold ROLE=M        how many keys of the role must sign a release from now on",
  "--key K…                  private root keys that sign at once; others sign later with `sealift trust sign`",
  "--out DIR                 write the new version there and leave the old directory as it is",
  "--password-env VAR        the variable with the private keys' password; else COSIGN_PASSWORD, else asked for",
  "What is not said stays. The keys in force before must sign, and new root keys too.",
] as const;

/**
 * Makes the next version of the trust in `directory` and signs it with the keys at hand. Returns 0, also if
 * signatures are still missing: then it says so, and nobody accepts it yet.
 */
export async function updateTrust(
  invocation: Invocation,
  command: string,
  directory: string,
  change: Pick<TrustUpdate, "revoke" | "reason">,
): Promise<number> {
  const { terminal } = invocation;
  const before = readTrustDirectory(directory);
  // Nothing is built upon that `verify` would refuse.
  readTrustClaim(before);
  const { holders, signers } = await readRootKeys(invocation);
  const rootThreshold = readRootThreshold(invocation, command);
  const trustedRoot = await readTrustedRoot(invocation);
  const carried = trustedRoot && trustedRootTarget(trustedRoot);
  const added = planTrustUpdate(parseTrustMetadata(before), {
    ...change,
    ...(holders.length > 0 && { root: holders }),
    ...(rootThreshold !== undefined && { rootThreshold }),
    ...(carried && { trustedRoot: carried.target }),
    roles: readRoleHolders(invocation, command),
    thresholds: readThresholds(invocation, command),
    now: new Date(),
  });
  const files = new Map([...parseTrustMetadata(before), ...added]);
  for (const key of await readSigningKeys(invocation, signers)) signTrust(files, key);
  const out = optionalOption(invocation, "out");
  const isCopy = out !== undefined;
  const targets = new Map([
    ...(isCopy ? [...before].filter(([name]) => name.endsWith(`.${TRUSTED_ROOT_TARGET}`)) : []),
    ...carriedFiles(carried?.name, trustedRoot),
  ]);
  await writeTrustMetadata(out ?? directory, isCopy ? files : pick(files, added), isCopy, targets);
  const bytes = readTrustDirectory(out ?? directory);
  printClaim(readTrustClaim(bytes), terminal);
  const state = signingState(parseTrustMetadata(bytes));
  const missing = state.filter(({ signed, threshold }) => signed < threshold);
  terminal.result(`new: ${[...added.keys()].join(", ")} in ${plain(out ?? directory)}`);
  for (const item of missing) terminal.result(`incomplete: ${signingLine(item)}`);
  const next =
    missing.length > 0
      ? `on each missing key's machine: sealift trust sign ${out ?? directory} --key KEY`
      : `carry ${out ?? directory} to the sites; there: sealift trust import ${out ?? directory}`;
  terminal.result(`Next, ${next}`);
  terminal.document({
    directory: out ?? directory,
    added: [...added.keys()],
    complete: missing.length === 0,
    files: state,
  });
  return 0;
}

function pick<T>(files: ReadonlyMap<string, T>, names: ReadonlyMap<string, unknown>): Map<string, T> {
  return new Map([...files].filter(([name]) => names.has(name)));
}

async function readSigningKeys(invocation: Invocation, others: readonly PrivateKey[]): Promise<PrivateKey[]> {
  const keys = [...others];
  for (const path of repeatedOption(invocation, "key")) {
    keys.push(loadPrivateKey(path, await keyPassword(invocation, path)));
  }
  return keys;
}
