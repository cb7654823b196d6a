/** How the site is, against what it should be. Looks only; changes nothing. */
import { hostname } from "node:os";
import { parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { type ContainerState, siteContainers } from "../../compose/engine/project.ts";
import { projectName } from "../../compose/render.ts";
import { certificateProblems, presentCertificate } from "../site/client-certificate.ts";
import { type Deployment, type Deployments, readDeployments } from "../site/deployment.ts";
import { collateralWarnings } from "./collateral-store.ts";
import { configOf } from "./deployed-config.ts";
import { openJournalPath } from "./execute.ts";
import { type AnsweredBy, askFront, clientAddress, clientUrl, readSwitch } from "./front.ts";
import { readJournal } from "./journal.ts";
import { requireDeploymentsOfLedger } from "./ledger-deployments.ts";
import { renderedFile } from "./rendered-file.ts";
import { rotationWarnings } from "./rotation-age.ts";
import type { Site } from "./site.ts";
import { withStoredRelease } from "./stored-release.ts";
import { trustWarnings } from "./trust-warnings.ts";

export interface SiteStatus {
  /** `unknown`: an operation did not end, or what should run cannot be told. */
  readonly state: "healthy" | "degraded" | "unknown" | "not-installed";
  readonly deployments: Deployments;
  /** What is not as it should be, one sentence each. */
  readonly problems: readonly string[];
  /** What an operator should do soon, one sentence each; the site is healthy all the same. */
  readonly warnings: readonly string[];
  readonly containers: readonly ContainerState[];
  readonly front: { readonly address: string; readonly answer: AnsweredBy | null } | null;
}

/** `engine` is undefined with the reason why it cannot be had. */
export async function siteStatus(site: Site, engine: Engine | { readonly problem: string }): Promise<SiteStatus> {
  const deployments = readDeployments(site.paths);
  const nothing = { deployments, containers: [], front: null, warnings: [] };
  const open = readJournal(openJournalPath(site.paths));
  if (open) {
    const { operation, time } = open.begin;
    const problem = `${operation} of ${time} did not end: run sealift recover, if it is not under way`;
    return { ...nothing, state: "unknown", problems: [problem] };
  }
  const changed = changedDeployments(site);
  if (changed.length > 0) return { ...nothing, state: "unknown", problems: changed };
  const { current } = deployments;
  if (!current) return { ...nothing, state: "not-installed", problems: [] };
  if ("problem" in engine) return { ...nothing, state: "unknown", problems: [engine.problem] };
  const containers = await siteContainers(engine, site.siteId);
  const damaged = fileProblems(site, current);
  // Without the files nobody can tell what should run.
  if (damaged.length > 0) return { ...nothing, containers, state: "degraded", problems: damaged };
  const problems = [...containerProblems(site, current, containers), ...switchProblems(site, current)];
  let front: Awaited<ReturnType<typeof lookAtFront>>;
  try {
    front = await lookAtFront(site, current);
  } catch (cause) {
    if (!(cause instanceof SealiftError) || cause.code !== "RELEASE_NOT_STORED") throw cause;
    const lost = [...problems, cause.message, ...cause.hints];
    return { ...nothing, containers, state: "degraded", problems: lost };
  }
  const certificate = await clientCertificate(site, current);
  const due = await withStoredRelease(site.paths, current.release, async ({ rules }) =>
    rotationWarnings(site.ledger.entries, rules, site.clock().now),
  );
  problems.push(...front.problems, ...certificate.problems);
  return {
    state: problems.length === 0 ? "healthy" : "degraded",
    deployments,
    problems,
    warnings: [...certificate.warnings, ...due, ...trustWarnings(site), ...collateralWarnings(site)],
    containers,
    front: { address: front.address, answer: front.answer },
  };
}

/**
 * What is or will soon be wrong with the certificate that clients see; nothing where there is none.
 * @throws RELEASE_NOT_STORED | STATE_UNREADABLE
 */
export async function clientCertificate(
  site: Site,
  current: Deployment,
): Promise<ReturnType<typeof certificateProblems>> {
  const { now } = site.clock();
  try {
    const present = await withStoredRelease(site.paths, current.release, async ({ rules }) =>
      presentCertificate(site.paths, rules.secrets, configOf(site, current), { hostName: hostname(), now }),
    );
    return present ? certificateProblems(present, now) : { warnings: [], problems: [] };
  } catch (cause) {
    if (!(cause instanceof SealiftError) || cause.code !== "STATE_DAMAGED") throw cause;
    return { warnings: [], problems: [cause.message, ...cause.hints] };
  }
}

/** Whoever edited it decides what this site is compared with, so nothing else is worth a look. */
function changedDeployments(site: Site): readonly string[] {
  try {
    requireDeploymentsOfLedger(site);
    return [];
  } catch (cause) {
    if (cause instanceof SealiftError && cause.code === "DEPLOYMENT_CHANGED") return [cause.message, ...cause.hints];
    throw cause;
  }
}

function fileProblems(site: Site, current: Deployment): string[] {
  return (["base", "containers"] as const).flatMap((file) => {
    try {
      renderedFile(site, current, file);
      return [];
    } catch (cause) {
      if (cause instanceof SealiftError && cause.code === "DEPLOYMENT_DAMAGED") return [cause.message];
      throw cause;
    }
  });
}

function containerProblems(site: Site, current: Deployment, containers: readonly ContainerState[]): string[] {
  const wanted = [
    ...servicesIn(renderedFile(site, current, "base")).map((service) => [projectName(site.siteId, "base"), service]),
    ...servicesIn(renderedFile(site, current, "containers")).map((service) => [
      projectName(site.siteId, current.colour),
      service,
    ]),
  ] as [string, string][];
  const missing = wanted.flatMap(([project, service]) => {
    const found = containers.find((one) => one.project === project && one.service === service);
    if (!found) return [`${service} has no container`];
    return found.healthy ? [] : [`${service}: ${found.text}`];
  });
  const extra = containers.filter(
    (one) => !wanted.some(([project, service]) => one.project === project && one.service === service),
  );
  return [...missing, ...extra.map(({ project, service }) => `${service} of ${project} should not be here`)];
}

/** Services that `up` starts: a task has a profile. */
function servicesIn(file: Uint8Array): string[] {
  const { services } = parseCanonicalJson(file) as { readonly services: Readonly<Record<string, object>> };
  return Object.entries(services).flatMap(([name, service]) => ("profiles" in service ? [] : [name]));
}

function switchProblems(site: Site, { colour }: Deployment): string[] {
  const active = readSwitch(site.paths);
  return active === colour ? [] : [`the front's switch says ${active ?? "nothing"}, want ${colour}`];
}

async function lookAtFront(
  site: Site,
  current: Deployment,
): Promise<{ readonly address: string; readonly answer: AnsweredBy | null; readonly problems: string[] }> {
  const target = await withStoredRelease(site.paths, current.release, async ({ rules }) =>
    clientAddress(renderedFile(site, current, "base"), rules),
  );
  const address = clientUrl(target);
  try {
    const answer = await askFront(target);
    const isRight = answer.release === current.version && answer.colour === current.colour;
    const who = `release ${JSON.stringify(answer.release)} in ${JSON.stringify(answer.colour)} answers at ${address}`;
    return { address, answer, problems: isRight ? [] : [who] };
  } catch (cause) {
    return { address, answer: null, problems: [`no answer at ${address}: ${reasonOf(cause)}`] };
  }
}
