/** Takes away what a demo left in the engine and on the disk, whatever state it is in. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type Docker from "dockerode";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { connect, DEFAULT_SOCKET } from "../../compose/engine/engine.ts";
import { PROTECTIVE_REPOSITORY } from "../../compose/engine/load-images.ts";
import { SITE_LABEL } from "../../compose/engine/project.ts";
import { imageReference } from "../../compose/image-reference.ts";
import { acquireLock } from "../lifecycle/lock.ts";
import { statePaths } from "../site/state.ts";
import { DEMO_APPLIANCE } from "./appliances.ts";
import { demoError } from "./error.ts";
import { closeWorkplace, type DemoRecord } from "./workplace.ts";

/** A verb whose demo was killed takes back what it began; the longest is a colour that drains. */
const VERB_ENDS_MS = 180_000;
const POLL_MS = 500;
const NOT_FOUND = 404;

export interface RemovedCounts {
  readonly containers: number;
  readonly volumes: number;
  readonly networks: number;
  readonly images: number;
}

/** May be called again after a cut. @throws DEMO_NOT_REMOVED */
export async function removeDemo(record: DemoRecord): Promise<RemovedCounts> {
  const state = demoState(record);
  try {
    if (existsSync(state)) await waitForVerb(statePaths(state).lock);
    const counts = record.siteId === null ? NOTHING : await removeFromEngine(record.siteId);
    closeWorkplace(record);
    return counts;
  } catch (cause) {
    throw demoError("DEMO_NOT_REMOVED", `demo in ${JSON.stringify(record.workdir)}: ${reasonOf(cause)}`, {
      cause,
      hints: ["when that is mended, the next `sealift demo` removes the rest before it begins"],
    });
  }
}

export function demoState({ workdir }: Pick<DemoRecord, "workdir">): string {
  return join(workdir, "state");
}

async function waitForVerb(lock: string): Promise<void> {
  for (const deadline = Date.now() + VERB_ENDS_MS; ; await sleep(POLL_MS)) {
    try {
      acquireLock(lock, "demo: removal").release();
      return;
    } catch (cause) {
      const isHeld = cause instanceof SealiftError && cause.code === "LOCK_HELD";
      if (!isHeld || Date.now() > deadline) throw cause;
    }
  }
}

const NOTHING: RemovedCounts = { containers: 0, volumes: 0, networks: 0, images: 0 };

/** By the site's label; images by the name of the demo's appliance, which nothing else has. */
async function removeFromEngine(siteId: string): Promise<RemovedCounts> {
  const docker = await connect({ socketPath: DEFAULT_SOCKET });
  const filters = { label: [`${SITE_LABEL}=${siteId}`] };
  const containers = await docker.listContainers({ all: true, filters });
  for (const { Id } of containers) await unlessGone(docker.getContainer(Id).remove({ force: true, v: true }));
  const networks = await docker.listNetworks({ filters });
  for (const { Id } of networks) await unlessGone(docker.getNetwork(Id).remove());
  const { Volumes: volumes } = await docker.listVolumes({ filters });
  for (const { Name } of volumes ?? []) await unlessGone(docker.getVolume(Name).remove());
  const images = await demoImages(docker);
  for (const name of images) await unlessGone(docker.getImage(name).remove());
  return {
    containers: containers.length,
    volumes: volumes?.length ?? 0,
    networks: networks.length,
    images: images.length,
  };
}

/** Every name of an image that begins as the demo's do. */
async function demoImages(docker: Docker): Promise<string[]> {
  const prefixes = [imageReference(DEMO_APPLIANCE, ""), `${PROTECTIVE_REPOSITORY}/${DEMO_APPLIANCE}/`];
  const names = (await docker.listImages({ all: true })).flatMap(({ RepoTags, RepoDigests }) => [
    ...(RepoTags ?? []),
    ...(RepoDigests ?? []),
  ]);
  return names.filter((name) => prefixes.some((prefix) => name.startsWith(prefix)));
}

async function unlessGone(removal: Promise<unknown>): Promise<void> {
  try {
    await removal;
  } catch (cause) {
    if ((cause as { readonly statusCode?: number }).statusCode !== NOT_FOUND) throw cause;
  }
}
