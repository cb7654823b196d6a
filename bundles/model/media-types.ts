/** Every media type, artifact type and predicate type that Sealift writes or accepts. */

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json";
export const OCI_LAYER_TAR = "application/vnd.oci.image.layer.v1.tar";
export const OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
export const OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd";
/** The empty JSON value `{}` as a config (image-spec v1.1, manifest.md "Guidance for an Empty Descriptor"). */
export const OCI_EMPTY = "application/vnd.oci.empty.v1+json";

export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
export const DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
export const DOCKER_IMAGE_CONFIG = "application/vnd.docker.container.image.v1+json";
export const DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/** artifactType of the index that is a release: its digest is the release's identity. */
export const RELEASE = "application/vnd.sealift.release.v1+json";
/** artifactType of the one manifest in that index whose config is the release document. */
export const RELEASE_DOCUMENT = "application/vnd.sealift.release.document.v1+json";
/** artifactType of a file that a release carries beside its images (a model, a data snapshot). */
export const RELEASE_FILE = "application/vnd.sealift.file.v1";

export const COMPOSE_TEMPLATE = "application/vnd.sealift.compose.v1+json";
export const CONFIG_SCHEMA = "application/schema+json";
export const BUILD_LOCK = "application/vnd.sealift.lock.v1+json";
export const BUILD_APPLIANCE = "application/vnd.sealift.appliance.v1+json";
export const PROVENANCE = "application/vnd.sealift.provenance.v1+json";
export const CYCLONEDX_JSON = "application/vnd.cyclonedx+json";

/**
 * Carried files that `verify` itself reads: vulnerability records as OSV exports them (of several files all count),
 * VEX (CycloneDX or OpenVEX) and waivers (`sealift schema waivers`).
 */
export const OSV_SNAPSHOT_ZIP = "application/vnd.sealift.osv.v1+zip";
export const OSV_SNAPSHOT_TAR = "application/vnd.sealift.osv.v1.tar";
export const OSV_SNAPSHOT_TAR_GZIP = "application/vnd.sealift.osv.v1.tar+gzip";
export const OSV_SNAPSHOT_TAR_ZSTD = "application/vnd.sealift.osv.v1.tar+zstd";
/** Of all of them; a form that Sealift does not know is refused, and not passed over. */
export const OSV_SNAPSHOT_PREFIX = "application/vnd.sealift.osv.";
export const VEX_STATEMENTS = "application/vnd.sealift.vex.v1+json";
export const WAIVERS = "application/vnd.sealift.waivers.v1+json";

export const SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json";
/** Layer of cosign 2's `sha256-<hex>.sig` manifest. */
export const COSIGN_SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json";

export const IN_TOTO_PAYLOAD = "application/vnd.in-toto+json";
export const IN_TOTO_STATEMENT = "https://in-toto.io/Statement/v1";
export const PREDICATE_COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1";
export const PREDICATE_SLSA_PROVENANCE = "https://slsa.dev/provenance/v1";
/** A verification summary (VSA): somebody verified the release, and says by what. */
export const PREDICATE_VSA = "https://slsa.dev/verification_summary/v1";
export const PREDICATE_CYCLONEDX = "https://cyclonedx.org/bom";
