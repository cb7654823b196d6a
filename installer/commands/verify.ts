import { closeStore, openStore } from "../../bundles/layout/layout.ts";
import { plainJson } from "../../bundles/model/plain-text.ts";
import { readApprovals } from "../../verify/approval-files.ts";
import { type CageOptions, examineInCage } from "../../verify/cage/run-cage.ts";
import type { EarlierRelease } from "../../verify/release-contents.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { renderVerdictText } from "../../verify/verdict-text.ts";
import type { Judged } from "../../verify/verify.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { sealiftVersion } from "../host/this-host.ts";
import { writeOver } from "../host/write-new.ts";
import { type Command, type Invocation, optionalOption, positionals, repeatedOption, usageError } from "./command.ts";
import { withImportedRecords } from "./records-option.ts";

/** Each of them makes the verdict one that authorizes nothing. */
const ADVISORY_OPTIONS = ["trust", "policy", "at"];
const POLICY_MAX_BYTES = 64 * 1024;

export const verify: Command = {
  name: "verify",
  summary: "verify a bundle offline: every byte, every signature, every document",
  usage:
    "BUNDLE [--db FILE] [--trust DIR] [--policy FILE] [--at TIME] [--format text|json|sarif|html] [--report FILE] [--against BUNDLE] [--base BUNDLE]…",
  details: [
    "--db FILE        OSV records besides those that the release carries; FILE.sigstore.json must be beside it",
    "--trust DIR      release trust to judge by; the site's own if absent (`sealift trust import`)",
    "--policy FILE    policy to judge by (schema: `sealift schema policy`); the site's own or the default if absent",
    "--at TIME        judge as of this time (RFC 3339) instead of the host's clock",
    "--format F       text (default), json, sarif (2.1.0), or html (one file, nothing loaded, good in print)",
    "--report FILE    write the verdict there too, in the format chosen; with --json stdout gets JSON nevertheless",
    "--against BUNDLE for --format html: the earlier release to compare with; the site's own if absent",
    "--base BUNDLE    a bundle that holds what a thin one leaves out; may be given several times (a site has its own)",
    "--state DIR      the site's state directory (default /var/lib/sealift)",
    "Approvals (`sealift approve`) are read from BUNDLE.approval-*.json; the policy says how many it takes.",
    "With --trust, --policy or --at the verdict is advisory: it authorizes nothing.",
    "Exit 0: allowed. Exit 3: denied.",
  ],
  options: {
    db: { type: "string" },
    against: { type: "string" },
    base: { type: "string", multiple: true },
    trust: { type: "string" },
    policy: { type: "string" },
    at: { type: "string" },
    format: { type: "string" },
    report: { type: "string" },
    state: { type: "string" },
  },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, "verify", "BUNDLE");
    const { terminal } = invocation;
    const formats = readFormats(invocation);
    const progress = terminal.progress("verifying");
    const onProgress = (done: number, total: number): void => {
      const all = Math.round(total / 1e6);
      // Vulnerability records, if there are some, take seconds after the last byte is hashed.
      progress.update(done < total ? `${Math.round(done / 1e6)} of ${all} MB hashed` : `${all} MB hashed, now judging`);
    };
    const isDescribed = formats.stdout === "html" || formats.report === "html";
    const against = optionalOption(invocation, "against");
    if (against !== undefined && !isDescribed) throw usageError("verify", "--against is for --format html");
    const judged = await withQuestion(invocation, path, isDescribed, (question) =>
      ADVISORY_OPTIONS.some((name) => optionalOption(invocation, name) !== undefined)
        ? verifyAdvisory(invocation, path, question, onProgress)
        : verifyAtSite(invocation, path, question, onProgress),
    );
    const { verdict } = judged;
    progress.done(verdict.decision === "allow" ? "allowed" : "denied");
    process.stdout.write(await renderers[formats.stdout](judged));
    const report = optionalOption(invocation, "report");
    if (report !== undefined) await writeOver(report, await renderers[formats.report](judged));
    return verdict.decision === "allow" ? 0 : 3;
  },
};

const FORMATS = ["text", "json", "sarif", "html"] as const;
type Format = (typeof FORMATS)[number];

/** Loaded only for the form that was asked for. */
const renderers: Readonly<Record<Format, (judged: Judged) => Promise<string>>> = {
  text: async ({ verdict }) => `${renderVerdictText(verdict).join("\n")}\n`,
  json: async ({ verdict }) => `${plainJson(verdict)}\n`,
  sarif: async ({ verdict }) => {
    const { renderVerdictSarif } = await import("../../verify/verdict-sarif.ts");
    return `${plainJson(renderVerdictSarif(verdict, sealiftVersion()))}\n`;
  },
  html: async ({ verdict, contents }) => {
    const { renderVerdictHtml } = await import("../../verify/verdict-html.ts");
    return renderVerdictHtml(verdict, sealiftVersion(), contents);
  },
};

