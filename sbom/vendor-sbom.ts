/**
 * A vendor's own SBOM of an image, carried beside ours: a file of the release named `sbom-IMAGE`, with the media type of
 * CycloneDX. The builder attests it for the image, as it attests ours.
 */
import { type BundleRelease, DOCUMENT_MAX_BYTES } from "../bundles/layout/contents.ts";
import type { Layout } from "../bundles/layout/layout.ts";
import { canonicalJson } from "../bundles/model/canonical-json.ts";
import type { Digest } from "../bundles/model/digest.ts";
import { duplicateMember } from "../bundles/model/duplicate-member.ts";
import { CYCLONEDX_JSON } from "../bundles/model/media-types.ts";
import type { ReleaseImage } from "../bundles/model/release-manifest.ts";
import { reasonOf } from "../bundles/model/sealift-error.ts";
import { parseSbomJson } from "./document.ts";
import { sbomError } from "./error.ts";

export interface VendorSbom {
  /** The carried file's name. */
  readonly name: string;
  readonly image: ReleaseImage;
  readonly bytes: Buffer;
  /** The document as a value: the predicate of its attestation. */
  readonly predicate: unknown;
  /** The same in canonical JSON, since a vendor's bytes are laid out as the vendor likes. */
  readonly canonical: Buffer;
}

const PREFIX = "sbom-";

/** Whether a release carries some; reads nothing. */
export function hasVendorSboms({ manifest }: Pick<BundleRelease, "manifest">): boolean {
  return manifest.files.some(({ mediaType }) => mediaType === CYCLONEDX_JSON);
}

/**
 * At most 32 MiB each. Validates no schema.
 * @throws SBOM_VENDOR_IMAGE_UNKNOWN for one that is named for no image | SBOM_MALFORMED, also for a member that is there
 * twice, which two readers would understand differently | LAYOUT_DIGEST_MISMATCH | LAYOUT_SIZE_MISMATCH
 */
export function vendorSboms(layout: Pick<Layout, "read">, release: BundleRelease): VendorSbom[] {
  const { files, images } = release.manifest;
  return files
    .filter(({ mediaType }) => mediaType === CYCLONEDX_JSON)
    .map(({ name }) => {
      const image = images.find((one) => name === `${PREFIX}${one.name}`);
      if (!image) {
        throw sbomError("SBOM_VENDOR_IMAGE_UNKNOWN", `carried SBOM ${JSON.stringify(name)}: is named for no image`, {
          hints: [`want one of: ${images.map((one) => `${PREFIX}${one.name}`).join(", ")}`],
        });
      }
      const bytes = layout.read(release.files.get(name)?.manifest.layers[0]?.digest as Digest, DOCUMENT_MAX_BYTES);
      const predicate = parseSbomJson(bytes);
      const twice = duplicateMember(bytes.toString("utf8"));
      if (twice !== undefined) {
        throw sbomError("SBOM_MALFORMED", `carried SBOM ${name}: member ${JSON.stringify(twice)} is there twice`);
      }
      return { name, image, bytes, predicate, canonical: canonicalOf(name, predicate) };
    });
}

function canonicalOf(name: string, predicate: unknown): Buffer {
  try {
    return canonicalJson(predicate);
  } catch (cause) {
    throw sbomError("SBOM_MALFORMED", `carried SBOM ${name}: ${reasonOf(cause)}`, { cause });
  }
}
