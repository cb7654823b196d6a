import { plain } from "../../bundles/model/plain-text.ts";
import {
  type AnyPolicy,
  ATTESTATION_POLICY_MAX_BYTES,
  parseAttestationPolicy,
} from "../../verify/attestation/attestation-policy.ts";
import { firstToEnd, itemText } from "../../verify/attestation/collateral-check.ts";
import { COLLATERAL_KIT_MAX_BYTES, COLLATERAL_NAMESPACE } from "../../verify/attestation/collateral-kit.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { type ImportedCollateral, importCollateral, importSiteCollateral } from "../lifecycle/collateral-store.ts";
import { parseSigners, SIGNERS_MAX_BYTES } from "../site/allowed-signers.ts";
import { hostDisk } from "../site/disk.ts";
import { type Command, type Invocation, optionalOption, positionals, requiredOption, usageError } from "./command.ts";
import { STATE_OPTION, withSite } from "./site-options.ts";

const NAME = "attest import";

export const attestImport: Command = {
  name: NAME,
  summary: "take a kit of collateral that attest fetch made: signed, complete, for these chips, valid and not older",
  usage: "KIT [--policy FILE] (--into DIR --signers FILE | --state DIR)",
  details: [
    "KIT          what attest fetch wrote on the connected machine",
    "--into DIR   a verifier's directory of collateral, for --collateral of the other verbs; made if it is not there",
    `--signers F  whose kits count: lines of allowed_signers, namespaces="${COLLATERAL_NAMESPACE}"`,
    "--state DIR  without --into: the site's own, for attest self-check; an operator must have signed the kit",
    "--policy F   the attestation policy by which evidence will be appraised: its smallest list numbers hold here too",
    "What is there for other machines stays; what is newer is never replaced by what is older. It prints how long each",
    "part will do. Exit 0: imported. Exit 3: refused, and nothing was changed.",
  ],
  options: {
    policy: { type: "string" },
    into: { type: "string" },
    signers: { type: "string" },
    ...STATE_OPTION,
  },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "KIT");
    const policy = await readPolicy(optionalOption(invocation, "policy"));
    const kit = await readBoundedFile(path, COLLATERAL_KIT_MAX_BYTES);
    const imported = await bring(invocation, kit, policy);
    const { statement, by, items } = imported;
    const { terminal } = invocation;
    terminal.result(`fetched ${statement.fetched}, signed by ${plain(by.principal)}, key ${by.fingerprint}`);
    const sorted = items.toSorted((a, b) => a.until.getTime() - b.until.getTime());
    for (const item of sorted) terminal.result(`  ${plain(itemText(item))}`);
    const first = firstToEnd(items);
    if (first !== undefined) terminal.result(plain(`fetch again before ${itemText(first)}`));
    terminal.document({
      fetched: statement.fetched,
      by,
      until: first?.until.toISOString() ?? null,
      items: sorted.map(({ file, what, number, issued, until }) => ({
        file,
        what,
        number: number === null ? null : `${number}`,
        issued: issued.toISOString(),
        until: until.toISOString(),
      })),
    });
    return 0;
  },
};

async function readPolicy(path: string | undefined): Promise<AnyPolicy | null> {
  if (path === undefined) return null;
  return parseAttestationPolicy(await readBoundedFile(path, ATTESTATION_POLICY_MAX_BYTES)).policy;
}

async function bring(invocation: Invocation, kit: Buffer, policy: AnyPolicy | null): Promise<ImportedCollateral> {
  const directory = optionalOption(invocation, "into");
  if (directory === undefined) {
    if (optionalOption(invocation, "signers") !== undefined) {
      throw usageError(NAME, "--signers is for --into: a site takes kits of its operators");
    }
    return withSite(invocation, NAME, (site) => importSiteCollateral(site, kit, policy));
  }
  if (optionalOption(invocation, "state") !== undefined) throw usageError(NAME, "give --into or --state, not both");
  const signersPath = requiredOption(invocation, NAME, "signers");
  const text = (await readBoundedFile(signersPath, SIGNERS_MAX_BYTES)).toString("utf8");
  const signers = parseSigners(text, signersPath, COLLATERAL_NAMESPACE);
  return importCollateral(hostDisk, { kit, signers, directory, policy, now: new Date() });
}
