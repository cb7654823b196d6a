import { plain } from "../../bundles/model/plain-text.ts";
import { SBOM_MAX_BYTES } from "../../sbom/document.ts";
import { validateSbom } from "../../sbom/validate.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { type Command, positionals } from "./command.ts";

export const sbomValidate: Command = {
  name: "sbom validate",
  summary: "check a CycloneDX document against the schema and what the schema leaves out",
  usage: "SBOM",
  details: [
    "Checks the schema (1.4 to 1.7, strict, offline), that references lead somewhere, that no bom-ref is",
    "there twice, that purls and licence expressions are well formed. Checks no signature, and not whether",
    "the document is true.",
    "Exit 0: valid. Exit 3: not valid.",
  ],
  options: {},
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, "sbom validate", "SBOM");
    const { terminal } = invocation;
    const { document, problems } = await validateSbom(await readBoundedFile(path, SBOM_MAX_BYTES));
    const { specVersion, components } = document;
    terminal.document({ valid: problems.length === 0, specVersion, components: components.length, problems });
    for (const { rule, pointer, message } of problems)
      terminal.result(`${rule}  ${plain(pointer || "/")}: ${plain(message)}`);
    terminal.result(
      problems.length === 0
        ? `valid: CycloneDX ${specVersion}, ${components.length} components`
        : `not valid: CycloneDX ${specVersion}, ${problems.length} problems`,
    );
    return problems.length === 0 ? 0 : 3;
  },
};
