/** What the engine has of the site: its images, its containers, and what answers in them. Looks only. */
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { connect, connectionError, type Engine } from "../../../compose/engine/engine.ts";
import { type SeenImage, seenImages } from "../../../compose/engine/load-images.ts";
import { SITE_LABEL } from "../../../compose/engine/project.ts";
import { proveContainers } from "../../../compose/engine/prove-containers.ts";
import { projectName } from "../../../compose/render.ts";
import { databaseBytes } from "../backup.ts";
import { askCanary } from "../canary.ts";
import { baseProject, colourProject } from "../deploy-context.ts";
import { requireDeploymentsOfLedger } from "../ledger-deployments.ts";
import { renderedFile } from "../rendered-file.ts";
import { siteStatus } from "../site-status.ts";
import { withStoredRelease } from "../stored-release.ts";
import type { CheckLog } from "./check-log.ts";
import { fsckError } from "./error.ts";
import { type FsckGround, type Installed, installed } from "./ground.ts";

const PROJECT_LABEL = "com.docker.compose.project";

/** It answers, is the one that runs the site, and has no container that only looks as if it were the site's. */
export async function checkEngine(ground: FsckGround, log: CheckLog): Promise<void> {
  // Where nothing runs there need not be one.
  const engine = ground.deployments?.current
    ? await log.attemptAsync("engine", ground.engine)
    : await ground.engine().catch(() => log.notChecked("the engine cannot be asked, and nothing is installed"));
  if (!engine || !ground.site) return;
  const { siteId } = ground.site;
  const projects = (["base", "blue", "green"] as const).map((part) => projectName(siteId, part));
  const found = (await log.attemptAsync("engine", () => containersOf(engine))) ?? [];
  for (const { name, project, site } of found) {
    if (projects.includes(project) === (site === siteId)) continue;
    const got = `of project ${JSON.stringify(project)} has the label ${SITE_LABEL}=${JSON.stringify(site)}`;
    log.find(
      `container ${name}`,
      fsckError("FSCK_LABEL_DIFFERS", `container ${JSON.stringify(name)} ${got}, and this site is ${siteId}`, {
        hints: ["Sealift did not make it: find out who did, and remove it", "sealift status"],
      }),
    );
  }
}

interface Labelled {
  readonly name: string;
  readonly project: string;
  readonly site: string;
}

/** All containers that have a project or a site. One that runs a task of the site has both. */
async function containersOf(engine: Engine): Promise<Labelled[]> {
  try {
    const docker = await connect(engine);
    return (await docker.listContainers({ all: true })).map(({ Names, Labels }) => ({
      name: Names[0]?.replace(/^\//, "") ?? "",
      project: Labels[PROJECT_LABEL] ?? "",
      site: Labels[SITE_LABEL] ?? "",
    }));
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

/** The engine and what should run on it; undefined after saying why it cannot be compared. */
export async function running(
  ground: FsckGround,
  log: CheckLog,
): Promise<(Installed & { engine: Engine }) | undefined> {
  const found = installed(ground, log);
  if (!found) return undefined;
  try {
    return { ...found, engine: await ground.engine() };
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
    log.notChecked(`the engine cannot be asked (${cause.code})`);
    return undefined;
  }
}

/** Those of the release that runs, as the release has them, and held so that no clean-up takes them. */
export async function checkImages(ground: FsckGround, log: CheckLog): Promise<void> {
  const found = await running(ground, log);
  if (!found) return;
  for (const { name, reference, protectiveTag, id, isProtected, differences } of (await imagesOf(found, log)) ?? []) {
    const hints = ["sealift stop, then sealift start, when you have found out why"];
    const about = `image ${JSON.stringify(name)} in the engine`;
    if (id === undefined) {
      const message = `${about}: it is not there, and would be needed if its containers were made anew`;
      log.find(reference, fsckError("FSCK_IMAGE_MISSING", message, { hints: RELOAD_HINTS }));
    } else if (differences.length > 0) {
      const error = new SealiftError("ENGINE_IMAGE_DIFFERS", 3, `${about}: ${differences.join("; ")}`, { hints });
      log.find(reference, error);
    } else if (!isProtected) {
      const message = `${about}: its tag ${protectiveTag} is gone, so docker image prune may take it`;
      log.find(
        reference,
        fsckError("FSCK_TAG_MISSING", message, { hints: [`docker tag ${reference} ${protectiveTag}`] }),
      );
    }
  }
}

const RELOAD_HINTS = ["the next sealift config apply, upgrade or rollback loads it from the site's store"];

async function imagesOf(
  { site, current, engine }: Installed & { engine: Engine },
  log: CheckLog,
): Promise<SeenImage[] | undefined> {
  const look = (): Promise<SeenImage[]> =>
    withStoredRelease(site.paths, current.release, ({ layout, release }) => seenImages(engine, layout, release));
  return log.attemptAsync("images", look);
}

/** Each container equal to the rendered file and to the release, as at the install; and all of it at work. */
export async function checkContainers(ground: FsckGround, log: CheckLog): Promise<void> {
  const found = await running(ground, log);
  if (!found) return;
  if (!holds(found)) return log.notChecked("the site's records do not hold");
  const { site, current, engine } = found;
  const seen = await imagesOf(found, log);
  if (!seen) return log.notChecked("what the release is cannot be read");
  const images = new Map(
    seen.flatMap((one) => (one.id === undefined ? [] : [[one.reference, { ...one, id: one.id }]])),
  );
  if (images.size < seen.length) log.notChecked("containers against their images: images are missing");
  else {
    for (const project of [baseProject(site, current), colourProject(site, current)]) {
      await log.attemptAsync(`project ${project.name}`, () => proveContainers(engine, project, images));
    }
  }
  const status = await log.attemptAsync("containers", () => siteStatus(site, engine));
  for (const problem of status?.problems ?? []) {
    log.find("containers", fsckError("FSCK_NOT_RUNNING", problem, { hints: ["sealift start", "sealift logs"] }));
  }
}

/** What containers are compared with is what was authorized; other checks tell what is not. */
function holds({ site, current }: Installed): boolean {
  try {
    requireDeploymentsOfLedger(site);
    for (const file of ["base", "containers"] as const) renderedFile(site, current, file);
    return true;
  } catch (cause) {
    if (cause instanceof SealiftError) return false;
    throw cause;
  }
}

/** The databases answer; the release says of itself that it works, which it does on its own schema only. */
export async function checkDatabase(ground: FsckGround, log: CheckLog): Promise<void> {
  const found = await running(ground, log);
  if (!found) return;
  const { site, current, engine } = found;
  const rules = await log.attemptAsync("release", () =>
    withStoredRelease(site.paths, current.release, async (parts) => parts.rules),
  );
  if (!rules) return;
  const { database } = rules;
  if (database) {
    const answered = await log.attemptAsync(`database ${database.service}`, () =>
      databaseBytes(engine, baseProject(site, current), database),
    );
    // Its canary would only be waited for.
    if (answered === undefined) return log.notChecked("the release's canary: its database does not answer");
  } else log.notChecked("database: the release has none");
  const { name } = colourProject(site, current);
  await log.attemptAsync(`service ${rules.canary.service}`, () =>
    askCanary(engine, name, rules, current.version, undefined),
  );
}
