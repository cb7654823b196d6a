import { appraiseInCage } from "../../verify/attestation/appraise-in-cage.ts";
import { ATTESTATION_POLICY_MAX_BYTES } from "../../verify/attestation/attestation-policy.ts";
import { renderAttestationVerdict } from "../../verify/attestation/attestation-verdict-text.ts";
import { collectReport } from "../../verify/attestation/collect-evidence.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { SELF_CHECK } from "../lifecycle/attested.ts";
import { siteCollateral } from "../lifecycle/collateral-store.ts";
import { selfCheck } from "../lifecycle/self-check.ts";
import { readCollateralDirectory, readHours } from "./attest-input.ts";
import { type Command, optionalOption, positionals, requiredOption } from "./command.ts";
import { STATE_OPTION, withSite } from "./site-options.ts";

const NAME = "attest self-check";
const DEFAULT_HOURS = 24;
const HOURS_MAX = 168;

export const attestSelfCheck: Command = {
  name: NAME,
  summary: "let this host judge itself, where the site's policy asks for no more: self-check, not proof",
  usage: "--policy FILE [--collateral DIR] [--hours N] [--state DIR]",
  details: [
    "--collateral D  certificates and revocation lists, as for attest verify (default: what attest import brought here)",
    "--policy F      the attestation policy whose digest is in the site's policy",
    `--hours N       how long it counts, 1 to ${HOURS_MAX} (default ${DEFAULT_HOURS}), and for this boot only`,
    "--state DIR     the site's state directory (default /var/lib/sealift)",
    "A host that lies says yes. For a proof another machine must judge: attest challenge, attest unlock.",
  ],
  options: { collateral: { type: "string" }, policy: { type: "string" }, hours: { type: "string" }, ...STATE_OPTION },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const hours = readHours(NAME, optionalOption(invocation, "hours"), DEFAULT_HOURS, HOURS_MAX);
    const policyBytes = await readBoundedFile(requiredOption(invocation, NAME, "policy"), ATTESTATION_POLICY_MAX_BYTES);
    const directory = optionalOption(invocation, "collateral");
    return withSite(invocation, NAME, async (site) => {
      const collateral = await readCollateralDirectory(directory ?? siteCollateral(site.paths));
      const means = { collect: collectReport, appraise: appraiseInCage };
      const verdict = await selfCheck(site, policyBytes, collateral, hours, means);
      const { terminal } = invocation;
      terminal.result(SELF_CHECK);
      for (const line of renderAttestationVerdict(verdict)) terminal.result(line);
      terminal.document({ label: SELF_CHECK, verdict });
      return verdict.decision === "allow" ? 0 : 3;
    });
  },
};
