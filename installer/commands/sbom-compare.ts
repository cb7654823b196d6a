import { digestOf } from "../../bundles/model/digest.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { compareSboms } from "../../sbom/compare.ts";
import { parseSbom, SBOM_MAX_BYTES } from "../../sbom/document.ts";
import { storedImageSbom } from "../../sbom/generate/stored-image.ts";
import { validateSbom } from "../../sbom/validate.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { hostPlatform, sealiftVersion } from "../host/this-host.ts";
import { type Command, optionalOption, positionals } from "./command.ts";
import { withImage } from "./sbom-generate.ts";

const NAME = "sbom compare";
const SHOWN = 100;

export const sbomCompare: Command = {
  name: NAME,
  summary: "hold a vendor's SBOM against what is in the image",
  usage: "SBOM IMAGE|LAYOUT[#REF] [--platform P]",
  details: [
    "IMAGE, LAYOUT, #REF and --platform are as for `sealift sbom generate`",
    "Validates the document, looks whether it names this image by digest, and compares its packages with those",
    "found in the layers. Checks no signature. Exit 0: valid, about this image or no named one, and the same packages.",
    "Exit 3: not.",
  ],
  options: { platform: { type: "string" } },
  run: async (invocation) => {
    const [path = "", argument = ""] = positionals(invocation, NAME, "SBOM", "IMAGE");
    const { terminal } = invocation;
    const { document, problems } = await validateSbom(await readBoundedFile(path, SBOM_MAX_BYTES));
    const platform = optionalOption(invocation, "platform") ?? hostPlatform();
    const progress = terminal.progress("reading layers");
    const comparison = await withImage(argument, platform, progress.update, async (image, fallbackName) => {
      const own = await storedImageSbom(image, {
        toolVersion: sealiftVersion(),
        specVersion: "1.6",
        fallbackName,
        fallbackTime: new Date().toISOString(),
        onLayer: (number, count) => progress.update(`${number} of ${count}`),
      });
      return compareSboms(document, parseSbom(own), digestOf(image.manifest));
    });
    progress.done();
    const { subject, missing, unfound, notChecked, matched } = comparison;
    const isSame = missing.length === 0 && unfound.length === 0 && subject !== "another-image" && problems.length === 0;
    terminal.document({ schemaVersion: 1, decision: isSame ? "allow" : "deny", problems, ...comparison });
    for (const { rule, pointer, message } of problems)
      terminal.result(plain(`not valid: ${rule}  ${pointer || "/"}: ${message}`));
    if (subject === "another-image") terminal.result("the document is about another image");
    if (subject === "unnamed") terminal.result("not checked: the document names no image by its digest");
    const show = (what: string, names: readonly string[]): void => {
      for (const name of names.slice(0, SHOWN)) terminal.result(plain(`${what}: ${name}`));
      if (names.length > SHOWN) terminal.result(`${what}: ${names.length - SHOWN} more`);
    };
    show("in the image, not in the document", missing);
    show("in the document, not in the image", unfound);
    show("not checked", notChecked);
    terminal.result(
      `${matched} packages agree, ${missing.length} missing, ${unfound.length} not found, ${notChecked.length} not checked`,
    );
    return isSame ? 0 : 3;
  },
};
