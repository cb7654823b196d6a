import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { closeStore, openStore } from "../../bundles/layout/layout.ts";
import { plainJson } from "../../bundles/model/plain-text.ts";
import { verifyInCage } from "../../verify/cage/run-cage.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { renderVerdictText } from "../../verify/verdict-text.ts";
import { installerError } from "../error.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { sealiftVersion } from "../host/this-host.ts";
import { type Command, optionalOption, positionals, usageError } from "./command.ts";

const STATE_DIRECTORY = "/var/lib/sealift";

export const verify: Command = {
  name: "verify",
  summary: "verify a bundle offline: every byte, every signature, every document",
  usage: "BUNDLE [--trust DIR] [--policy FILE] [--at TIME] [--format text|json] [--report FILE]",
  details: [
    "--trust DIR      release trust to judge by; the site's own if absent",
    "--policy FILE    policy to judge by (schema: `sealift schema policy`); the site's own or the default if absent",
    "--at TIME        judge as of this time (RFC 3339) instead of the host's clock",
    "--format F       text (default) or json",
    "--report FILE    write the verdict there too, in the format chosen",
    "--state DIR      the site's state directory (default /var/lib/sealift)",
    "With --policy, --at, or a trust directory other than the site's, the verdict is advisory.",
    "Exit 0: allowed. Exit 3: denied.",
  ],
  options: {
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
    const asked = optionalOption(invocation, "format") ?? "text";
    if (asked !== "text" && asked !== "json")
      throw usageError("verify", `--format: got ${JSON.stringify(asked)}, want text or json`);
    const format = terminal.json ? "json" : asked;
    const siteTrust = resolve(optionalOption(invocation, "state") ?? STATE_DIRECTORY, "trust");
    const trustDirectory = resolve(optionalOption(invocation, "trust") ?? siteTrust);
    const policyPath = optionalOption(invocation, "policy");
    const at = readTime(optionalOption(invocation, "at"));
    const advisory = trustDirectory !== siteTrust || policyPath !== undefined || at !== undefined;
    const trustFiles = readTrustDirectory(trustDirectory);
    const policyBytes = policyPath === undefined ? undefined : await readBoundedFile(policyPath, 64 * 1024);
    const store = openStore(path);
    const progress = terminal.progress("verifying");
    try {
      const verdict = await verifyInCage({
        store,
        trustFiles,
        policyBytes,
        time: { at: (at ?? new Date()).toISOString(), source: at === undefined ? "host-clock" : "option" },
        scope: advisory ? "advisory" : "site",
        sealiftVersion: sealiftVersion(),
        onProgress: (done, total) =>
          progress.update(`${Math.round(done / 1e6)} of ${Math.round(total / 1e6)} MB hashed`),
      });
      progress.done(verdict.decision === "allow" ? "allowed" : "denied");
      const text = format === "json" ? `${plainJson(verdict)}\n` : `${renderVerdictText(verdict).join("\n")}\n`;
      process.stdout.write(text);
      const report = optionalOption(invocation, "report");
      if (report !== undefined) {
        await writeFile(report, text).catch((cause: unknown) => {
          throw installerError("FILE_WRITE_FAILED", `report ${JSON.stringify(report)}: ${String(cause)}`, { cause });
        });
      }
      return verdict.decision === "allow" ? 0 : 3;
    } finally {
      closeStore(store);
    }
  },
};

/** RFC 3339 with a zone; a local time without one would mean another instant on another machine. */
function readTime(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const at = new Date(text);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/.test(text) || Number.isNaN(at.getTime())) {
    throw usageError("verify", `--at: got ${JSON.stringify(text)}, want RFC 3339, e.g. 2026-11-21T12:00:00Z`);
  }
  return at;
}
