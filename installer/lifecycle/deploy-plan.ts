/**
 * What an install, upgrade, rollback or configuration change would do: judged and written down before
 * anything happens. Reads only what it is given; the same site and the same wish give the same plan, which
 * is why another operator can sign it elsewhere.
 */
import { randomBytes } from "node:crypto";
import { gt, lt, satisfies } from "semver";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import type { ReleaseManifest } from "../../bundles/model/release-manifest.ts";
import type { Comparison } from "../../verify/release-contents.ts";
import type { PresentCertificate } from "../site/client-certificate.ts";
import { type Config, completeConfig, configBytes, configDigest } from "../site/config.ts";
import { type DataMark, type Deployment, type Deployments, otherColour } from "../site/deployment.ts";
import { siteError } from "../site/error.ts";
import { storedPath } from "../site/store.ts";
import type { PlanSubject } from "./authorization.ts";
import { type CertificateWish, certificateWayBack, planCertificate } from "./certificate-change.ts";
import type { DeployAction, DeployParameters, SiteNames } from "./deploy-context.ts";
import { type DiskUse, diskLine } from "./disk-use.ts";
import { lifecycleError } from "./error.ts";
import { type PlannedRotation, planRotation, type Rotation, type RotationWish } from "./rotation.ts";
import { softwareLines } from "./software-change.ts";
import { type ReleaseParts, renderFor } from "./stored-release.ts";

/** What the plan needs to know besides the release; gathered by the verb. */
export interface PlanFacts {
  readonly site: SiteNames;
  readonly deployments: Deployments;
  /** Of the verification that was made just now. */
  readonly policyDigest: Digest;
  readonly trustVersion: number | null;
  /** Files of secrets that are not there yet. */
  readonly missingSecrets: readonly string[];
  /** Volumes of this site that the engine has already. */
  readonly volumes: readonly string[];
  readonly engineId: string;
  readonly sealiftVersion: string;
  readonly hostPlatform: string;
  /** Of the release that runs; undefined before an install. */
  readonly current: ReleaseParts | undefined;
  /** What the next release changes in the software (software-change.ts); undefined if it is the same, or the first. */
  readonly software?: Comparison | undefined;
  /** What the next release adds to the disks, if it is not the one that runs. */
  readonly disk: DiskUse;
  /** What clients see; undefined if there is none yet. */
  readonly certificate?: PresentCertificate | undefined;
}

export interface DeployPlan {
  readonly subject: PlanSubject;
  readonly parameters: DeployParameters;
}

/** What the site does with the release that it has: the way back to the one before stays as it is. */
const STAYING: readonly DeployAction[] = ["config", "tls", "rotate"];
/** Seconds for which a new colour is watched before the commit. */
const WATCH_SECONDS = 10;
/** What a base service takes to be replaced, measured: PostgreSQL 1.6 s, the front 0.9 s. */
const BASE_PAUSE_SECONDS = 3;

/**
 * On data that an uninstall left, only a release that could have upgraded the one that wrote it, or to which that
 * one could have returned.
 * @throws INSTALL_EXISTS | RELEASE_OTHER_PLATFORM | RELEASE_NEEDS_NEWER_SEALIFT | RELEASE_BELOW_FLOOR | CONFIG_MALFORMED
 * | INSTALL_DATA_UNKNOWN | RELEASE_OTHER_APPLIANCE | UPGRADE_NOT_ALLOWED | ROLLBACK_NOT_ALLOWED
 */
export function planInstall(facts: PlanFacts, next: ReleaseParts, given: Config): DeployPlan {
  requireNotInstalled(facts.deployments);
  requireUsable(facts, next.release.manifest);
  if (facts.volumes.length > 0) requireFitsData(facts, next.release.manifest);
  return plan("install", facts, next, completeConfig(next.configSchema, given), { stage: true });
}

