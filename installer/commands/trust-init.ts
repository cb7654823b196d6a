import { plain } from "../../bundles/model/plain-text.ts";
import {
  fingerprintOf,
  planTrust,
  signingState,
  signTrust,
  trustedRootTarget,
  writeTrustMetadata,
} from "../../bundles/sign/trust-metadata.ts";
import { type Command, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
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

const NAME = "trust init";

export const trustInit: Command = {
  name: NAME,
  summary: "make the release trust: who may sign what, and how many of them must (TUF metadata)",
  usage: "--out DIR --root-key K… --root-threshold M --role ROLE=PUB[@HOLDER]… --threshold ROLE=M… [--appliance NAME]",
  details: [
    "--out DIR                 a new directory: the metadata, to be published as it is",
    "--root-key K[@HOLDER]     a private key signs at once; a public key signs later with `sealift trust sign`",
    "--root-threshold M        how many root keys must sign (default 1)",
    "--role ROLE=PUB[@HOLDER]  a public key of builder, security or release and who holds it; the file's name if not said",
    ...IDENTITY_DETAILS,
    "--threshold ROLE=M        how many keys of the role must sign a release (default 1)",
    "--appliance NAME          the only appliance that the roles may sign for (default: any)",
    "--password-env VAR        the variable with the private root keys' password; else COSIGN_PASSWORD, else asked for",
  ],
  options: {
    out: { type: "string" },
    ...TRUST_KEY_OPTIONS,
    appliance: { type: "string" },
  },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const out = requiredOption(invocation, NAME, "out");
    const { holders: root, signers } = await readRootKeys(invocation);
    if (root.length === 0) throw usageError(NAME, "--root-key is missing");
    const thresholds = readThresholds(invocation, NAME);
    const roles = new Map(
      [...readRoleHolders(invocation, NAME)].map(([role, keys]) => [
        role,
        { keys, threshold: thresholds.get(role) ?? 1 },
      ]),
    );
    const trustedRoot = await readTrustedRoot(invocation);
    const carried = trustedRoot && trustedRootTarget(trustedRoot);
    const files = planTrust({
      root,
      rootThreshold: readRootThreshold(invocation, NAME) ?? 1,
      roles,
      appliance: optionalOption(invocation, "appliance") ?? "*",
      now: new Date(),
      ...(carried && { trustedRoot: carried.target }),
    });
    for (const key of signers) signTrust(files, key);
    await writeTrustMetadata(out, files, true, carriedFiles(carried?.name, trustedRoot));
    const missing = signingState(files).filter(({ signed, threshold }) => signed < threshold);
    terminal.result(`release trust written to ${plain(out)}`);
    for (const item of missing) terminal.result(`incomplete: ${signingLine(item)}`);
    if (missing.length > 0)
      terminal.result(`Next, on each missing key's machine: sealift trust sign ${plain(out)} --key KEY`);
    else terminal.result(`Next: sealift trust show ${plain(out)}, and put its fingerprint on paper`);
    terminal.document({
      directory: out,
      complete: missing.length === 0,
      missing,
      roles: Object.fromEntries(
        [...roles].map(([role, { keys, threshold }]) => [
          role,
          {
            threshold,
            keys: keys.map((one) => ({ holder: one.holder, fingerprint: fingerprintOf(one) })),
          },
        ]),
      ),
    });
    return 0;
  },
};
