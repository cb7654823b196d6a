import { DOCUMENT_MAX_BYTES, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { parseSbom, parseSbomJson } from "../../sbom/document.ts";
import { sbomError } from "../../sbom/error.ts";
import { sbomLines } from "../../sbom/show-text.ts";
import { type Command, optionalOption, positionals } from "./command.ts";

export const sbomShow: Command = {
  name: "sbom show",
  summary: "print the SBOMs that a bundle carries; verifies their digests, and no signature",
  usage: "BUNDLE [--image NAME]",
  details: ["--image NAME     this image only", "Cut to 80 columns; --json has each document as it is."],
  options: { image: { type: "string" } },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, "sbom show", "BUNDLE");
    const { terminal } = invocation;
    const wanted = optionalOption(invocation, "image");
    const { layout, store } = openLayout(path);
    try {
      const { manifest } = readRelease(layout, readLayoutIndex(layout).release);
      const images = manifest.images.filter((image) => wanted === undefined || image.name === wanted);
      if (images.length === 0) {
        throw sbomError(
          "SBOM_IMAGE_NOT_FOUND",
          `bundle ${JSON.stringify(path)} has no image ${JSON.stringify(wanted)}`,
          {
            hints: [`it has: ${manifest.images.map((image) => image.name).join(", ")}`],
          },
        );
      }
      const shown = images.map(({ name, digest, sbom }) => {
        const bytes = layout.read(sbom, DOCUMENT_MAX_BYTES);
        return { name, digest, sbom, bytes, document: parseSbom(bytes) };
      });
      terminal.document({
        images: shown.map(({ name, digest, sbom, bytes }) => ({
          name,
          digest,
          sbomDigest: sbom,
          sbom: parseSbomJson(bytes),
        })),
      });
      for (const { name, digest, document } of shown) {
        terminal.result(`image ${name}`);
        terminal.result(`  ${digest}`);
        for (const line of sbomLines(document)) terminal.result(line);
      }
      terminal.result(`Not verified: no signature was checked. Next: sealift verify ${plain(path)}`);
      return 0;
    } finally {
      closeStore(store);
    }
  },
};
