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
import { lockedDigests } from "./locked-inputs.ts";

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

interface Dependency {
  readonly uri: string;
  readonly digest: Readonly<Record<string, unknown>>;
}

interface Provenance {
  readonly buildDefinition: { readonly buildType: string; readonly resolvedDependencies: readonly Dependency[] };
  readonly runDetails: { readonly builder: { readonly id: string } };
}

/** Hexadecimal digits of the digests that say which bytes went in; md5, sha1 and git's say it no more. */
const STRONG_DIGESTS: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };

function hasStrongDigest({ digest }: Dependency): boolean {
  return Object.entries(STRONG_DIGESTS).some(([name, length]) => {
    const value = digest[name];
    return typeof value === "string" && value.length === length && /^[0-9a-f]+$/.test(value);
  });
}

/**
 * Whether the provenance has SLSA's shape, each input is named by a strong digest, and builder, build type and
 * inputs are ones that the policy accepts. That the inputs were good is not judged.
 */
export function checkProvenance(layout: Layout, release: BundleRelease, policy: Policy): Finding[] {
  const locked = lockedDigests(layout, release.manifest.lock);
  const isLocked = ({ digest }: Dependency): boolean => Object.values(digest).some((hex) => locked.has(String(hex)));
  return release.manifest.images.map((image: ReleaseImage) => {
    const { name } = image;
    const refuse = (code: string, what: string): Finding => failed("provenance", name, code, what);
    const value = parseCanonicalJson(layout.read(image.provenance, DOCUMENT_MAX_BYTES));
    const problem = value === undefined ? "not canonical JSON (RFC 8785)" : schemaProblem(provenanceSchema, value);
    if (problem !== undefined) return refuse("PROVENANCE_MALFORMED", `provenance of ${name}: ${problem}`);
    const { buildDefinition, runDetails } = value as Provenance;
    const { buildType, resolvedDependencies } = buildDefinition;
    const { id } = runDetails.builder;
    if (policy.builders !== undefined && !policy.builders.includes(id)) {
      return refuse(
        "PROVENANCE_FOREIGN_BUILDER",
        `${name} was built by ${JSON.stringify(id)}, which the policy does not accept`,
      );
    }
    if (policy.buildTypes !== undefined && !policy.buildTypes.includes(buildType)) {
      return refuse(
        "PROVENANCE_FOREIGN_BUILD_TYPE",
        `${name} was built as ${JSON.stringify(buildType)}, which the policy does not accept`,
      );
    }
    const weak = resolvedDependencies.find((input) => !hasStrongDigest(input));
    if (weak) {
      return refuse("PROVENANCE_WEAK_DIGEST", `${name}: input ${JSON.stringify(weak.uri)} has no SHA-256 or stronger`);
    }
    const { sources } = policy;
    const foreign =
      sources && resolvedDependencies.find(({ uri }) => !sources.some((source) => uri.startsWith(source)));
    if (foreign) {
      return refuse(
        "PROVENANCE_FOREIGN_SOURCE",
        `${name}: input ${JSON.stringify(foreign.uri)} is of no source that the policy accepts`,
      );
    }
    const { unlockedInputs } = policy;
    const stray =
      unlockedInputs &&
      resolvedDependencies.find(
        (input) => !isLocked(input) && !unlockedInputs.some((uri) => input.uri.startsWith(uri)),
      );
    if (stray) {
      return refuse(
        "PROVENANCE_UNLOCKED_INPUT",
        `${name}: input ${JSON.stringify(stray.uri)} is not in the release's lock, and the policy does not except it`,
      );
    }
    // L2 asks for a hosted build platform and L3 for a hardened one; a key's signature shows neither.
    const count = resolvedDependencies.filter(isLocked).length;
    const inputs = `${resolvedDependencies.length} inputs, each with a digest, ${count} of them in the release's lock`;
    return passed("provenance", name, `SLSA Build L1: built by ${id} from ${inputs}`);
  });
}
