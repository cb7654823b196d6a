/** An independent rebuilder's statement that the same sources and locked inputs gave the same release. */
import { type Digest, hexOf } from "../model/digest.ts";
import { PREDICATE_SLSA_PROVENANCE } from "../model/media-types.ts";
import { REBUILD_TYPE } from "../model/rebuild.ts";
import type { SigningKey } from "./signing-key.ts";
import { signStatement, statementFor } from "./statement.ts";

export interface Rebuild {
  /** What was built again, and came out the same. */
  readonly release: Digest;
  readonly appliance: string;
  readonly version: string;
  readonly platform: string;
  readonly applianceFile: Digest;
  readonly lock: Digest;
  /** A URI by which the rebuilder names the machine or service that built. */
  readonly builderId: string;
  readonly sealiftVersion: string;
  /** RFC 3339. */
  readonly finishedOn: string;
}

/** The Sigstore bundle, canonical JSON, that `verify` counts where a policy demands rebuilds. */
export function signRebuild(key: SigningKey, rebuild: Rebuild): Buffer {
  const { release, appliance, version, platform, applianceFile, lock, builderId, sealiftVersion, finishedOn } = rebuild;
  const input = (uri: string, digest: Digest) => ({ uri, digest: { sha256: hexOf(digest) } });
  const predicate = {
    buildDefinition: {
      buildType: REBUILD_TYPE,
      externalParameters: { appliance, version, platform },
      resolvedDependencies: [input("sealift:appliance-file", applianceFile), input("sealift:lock", lock)],
    },
    runDetails: { builder: { id: builderId, version: { sealift: sealiftVersion } }, metadata: { finishedOn } },
  };
  return signStatement(key, statementFor(release, PREDICATE_SLSA_PROVENANCE, predicate));
}
