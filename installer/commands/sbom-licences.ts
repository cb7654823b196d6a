import { plain } from "../../bundles/model/plain-text.ts";
import { parseSbom } from "../../sbom/document.ts";
import { judgeLicences, LICENCE_POLICY_MAX_BYTES, parseLicencePolicy } from "../../sbom/licence/evaluate.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { type Command, optionalOption, positionals, requiredOption } from "./command.ts";
import { readSbomInputs } from "./sbom-inputs.ts";

const NAME = "sbom licences";

export const sbomLicences: Command = {
  name: NAME,
  summary: "judge the licences that SBOMs state by a policy",
  usage: "BUNDLE|SBOM --policy FILE [--image NAME]",
  details: [
    "--policy FILE    which licences are allowed, to be reviewed, denied (schema: `sealift schema licence-policy`)",
    "--image NAME     of a bundle, this image only",
    "SPDX expressions: OR takes the best, AND and several licences of one package the worst. No licence, or one",
    "without an SPDX name, is unknown. Exit 0: none denied. Exit 3: some denied.",
  ],
  options: { policy: { type: "string" }, image: { type: "string" } },
  run: async (invocation) => {
    const [path = ""] = positionals(invocation, NAME, "BUNDLE|SBOM");
    const { terminal } = invocation;
    const policy = parseLicencePolicy(
      await readBoundedFile(requiredOption(invocation, NAME, "policy"), LICENCE_POLICY_MAX_BYTES),
    );
    const inputs = await readSbomInputs(NAME, path, optionalOption(invocation, "image"));
    const subjects = inputs.map(({ name, sbom }) => ({ name, packages: judgeLicences(parseSbom(sbom), policy) }));
    const all = subjects.flatMap(({ packages }) => packages);
    const denied = all.filter(({ rule }) => rule === "deny").length;
    terminal.document({ schemaVersion: 1, decision: denied === 0 ? "allow" : "deny", subjects });
    for (const { name, packages } of subjects) {
      terminal.result(plain(`${name}: ${packages.length} packages`));
      for (const one of packages) {
        if (one.rule === "allow") continue;
        const why = one.isUnknown ? "licence unknown" : one.decided.join(" AND ");
        terminal.result(plain(`  ${one.rule}  ${one.package}  ${why}`));
      }
    }
    const review = all.filter(({ rule }) => rule === "review").length;
    terminal.result(`${all.length - denied - review} allowed, ${review} to review, ${denied} denied`);
    return denied === 0 ? 0 : 3;
  },
};
