/**
 * The SLSA provenance of a kit (https://slsa.dev/spec/v1.0/provenance): the commit, each package by the digest of its
 * archive, and the program that put them together. Of who ran it and on which machine only the signing key speaks.
 */
import { hexOf } from "../model/digest.ts";
import { builderId, OWN_SOURCE, type ReleaseBuilder } from "../model/release-provenance.ts";
import { integrityHex } from "../source/recipe/npm-registry.ts";
import type { EngineHost, KitPlatform } from "./debian-packages.ts";
import type { KitFiles } from "./kit-files.ts";
import { debianPurl, npmPurl } from "./kit-sbom.ts";

/** SLSA buildType: a kit made by `sealift kit build` from a commit. Its resolvedDependencies are all that is in it. */
export const KIT_BUILD_TYPE = "https://sealift.dev/buildtypes/kit/v1";

export interface KitParameters {
  readonly platform: KitPlatform;
  readonly engines: readonly EngineHost[];
}

/** The predicate. The same for the same kit and builder. */
export function kitProvenance(kit: KitFiles, { platform, engines }: KitParameters, builder: ReleaseBuilder): object {
  const npm = [...kit.packages.values()].map((input) => ({
    uri: npmPurl(input),
    digest: { sha512: integrityHex(input) },
  }));
  const debian = kit.debian.map((one) => ({ uri: debianPurl(one), digest: { sha256: hexOf(one.input.sha256) } }));
  const packages = new Map([...npm, ...debian].map((one) => [one.uri, one]));
  const { sealiftVersion, nodeVersion, source, commit } = builder;
  return {
    buildDefinition: {
      buildType: KIT_BUILD_TYPE,
      externalParameters: { commit: kit.commit, platform, engines: [...engines].sort() },
      resolvedDependencies: [
        { uri: `${OWN_SOURCE}${kit.version}`, name: "sources", digest: { gitCommit: kit.commit } },
        {
          uri: `${OWN_SOURCE}${sealiftVersion}`,
          name: "builder",
          digest: { sha256: hexOf(source), ...(commit !== undefined && { gitCommit: commit }) },
        },
        ...[...packages.keys()].sort().map((uri) => packages.get(uri)),
      ],
    },
    runDetails: {
      builder: { id: builderId(sealiftVersion), version: { sealift: sealiftVersion, node: nodeVersion } },
    },
  };
}
