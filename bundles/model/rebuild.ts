/**
 * What an independent rebuilder signs: SLSA provenance for the release's digest, by a builder of their own. Two
 * provenances by two builders for one digest are what rebuilders elsewhere publish too, and cosign reads them.
 */

/** The `buildType` of that provenance: built again from the lock in the release, with the release's digest as result. */
export const REBUILD_TYPE = "https://sealift.invalid/rebuild/v1";