/**
 * `present` is the configuration of the release that runs; the next schema must take it.
 * @throws SITE_NOT_INSTALLED | RELEASE_OTHER_APPLIANCE | UPGRADE_NOT_NEWER | UPGRADE_NOT_ALLOWED and those of `planInstall`
 */
export function planUpgrade(facts: PlanFacts, next: ReleaseParts, present: Config): DeployPlan {
  const { manifest } = next.release;
  const current = requireInstalled(facts.deployments);
  requireUsable(facts, manifest);
  requireSameAppliance(current, manifest);
  if (!gt(manifest.version, current.version)) {
    throw lifecycleError("UPGRADE_NOT_NEWER", `got ${manifest.version}, but ${current.version} is installed`, {
      hints: ["sealift rollback goes back to the release before"],
    });
  }
  if (!isIn(manifest.upgradeFrom, current.version)) {
    const from = JSON.stringify(manifest.upgradeFrom);
    throw lifecycleError(
      "UPGRADE_NOT_ALLOWED",
      `${manifest.version} takes upgrades from ${from}, but ${current.version} is installed`,
      { hints: ["upgrade to a release in between first"] },
    );
  }
  return plan("upgrade", facts, next, completeConfig(next.configSchema, present), { stage: true });
}

/** @throws SITE_NOT_INSTALLED | ROLLBACK_NOT_POSSIBLE | ROLLBACK_NOT_ALLOWED | RELEASE_BELOW_FLOOR */
export function planRollback(facts: PlanFacts, next: ReleaseParts, config: Config): DeployPlan {
  const { manifest } = next.release;
  const current = requireInstalled(facts.deployments);
  requireUsable(facts, manifest);
  requireSameAppliance(current, manifest);
  if (!lt(manifest.version, current.version)) {
    throw lifecycleError("ROLLBACK_NOT_POSSIBLE", `${manifest.version} is not older than ${current.version}`, {
      hints: ["sealift upgrade BUNDLE goes forward"],
    });
  }
  const window = facts.current?.release.manifest.rollbackTo ?? "";
  if (!isIn(window, manifest.version)) {
    throw lifecycleError(
      "ROLLBACK_NOT_ALLOWED",
      `${current.version} lets a site return to ${JSON.stringify(window)}, not to ${manifest.version}`,
      { hints: ["its publisher signed that the older release cannot work on this one's data"] },
    );
  }
  return plan("rollback", facts, next, config, {});
}

/** @throws SITE_NOT_INSTALLED | CONFIG_MALFORMED | CONFIG_UNCHANGED */
export function planConfig(facts: PlanFacts, next: ReleaseParts, given: Config): DeployPlan {
  const current = requireInstalled(facts.deployments);
  const config = completeConfig(next.configSchema, given);
  if (configDigest(config) === current.config) {
    throw lifecycleError("CONFIG_UNCHANGED", "the configuration is the one that the site has");
  }
  return plan("config", facts, next, config, {});
}

/**
 * The same release and configuration with another certificate for clients.
 * @throws SITE_NOT_INSTALLED | TLS_NOT_HERE | TLS_NAME_MALFORMED
 */
export function planTls(facts: PlanFacts, next: ReleaseParts, config: Config, wish: CertificateWish): DeployPlan {
  const { appliance, version } = requireInstalled(facts.deployments);
  if (!facts.certificate) {
    throw siteError("TLS_NOT_HERE", `${appliance} ${version} has no certificate for clients`);
  }
  return plan("tls", facts, next, config, { certificate: wish });
}

/**
 * The same release and configuration with other secrets, or other certificates: those inside, and the one for
 * clients if it is the site's own. @throws SITE_NOT_INSTALLED | ROTATION_NOT_HERE
 */
export function planRotate(facts: PlanFacts, next: ReleaseParts, config: Config, wish: RotationWish): DeployPlan {
  requireInstalled(facts.deployments);
  const rotation = planRotation(next.template, wish);
  const isOwn = wish === "certificates" && facts.certificate?.isOwn === true;
  return plan("rotate", facts, next, config, { rotation, ...(isOwn && { certificate: { source: "own" } }) });
}

