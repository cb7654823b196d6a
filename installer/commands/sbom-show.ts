import { digestOf } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { parseSbom, parseSbomJson } from "../../sbom/document.ts";
import { sbomLines } from "../../sbom/show-text.ts";
import { type Command, optionalOption, positionals } from "./command.ts";
import { readSbomInputs } from "./sbom-inputs.ts";

const NAME = "sbom show";

export const sbomShow: Command = {
  name: NAME,
  summary: "print the SBOMs that a bundle carries, or one in a file; verifies digests, and no signature",
  usage: "BUNDLE|SBOM [--image NAME] [--filter TEXT]",
  details: [
    "--image NAME     of a bundle, this image only",
    "--filter TEXT    only components with this text in their name, version, purl, kind or licences",
    "Cut to the terminal's columns, 80 elsewhere; --json has each document as it is, whatever the filter.",
  ],
  options: { image: { type: "string" }, filter: { type: "string" } },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "BUNDLE|SBOM");
    const { terminal } = invocation;
    const inputs = await readSbomInputs(NAME, path, optionalOption(invocation, "image"));
    const options = { columns: process.stdout.columns, filter: optionalOption(invocation, "filter") };
    terminal.document({
      images: inputs.map(({ name, digest, sbom }) => {
        return { name, digest: digest ?? null, sbomDigest: digestOf(sbom), sbom: parseSbomJson(sbom) };
      }),
    });
    for (const { name, digest, sbom } of inputs) {
      terminal.result(digest === undefined ? plain(name) : `image ${name}`);
      if (digest !== undefined) terminal.result(`  ${digest}`);
      for (const line of sbomLines(parseSbom(sbom), options)) terminal.result(line);
    }
    const next = inputs.some(({ digest }) => digest !== undefined) ? "verify" : "sbom validate";
    terminal.result(`Not verified: no signature was checked. Next: sealift ${next} ${plain(path)}`);
    return 0;
  },
};
