import { resolve } from "node:path";
import { plain } from "../../bundles/model/plain-text.ts";
import { repairParts } from "../../bundles/transfer/repair.ts";
import { megabytes } from "./bundle-split.ts";
import { type Command, optionalOption, positionals } from "./command.ts";

const NAME = "bundle repair";

export const bundleRepair: Command = {
  name: NAME,
  summary: "read media parts, say which are damaged or missing, and make them again from parity",
  usage: "DIRECTORY [--check] [--out DIR]",
  details: [
    "DIRECTORY   with the parts, or above the mount points of media that hold them; or one of the parts",
    "--check     only say what is wrong: exit 0 if nothing is, else 5",
    "--out DIR   where files that are made again go; in the place of the damaged ones, beside the others, if absent",
    "Needs room for the files that are made again and for nothing else. Signatures are not looked at: `sealift verify`.",
  ],
  options: { check: { type: "boolean" }, out: { type: "string" } },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "DIRECTORY");
    const { terminal } = invocation;
    const out = optionalOption(invocation, "out");
    const progress = terminal.progress("repairing");
    const result = repairParts({
      path,
      out: out === undefined ? undefined : resolve(out),
      checkOnly: invocation.options["check"] === true,
      onProgress: (what, done, total) => progress.update(`${megabytes(done)} of ${megabytes(total)} MB ${what}`),
    });
    progress.done(result.written.length === 0 ? "nothing is wrong" : `${result.written.length} files made again`);
    for (const name of result.missing) terminal.result(`missing  ${plain(name)}`);
    for (const name of result.damaged) terminal.result(`damaged  ${plain(name)}`);
    for (const file of result.written) terminal.result(`written  ${plain(file)}`);
    terminal.result(
      result.written.length === 0
        ? `${plain(result.name)}: every byte of every part is as it was made.`
        : "Made again, and as it was. Next: sealift verify DIRECTORY",
    );
    terminal.document(result);
    return 0;
  },
};