/** @throws INSTALL_EXISTS */
export function requireNotInstalled({ current }: Deployments): void {
  if (!current) return;
  throw lifecycleError("INSTALL_EXISTS", `${current.appliance} ${current.version} is installed on this site`, {
    hints: ["sealift upgrade BUNDLE moves it to another release; sealift config apply changes its configuration"],
  });
}

export function requireInstalled({ current }: Deployments): Deployment {
  if (current) return current;
  throw lifecycleError("SITE_NOT_INSTALLED", "nothing is installed on this site", {
    hints: ["sealift install BUNDLE"],
  });
}

function requireUsable({ hostPlatform, sealiftVersion, deployments }: PlanFacts, manifest: ReleaseManifest): void {
  const { version, platform, requires } = manifest;
  if (platform !== hostPlatform) {
    throw lifecycleError(
      "RELEASE_OTHER_PLATFORM",
      `release ${version} is for ${platform}, this host is ${hostPlatform}`,
    );
  }
  if (lt(sealiftVersion, requires.sealift)) {
    throw lifecycleError(
      "RELEASE_NEEDS_NEWER_SEALIFT",
      `release ${version} needs Sealift ${requires.sealift}, this is ${sealiftVersion}`,
      { hints: ["install the newer kit first; see runbooks/kit.md"] },
    );
  }
  const { securityFloor } = deployments;
  if (securityFloor !== null && lt(version, securityFloor)) {
    throw lifecycleError(
      "RELEASE_BELOW_FLOOR",
      `release ${version} is below this site's security floor ${securityFloor}`,
      {
        hints: ["a release that ran here closed holes that this one has; there is no way around the floor"],
      },
    );
  }
}

function requireFitsData({ deployments, volumes, site }: PlanFacts, manifest: ReleaseManifest): void {
  const { data } = deployments;
  if (!data) {
    throw lifecycleError(
      "INSTALL_DATA_UNKNOWN",
      `the engine has data of this site, and nobody knows which release wrote it: ${volumes.join(", ")}`,
      { hints: [`docker volume ls --filter label=sealift.site=${site.siteId}: save what you need, then remove them`] },
    );
  }
  requireTakesData(data, manifest);
}

/**
 * That this release can work on data that another one wrote, as if it had been upgraded from it or rolled back to.
 * @throws RELEASE_OTHER_APPLIANCE | ROLLBACK_NOT_ALLOWED | UPGRADE_NOT_ALLOWED
 */
export function requireTakesData(
  data: DataMark,
  { appliance, version, upgradeFrom }: Pick<ReleaseManifest, "appliance" | "version" | "upgradeFrom">,
): void {
  if (appliance !== data.appliance) {
    throw lifecycleError("RELEASE_OTHER_APPLIANCE", `got ${appliance}, but the data kept here is of ${data.appliance}`);
  }
  const hints = [`sealift install BUNDLE of ${data.version}, which wrote the data; then go on from there`];
  if (lt(version, data.version) && !isIn(data.rollbackTo, version)) {
    throw lifecycleError(
      "ROLLBACK_NOT_ALLOWED",
      `the data kept here is of ${data.version}, which lets a site return to ${JSON.stringify(data.rollbackTo)}, not to ${version}`,
      { hints },
    );
  }
  if (gt(version, data.version) && !isIn(upgradeFrom, data.version)) {
    throw lifecycleError(
      "UPGRADE_NOT_ALLOWED",
      `${version} takes upgrades from ${JSON.stringify(upgradeFrom)}, but the data kept here is of ${data.version}`,
      { hints },
    );
  }
}

/** The newest release decides: what its migrations added stays, whoever runs after it. */
function dataAfter(before: DataMark | null, { appliance, version, rollbackTo }: ReleaseManifest): DataMark {
  return before && gt(before.version, version) ? before : { appliance, version, rollbackTo };
}

