/** The OCI annotations (image-spec v1.1, annotations.md) that carry meaning for Sealift. */

/** Names an image or file in the release index. */
export const NAME_ANNOTATION = "org.opencontainers.image.title";
/** Names an entry of `index.json`, as skopeo, oras and cosign look it up. */
export const REF_NAME_ANNOTATION = "org.opencontainers.image.ref.name";
