/** The SLSA provenance of one image (https://slsa.dev/spec/v1.0/provenance), without anything that changes between two builds. */
import { canonicalJson } from "../model/canonical-json.ts";
import { builderId } from "../model/release-provenance.ts";
import type { SourcedImage } from "../source/source.ts";

/**
 * The predicate for `image`. It has no `invocationId`, `startedOn` or `finishedOn`, which SLSA leaves
 * optional: with them two builds of the same inputs would be two releases.
 */
export function renderProvenance(image: SourcedImage, sealiftVersion: string): Buffer {
  return canonicalJson({
    buildDefinition: {
      buildType: image.buildType,
      externalParameters: image.externalParameters,
      resolvedDependencies: image.materials,
    },
    runDetails: {
      builder: { id: builderId(sealiftVersion), version: { sealift: sealiftVersion, node: process.versions.node } },
    },
  });
}