/** `--json` decides what stdout gets, `--format` what the report gets, and stdout too if there is no `--json`. */
function readFormats({ terminal, options }: Invocation): { readonly stdout: Format; readonly report: Format } {
  const asked = options["format"];
  const format = FORMATS.find((known) => known === asked);
  if (asked !== undefined && format === undefined) {
    throw usageError("verify", `--format: got ${JSON.stringify(asked)}, want one of ${FORMATS.join(", ")}`);
  }
  const stdout = terminal.json ? "json" : (format ?? "text");
  return { stdout, report: format ?? stdout };
}

type OnProgress = (doneBytes: number, totalBytes: number) => void;

/** Loaded only where a site is asked: its parsers take as long to load as the verification of a small bundle. */
const siteVerify = () => import("../lifecycle/site-verify.ts");

type Question = Pick<CageOptions, "imported" | "describe"> & { readonly base: readonly string[] };

/** Runs `work` while the files that the verifier reads besides the bundle are open. */
async function withQuestion(
  invocation: Invocation,
  path: string,
  isDescribed: boolean,
  work: (question: Question) => Promise<Judged>,
): Promise<Judged> {
  const base = repeatedOption(invocation, "base");
  return withImportedRecords(invocation, async (imported) => {
    if (!isDescribed) return work({ imported, base });
    const earlier = await openEarlier(invocation, path);
    try {
      return await work({ imported, base, describe: { earlier } });
    } finally {
      if (earlier) closeStore(earlier.store);
    }
  });
}

/** What --against names, or else what runs at the site, if there is one. */
async function openEarlier(invocation: Invocation, path: string): Promise<EarlierRelease | undefined> {
  const against = optionalOption(invocation, "against");
  if (against !== undefined) return { store: openStore(against), digest: undefined };
  if (optionalOption(invocation, "trust") !== undefined) return undefined;
  const { openCurrentRelease, openSiteForVerify } = await siteVerify();
  return openCurrentRelease(openSiteForVerify(optionalOption(invocation, "state")), path);
}

/** With the site's own trust, policy and time: the verdict that a change of the site would be judged by. */
async function verifyAtSite(
  invocation: Invocation,
  path: string,
  question: Question,
  onProgress: OnProgress,
): Promise<Judged> {
  const { openSiteForVerify, verifyForSite } = await siteVerify();
  const site = openSiteForVerify(optionalOption(invocation, "state"));
  const { verdict, contents, close } = await verifyForSite(site, path, onProgress, question);
  close();
  return { verdict, contents };
}

/** With what the options say, and the site's for what they do not. Needs no site if they name a trust. */
async function verifyAdvisory(
  invocation: Invocation,
  path: string,
  { base, ...question }: Question,
  onProgress: OnProgress,
): Promise<Judged> {
  const policyPath = optionalOption(invocation, "policy");
  const at = readTime(optionalOption(invocation, "at"));
  const { policyBytes, ...standards } = await advisoryStandards(invocation);
  const ownPolicy = policyPath === undefined ? undefined : await readBoundedFile(policyPath, POLICY_MAX_BYTES);
  const store = openStore(path, base);
  try {
    return await examineInCage({
      ...question,
      store,
      ...standards,
      policyBytes: ownPolicy ?? policyBytes,
      approvals: readApprovals(path),
      time: { at: (at ?? new Date()).toISOString(), source: at === undefined ? "host-clock" : "option" },
      scope: "advisory",
      sealiftVersion: sealiftVersion(),
      onProgress,
    });
  } finally {
    closeStore(store);
  }
}

/** What `--trust` names, or the site\'s own. */
export async function advisoryStandards(
  invocation: Invocation,
): Promise<Pick<CageOptions, "trustFiles" | "policyBytes" | "earlierPolicies">> {
  const trust = optionalOption(invocation, "trust");
  if (trust !== undefined) return { trustFiles: readTrustDirectory(trust), policyBytes: undefined };
  const { openSiteForVerify, siteStandards } = await siteVerify();
  return siteStandards(openSiteForVerify(optionalOption(invocation, "state")));
}

/** RFC 3339 with a zone; a local time without one would mean another instant on another machine. */
function readTime(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const at = new Date(text);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/.test(text) || Number.isNaN(at.getTime())) {
    throw usageError("verify", `--at: got ${JSON.stringify(text)}, want RFC 3339, e.g. 2026-11-21T12:00:00Z`);
  }
  return at;
}
