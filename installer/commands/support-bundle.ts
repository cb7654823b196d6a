import { resolve } from "node:path";
import { digestOf } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { gatherSupport, type SupportManifest, writeSupport } from "../lifecycle/support-bundle/support-bundle.ts";
import { hostClock } from "../site/clock.ts";
import { hostDisk } from "../site/disk.ts";
import { statePaths } from "../site/state.ts";
import type { Terminal } from "../ui/terminal.ts";
import { type Command, positionals, requiredOption } from "./command.ts";
import { examineHost } from "./doctor.ts";
import { withLazyEngine } from "./site-engine.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

const NAME = "support-bundle";

export const supportBundle: Command = {
  name: NAME,
  summary: "one file that says how this site is, for somebody who must not see what is in it",
  usage: "--out FILE [--state DIR]",
  details: [
    "--out FILE            a tar of text files, mode 0600; an existing file is not replaced",
    "Holds what doctor, status and fsck find, versions, the ledger's head, journals, rendered files, containers and",
    "logs, each reduced to what an allow list names: no secret, no prompt, no name of a person. Sends nothing. Works",
    "also where the engine is down or the state is broken, and says what could not be gathered.",
  ],
  options: { out: { type: "string" }, ...STATE_OPTION },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const { terminal } = invocation;
    const out = resolve(requiredOption(invocation, NAME, "out"));
    const directory = stateDirectory(invocation);
    const progress = terminal.progress("gathering");
    const { manifest, tar } = await withLazyEngine({ paths: statePaths(directory) }, (engine) =>
      gatherSupport(directory, {
        clock: hostClock,
        engine,
        doctor: () => examineHost(invocation),
        onProgress: (part) => progress.update(part),
      }),
    );
    writeSupport(hostDisk, out, tar);
    progress.done(`${manifest.files.length} files`);
    tell(terminal, manifest);
    terminal.result(`${out}: ${tar.length} bytes, ${digestOf(tar)}`);
    terminal.result("read it before you hand it on: tar -xOf FILE README.txt says what is in it");
    terminal.document({ ...manifest, file: out, bytes: tar.length, digest: digestOf(tar) });
    return 0;
  },
};

function tell(terminal: Terminal, { files, notGathered }: SupportManifest): void {
  for (const { name, bytes, about } of files) {
    terminal.result(plain(`  ${name.padEnd(24)} ${String(bytes).padStart(7)}  ${about}`));
  }
  for (const { name, code } of notGathered) terminal.result(plain(`not gathered: ${name} [${code}]`));
  if (notGathered.some(({ code }) => code === "SUPPORT_SECRET_FOUND")) {
    terminal.note("a secret of the site stood in what was left out: this is a defect of Sealift's, please report it");
  }
}
