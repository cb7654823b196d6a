/** `sbom` and `provenance`: the documents that the attestations carry describe this image, and say what they must. */
import { type BundleRelease, DOCUMENT_MAX_BYTES } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { hexOf } from "../../bundles/model/digest.ts";
import type { ReleaseImage } from "../../bundles/model/release-manifest.ts";
import { parseSbom } from "../../sbom/document.ts";
import type { Policy } from "../policy.ts";
import { type Finding, failed, passed } from "../verdict.ts";
import {
  acceptedProvenance,
  builderRefusal,
  isBelow,
  isLocked,
  type Provenance,
  type ProvenanceOutcome,
  provenanceProblem,
  refusedProvenance,
} from "./provenance-shape.ts";

/** Whether the SBOM names the image by digest and lists something. What it lists is not compared with the layers. */
export function checkSboms(layout: Layout, release: BundleRelease): Finding[] {
  return release.manifest.images.map(({ name, digest, sbom }) => {
    const document = parseSbom(layout.read(sbom, DOCUMENT_MAX_BYTES));
    const purl = document.subject?.purl ?? "";
    if (!purl.includes(`@sha256%3A${hexOf(digest)}`) && !purl.includes(`@sha256:${hexOf(digest)}`)) {
      return failed(
        "sbom",
        name,
        "SBOM_FOREIGN_SUBJECT",
        `SBOM of ${name} is about ${JSON.stringify(purl)}, want ${digest}`,
      );
    }
    if (document.components.length === 0) {
      return failed("sbom", name, "SBOM_EMPTY", `SBOM of ${name} lists no component`);
    }
    return passed("sbom", name, `${document.components.length} components listed`);
  });
}

/**
 * Whether the provenance has SLSA's shape, each input is named by a strong digest, and builder, build type and
 * inputs are ones that the policy accepts. That the inputs were good is not judged.
 */
export function checkProvenance(
  layout: Layout,
  release: BundleRelease,
  policy: Policy,
  locked: ReadonlySet<string>,
): ProvenanceOutcome[] {
  return release.manifest.images.map((image: ReleaseImage) => {
    const { name } = image;
    const refuse = (code: string, what: string): ProvenanceOutcome => refusedProvenance(name, code, what);
    const value = parseCanonicalJson(layout.read(image.provenance, DOCUMENT_MAX_BYTES));
    const problem = provenanceProblem(value);
    if (problem !== undefined) return refuse("PROVENANCE_MALFORMED", `provenance of ${name}: ${problem}`);
    const provenance = value as Provenance;
    const { buildType, resolvedDependencies } = provenance.buildDefinition;
    const { id } = provenance.runDetails.builder;
    if (policy.buildTypes !== undefined && !policy.buildTypes.includes(buildType)) {
      const what = `${name} was built as ${JSON.stringify(buildType)}, which the policy does not accept`;
      return refuse("PROVENANCE_FOREIGN_BUILD_TYPE", what);
    }
    const refused = builderRefusal(name, provenance, policy);
    if (refused) return refused;
    const { sources } = policy;
    const foreign = sources && resolvedDependencies.find(({ uri }) => !sources.some((source) => isBelow(uri, source)));
    if (foreign) {
      const what = `${name}: input ${JSON.stringify(foreign.uri)} is of no source that the policy accepts`;
      return refuse("PROVENANCE_FOREIGN_SOURCE", what);
    }
    const { unlockedInputs } = policy;
    const stray =
      unlockedInputs &&
      resolvedDependencies.find(
        (input) => !isLocked(input, locked) && !unlockedInputs.some((uri) => isBelow(input.uri, uri)),
      );
    if (stray) {
      const what = `${name}: input ${JSON.stringify(stray.uri)} is not in the release's lock, and the policy does not except it`;
      return refuse("PROVENANCE_UNLOCKED_INPUT", what);
    }
    const inputs = resolvedDependencies.length;
    const count = resolvedDependencies.filter((input) => isLocked(input, locked)).length;
    return acceptedProvenance(
      { name, subject: image.digest, builder: id, buildType, inputs, locked: count, source: null },
      `built by ${id} from ${inputs} inputs, each with a digest, ${count} of them in the release's lock`,
    );
  });
}