/** A release's "" is no version at all; semver's is every one. */
function isIn(range: string, version: string): boolean {
  return range !== "" && satisfies(version, range, { includePrerelease: true });
}

function requireSameAppliance({ appliance }: Deployment, manifest: ReleaseManifest): void {
  if (manifest.appliance === appliance) return;
  throw lifecycleError("RELEASE_OTHER_APPLIANCE", `got ${manifest.appliance}, but this site runs ${appliance}`);
}

function plan(
  action: DeployAction,
  facts: PlanFacts,
  next: ReleaseParts,
  config: Config,
  options: { readonly stage?: boolean; readonly certificate?: CertificateWish; readonly rotation?: PlannedRotation },
): DeployPlan {
  const { site, deployments, missingSecrets, volumes, engineId } = facts;
  const { rules } = next;
  const { manifest, descriptor } = next.release;
  const before = deployments.current;
  const colour = before ? otherColour(before.colour) : "blue";
  const { base, colour: containers } = renderFor(site, next, colour, config);
  const to: Deployment = {
    id: randomBytes(16).toString("hex"),
    release: descriptor.digest,
    appliance: manifest.appliance,
    version: manifest.version,
    colour,
    config: configDigest(config),
    base: digestOf(base.bytes),
    containers: digestOf(containers.bytes),
  };
  const isUpgrade = action === "upgrade";
  const hasDatabase = rules.database !== undefined;
  const certificate = planCertificate(facts.certificate, config, options.certificate);
  const parameters: DeployParameters = {
    action,
    before: deployments,
    to,
    after: {
      schemaVersion: 1,
      current: to,
      // A change of the configuration leaves the way back to the older release as it is.
      previous: STAYING.includes(action) ? deployments.previous : before,
      securityFloor: highest(deployments.securityFloor, manifest.securityFloor),
      data: dataAfter(before || volumes.length > 0 ? deployments.data : null, manifest),
      engineId,
    },
    config: configBytes(config).toString("utf8"),
    newSecrets: missingSecrets,
    ...(certificate.change && { certificate: certificate.change }),
    ...(options.rotation && { rotation: options.rotation.rotation }),
    hasOldVolumes: volumes.length > 0,
    parts: {
      stage: options.stage === true,
      base: before === null || before.base !== to.base,
      backup: isUpgrade && hasDatabase,
      rehearse: isUpgrade && hasDatabase,
      migrate: (isUpgrade || before === null) && rules.tasks.migrate !== undefined,
      credentials: before === null && rules.tasks.credentials !== undefined,
    },
    watchSeconds: before === null ? 0 : WATCH_SECONDS,
    drainSeconds: facts.current?.rules.drainSeconds ?? rules.drainSeconds,
  };
  const details = [...certificate.details, ...(options.rotation?.details ?? [])];
  const subject = subjectOf(facts, parameters, next, details);
  return { subject, parameters };
}

function highest(a: string | null, b: string): string {
  return a !== null && gt(a, b) ? a : b;
}

function subjectOf(
  facts: PlanFacts,
  parameters: DeployParameters,
  next: ReleaseParts,
  secretDetails: readonly string[],
): PlanSubject {
  const { action, to, before } = parameters;
  return {
    action,
    from: before.current?.release ?? null,
    to: to.release,
    configDigest: to.config,
    policyDigest: facts.policyDigest,
    trustVersion: facts.trustVersion,
    details: detailsOf(facts, parameters, next, secretDetails),
  };
}

