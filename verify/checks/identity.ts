/** `identity`: this is the appliance, the channel and a version that the policy wants, and Sealift can handle it. */
import semver from "semver";
import type { ReleaseManifest } from "../../bundles/model/release-manifest.ts";
import type { Policy } from "../policy.ts";
import type { Trust } from "../trust/trust.ts";
import { type Finding, failed, passed } from "../verdict.ts";

export function checkIdentity(
  release: ReleaseManifest,
  policy: Policy,
  trust: Trust,
  sealiftVersion: string,
): Finding[] {
  const { appliance, channel, version, requires } = release;
  const findings: Finding[] = [];
  const refuse = (code: string, message: string): void => {
    findings.push(failed("identity", `${appliance} ${version}`, code, message));
  };
  for (const [role, { covers, paths }] of trust.roles) {
    if (!covers(appliance, version)) {
      refuse("RELEASE_OUT_OF_SCOPE", `role ${role} may sign for ${paths.join(", ")}, not for ${appliance}/${version}`);
    }
  }
  if (policy.appliance !== undefined && appliance !== policy.appliance) {
    refuse(
      "RELEASE_FOREIGN_APPLIANCE",
      `release is for appliance ${JSON.stringify(appliance)}, want ${JSON.stringify(policy.appliance)}`,
    );
  }
  if (policy.channels !== undefined && !policy.channels.includes(channel)) {
    refuse(
      "RELEASE_FOREIGN_CHANNEL",
      `release is on channel ${JSON.stringify(channel)}, want one of ${JSON.stringify(policy.channels)}`,
    );
  }
  if (policy.minimumVersion !== undefined && semver.lt(version, policy.minimumVersion)) {
    refuse("RELEASE_TOO_OLD", `release ${version}: want at least ${policy.minimumVersion}`);
  }
  if (semver.lt(version, release.securityFloor)) {
    refuse("RELEASE_BELOW_FLOOR", `release ${version} is below its own security floor ${release.securityFloor}`);
  }
  for (const [name, range] of [
    ["upgradeFrom", release.upgradeFrom],
    ["rollbackTo", release.rollbackTo],
  ] as const) {
    if (range !== "" && semver.validRange(range) === null) {
      refuse("RELEASE_MALFORMED", `release document: ${name} ${JSON.stringify(range)} is not a semver range`);
    }
  }
  if (semver.lt(sealiftVersion, requires.sealift)) {
    refuse(
      "RELEASE_NEEDS_NEWER_SEALIFT",
      `release ${version} needs Sealift ${requires.sealift}, this is ${sealiftVersion}`,
    );
  }
  if (trust.targetsVersion < requires.trust) {
    refuse("TRUST_TOO_OLD", `release ${version} needs trust version ${requires.trust}, got ${trust.targetsVersion}`);
  }
  return findings.length > 0
    ? findings
    : [passed("identity", `${appliance} ${version}`, `${appliance} ${version}, channel ${channel}`)];
}
