/** `sbom` and `provenance`: the documents that the attestations carry describe this image, and say what they must. */
import { type BundleRelease, DOCUMENT_MAX_BYTES } from "../../bundles/layout/contents.ts";
import type { Layout } from "../../bundles/layout/layout.ts";
import { parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { hexOf } from "../../bundles/model/digest.ts";
import type { ReleaseImage } from "../../bundles/model/release-manifest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { parseSbom } from "../../sbom/document.ts";
import type { Policy } from "../policy.ts";
import { type Finding, failed, passed } from "../verdict.ts";

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

const provenanceSchema: JsonSchema = {
  type: "object",
  required: ["buildDefinition", "runDetails"],
  properties: {
    buildDefinition: {
      type: "object",
      required: ["buildType", "externalParameters", "resolvedDependencies"],
      properties: {
        buildType: { type: "string", minLength: 1 },
        externalParameters: { type: "object" },
        resolvedDependencies: {
          type: "array",
          items: {
            type: "object",
            required: ["uri", "digest"],
            properties: { uri: { type: "string" }, digest: { type: "object", minProperties: 1 } },
          },
        },
      },
    },
    runDetails: {
      type: "object",
      required: ["builder"],
      properties: {
        builder: { type: "object", required: ["id"], properties: { id: { type: "string", minLength: 1 } } },
      },
    },
  },
};

interface Provenance {
  readonly buildDefinition: { readonly buildType: string; readonly resolvedDependencies: readonly unknown[] };
  readonly runDetails: { readonly builder: { readonly id: string } };
}

/** Whether the provenance has SLSA's shape, each input has a digest, and the builder is one that the policy accepts. */
export function checkProvenance(layout: Layout, release: BundleRelease, policy: Policy): Finding[] {
  return release.manifest.images.map((image: ReleaseImage) => {
    const { name } = image;
    const value = parseCanonicalJson(layout.read(image.provenance, DOCUMENT_MAX_BYTES));
    const problem = value === undefined ? "not canonical JSON (RFC 8785)" : schemaProblem(provenanceSchema, value);
    if (problem !== undefined) {
      return failed("provenance", name, "PROVENANCE_MALFORMED", `provenance of ${name}: ${problem}`);
    }
    const { buildDefinition, runDetails } = value as Provenance;
    if (policy.builders !== undefined && !policy.builders.includes(runDetails.builder.id)) {
      return failed(
        "provenance",
        name,
        "PROVENANCE_FOREIGN_BUILDER",
        `${name} was built by ${JSON.stringify(runDetails.builder.id)}, which the policy does not accept`,
      );
    }
    return passed(
      "provenance",
      name,
      `built by ${runDetails.builder.id} from ${buildDefinition.resolvedDependencies.length} inputs, each with a digest`,
    );
  });
}
