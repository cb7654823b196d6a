import { plain } from "../../bundles/model/plain-text.ts";
import { parseSbomJson, SBOM_MAX_BYTES } from "../../sbom/document.ts";
import { scoreSbom } from "../../sbom/score/score.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { type Command, positionals } from "./command.ts";

export const sbomScore: Command = {
  name: "sbom score",
  summary: "how much of the NTIA's minimum elements and of BSI TR-03183-2 a CycloneDX document has",
  usage: "SBOM",
  details: [
    "Prints each rule with its percentage and the first components that lack it. Says nothing of whether",
    "what is stated is true, nor whether the document is valid: `sealift sbom validate` does. Exit 0.",
  ],
  options: {},
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, "sbom score", "SBOM");
    const { terminal } = invocation;
    const standards = scoreSbom(parseSbomJson(await readBoundedFile(path, SBOM_MAX_BYTES)));
    terminal.document({ schemaVersion: 1, standards });
    for (const { standard, percent, rules } of standards) {
      terminal.result(`${standard}: ${percent}%`);
      for (const { id, asks, met, of, percent: part, lacking } of rules) {
        terminal.result(`  ${`${part}%`.padStart(6)}  ${id}  ${met} of ${of}: ${asks}`);
        if (lacking.length > 0) terminal.result(plain(`          lacking: ${lacking.join(", ")}`));
      }
    }
    return 0;
  },
};
