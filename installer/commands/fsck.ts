import { plain } from "../../bundles/model/plain-text.ts";
import { type FsckReport, fsckExit, fsck as look } from "../lifecycle/fsck/fsck.ts";
import { hostClock } from "../site/clock.ts";
import { statePaths } from "../site/state.ts";
import type { Terminal } from "../ui/terminal.ts";
import { type Command, positionals } from "./command.ts";
import { withLazyEngine } from "./site-engine.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

const NAME = "fsck";

export const fsck: Command = {
  name: NAME,
  summary: "find what is wrong with this site, on its disk and in its engine; changes nothing",
  usage: "[--content] [--state DIR]",
  details: [
    "--content             read every byte of the store, every file that a container sees and every entry of the",
    "                      audit log too; takes as long as reading them does",
    "Exit 0: nothing is wrong. Exit 4: degraded. Exit 3: something is not what it was made. Exit 6: an operation",
    "has not ended or a record is damaged, see `sealift recover`. Each finding says what to do next.",
  ],
  options: { content: { type: "boolean" }, ...STATE_OPTION },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal, options } = invocation;
    const directory = stateDirectory(invocation);
    const progress = terminal.progress("checking");
    const report = await withLazyEngine({ paths: statePaths(directory) }, (engine) =>
      look(directory, {
        clock: hostClock,
        content: options["content"] === true,
        engine,
        onProgress: (detail) => progress.update(detail),
      }),
    );
    progress.done(`${report.findings.length} findings`);
    tell(terminal, report);
    const exit = fsckExit(report);
    const { siteId = null, content, checks, findings, omitted, warnings } = report;
    terminal.document({ schemaVersion: 1, clean: exit === 0, siteId, content, checks, findings, omitted, warnings });
    return exit;
  },
};

function tell(terminal: Terminal, { siteId, checks, findings, omitted, warnings }: FsckReport): void {
  for (const { check, severity, code, message, hints } of findings) {
    terminal.result(plain(`${severity.padEnd(8)} ${check} [${code}]: ${message}`));
    for (const hint of hints) terminal.result(plain(`  hint: ${hint}`));
  }
  if (omitted > 0) terminal.result(`and ${omitted} findings more of the same checks`);
  for (const warning of warnings) terminal.result(plain(`soon: ${warning}`));
  for (const { check, reason } of checks) {
    if (reason !== undefined) terminal.result(plain(`not checked: ${check}: ${reason}`));
  }
  const whole = checks.filter(({ status }) => status === "pass").length;
  const counted = `${checks.length} checks: ${whole} passed, ${findings.length + omitted} findings`;
  terminal.result(`site ${siteId ?? "unknown"}: ${counted}`);
}
