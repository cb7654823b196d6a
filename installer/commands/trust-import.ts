import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { spendAuthorization } from "../lifecycle/authorization.ts";
import { execute } from "../lifecycle/execute.ts";
import { planLines } from "../lifecycle/plan-text.ts";
import type { Site } from "../lifecycle/site.ts";
import {
  planTrustChange,
  type TrustChange,
  trustChange,
  trustChangeParameters,
  trustChangeTo,
} from "../lifecycle/trust-change.ts";
import { siteError } from "../site/error.ts";
import { placeTrust, requireFingerprint, stageTrust } from "../site/trust.ts";
import { confirm } from "../ui/confirm.ts";
import { type Command, type Invocation, optionalOption, positionals, usageError } from "./command.ts";
import {
  AUTHORIZATION_DETAILS,
  AUTHORIZATION_OPTIONS,
  missingApprovals,
  obtainAuthorization,
  STATE_OPTION,
  withSite,
} from "./site-options.ts";

const NAME = "trust import";

export const trustImport: Command = {
  name: NAME,
  summary: "say whose releases this site accepts: pin a publisher's trust, or bring its newer one",
  usage: "DIR [--fingerprint SHA256] --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]",
  details: [
    "DIR                   the publisher's release trust (`sealift trust show DIR`)",
    "--fingerprint SHA256  of 1.root.json, from the publisher's paper; the first import asks for it",
    ...AUTHORIZATION_DETAILS,
    "--plan                print the plan and change nothing",
  ],
  options: {
    fingerprint: { type: "string" },
    ...AUTHORIZATION_OPTIONS,
    plan: { type: "boolean" },
    ...STATE_OPTION,
  },
  run: async (invocation) => {
    const [directory = ""] = positionals(invocation, NAME, "DIR");
    const fingerprint = fingerprintOption(invocation);
    const files = readTrustDirectory(directory);
    return withSite(invocation, `${NAME} ${directory}`, async (site) => {
      const change = trustChangeTo(site, files);
      const { pin } = change.after;
      if (fingerprint !== undefined) requireFingerprint(pin.rootFingerprint, fingerprint);
      if (invocation.options["plan"] === true) return printPlan(invocation, site, change);
      if (change.before?.digest === pin.digest) return putBack(invocation, site, change);
      if (!change.before && fingerprint === undefined) await askFingerprint(invocation, pin.rootFingerprint);
      const authorization = await obtainAuthorization(invocation, NAME, site, planTrustChange(change));
      if (!authorization) return 0;
      stageTrust(site.disk, site.paths.directory, change.after.files);
      const entry = spendAuthorization(site, authorization);
      await execute(site, trustChange, site, trustChangeParameters(change), entry);
      printTrust(invocation, change, authorization.approvals);
      return 0;
    });
  },
};

/** As `sha256sum` prints it or in the groups of `trust show`. @throws USAGE */
function fingerprintOption(invocation: Invocation): string | undefined {
  const text = optionalOption(invocation, "fingerprint");
  const hex = text
    ?.replace(/^sha256:/i, "")
    .replace(/[\s:]/g, "")
    .toLowerCase();
  if (hex === undefined || /^[0-9a-f]{64}$/.test(hex)) return hex;
  throw usageError(NAME, `--fingerprint: got ${JSON.stringify(text)}, want 64 hexadecimal digits`);
}

/** @throws TRUST_FINGERPRINT_MISSING unless a person at the terminal says that it is the paper's */
async function askFingerprint(invocation: Invocation, got: string): Promise<void> {
  const { terminal } = invocation;
  terminal.note("root fingerprint (compare every group with the publisher's paper):");
  terminal.note(`  ${(got.match(/.{8}/g) ?? []).join(" ")}`);
  if (terminal.interactive && (await confirm(invocation, NAME, "Is this what the paper says?"))) return;
  throw siteError("TRUST_FINGERPRINT_MISSING", "the first import pins the root, and nobody confirmed its fingerprint", {
    hints: [`sealift ${NAME} DIR --fingerprint SHA256, with the digits from the publisher's paper`],
  });
}

function printPlan({ terminal }: Invocation, site: Site, change: TrustChange): number {
  const subject = planTrustChange(change);
  for (const line of planLines(subject)) terminal.result(line);
  terminal.result(missingApprovals(site, subject));
  terminal.document({ plan: subject, threshold: site.authority.document.thresholds.trust });
  return 0;
}

/** What is in force already needs no authorization, also where its files were damaged. */
function putBack(invocation: Invocation, { disk, paths }: Site, change: TrustChange): number {
  stageTrust(disk, paths.directory, change.after.files);
  placeTrust(disk, paths.directory, change.after.pin);
  invocation.terminal.note("this release trust is in force on the site already");
  printTrust(invocation, change, []);
  return 0;
}

function printTrust(
  { terminal }: Invocation,
  { after: { pin } }: TrustChange,
  approvals: readonly { readonly principal: string }[],
): void {
  terminal.result(`release trust ${pin.digest}: root ${pin.roots.length}, targets ${pin.targetsVersion}`);
  terminal.result(`root fingerprint ${pin.rootFingerprint}`);
  if (approvals.length > 0) terminal.result(`authorized by ${approvals.map(({ principal }) => principal).join(", ")}`);
  const { digest, rootFingerprint, roots, targetsVersion } = pin;
  terminal.document({ trust: digest, rootFingerprint, rootVersion: roots.length, targetsVersion, approvals });
}