/** The plan for the person who signs it. */
function detailsOf(
  facts: PlanFacts,
  parameters: DeployParameters,
  next: ReleaseParts,
  secretDetails: readonly string[],
): string[] {
  const { to, before, after, parts, hasOldVolumes, newSecrets, watchSeconds, drainSeconds, config } = parameters;
  const { manifest } = next.release;
  const old = facts.current?.release.manifest;
  const lines = [
    before.current
      ? `${to.appliance} ${before.current.version} in ${before.current.colour} -> ${to.version} in ${to.colour}`
      : `${to.appliance} ${to.version} in ${to.colour}, on a site where nothing runs yet`,
    ...(!before.current && hasOldVolumes ? [`data: kept from ${before.data?.version}, and used again`] : []),
    ...imageLines(manifest, old),
    ...(facts.software ? softwareLines(facts.software) : []),
    `configuration: ${config}`,
    diskLine(parts.stage ? facts.disk : undefined, parts.backup),
  ];
  if (newSecrets.length > 0) lines.push(`new secrets: ${newSecrets.join(", ")}`);
  lines.push(...secretDetails);
  if (parts.backup) lines.push("backup of the databases before anything changes, and a rehearsal of the upgrade on it");
  if (parts.migrate && before.current) lines.push("database: the schema is extended; the old release works on it too");
  if (before.current) lines.push(...pauseLines(parts.base, parameters.rotation));
  if (before.current) {
    lines.push(
      `after the switch ${to.version} is watched for ${watchSeconds} s; if it fails, the site returns by itself`,
    );
    lines.push(`requests of ${before.current.version} that are open then may go on for ${drainSeconds} s`);
  }
  lines.push(...wayBackLines(facts, parameters, manifest));
  if (after.securityFloor !== before.securityFloor) {
    lines.push(
      `security floor: ${before.securityFloor ?? "none"} -> ${after.securityFloor}; no release below it runs here again`,
    );
  }
  return lines;
}

function imageLines(manifest: ReleaseManifest, old: ReleaseManifest | undefined): string[] {
  const short = (digest: Digest): string => digest.slice(0, "sha256:".length + 12);
  const before = new Map(old?.images.map((image) => [image.name, image.digest]));
  const lines = manifest.images.map(({ name, digest }) => {
    const was = before.get(name);
    if (was === digest) return `image ${name}: ${short(digest)}, unchanged`;
    return `image ${name}: ${was ? `${short(was)} -> ` : ""}${short(digest)}`;
  });
  const gone = [...before.keys()].filter((name) => !manifest.images.some((image) => image.name === name));
  return [...lines, ...gone.map((name) => `image ${name}: not in this release any more`)];
}

function pauseLines(isBaseChanged: boolean, rotation: Rotation | undefined): string[] {
  const restarted = [...new Set([...(rotation?.between ?? []), ...(rotation?.after ?? [])])].sort();
  if (restarted.length > 0 && !isBaseChanged) {
    const pause = `at most ${BASE_PAUSE_SECONDS} s each`;
    return [`predicted pause: ${pause}; started anew: ${restarted.join(", ")}; requests wait, no connection is cut`];
  }
  if (!isBaseChanged) return ["predicted pause: none; the front, the database and the audit log stay as they are"];
  return [`base services are replaced: predicted pause ${BASE_PAUSE_SECONDS} s; connections of clients may be cut`];
}

function wayBackLines(
  { site }: PlanFacts,
  { action, before, to }: DeployParameters,
  manifest: ReleaseManifest,
): string[] {
  const { current } = before;
  if (action === "install") return ["way back: sealift uninstall"];
  if (action === "rotate") return ["way back: none is needed; the same verb makes others again"];
  if (action === "tls") return [certificateWayBack(site.paths)];
  if (action === "config") return ["way back: sealift config apply with the configuration before"];
  if (!current) return [];
  if (action === "rollback") {
    return [`way back: sealift upgrade ${storedPath(site.paths.directory, current.release)}`];
  }
  const isOpen = isIn(manifest.rollbackTo, current.version) && !lt(current.version, manifest.securityFloor);
  return [
    isOpen
      ? `way back: sealift rollback returns to ${current.version}, without a medium`
      : `way back: NONE. ${to.version} does not let a site return to ${current.version}`,
  ];
}
