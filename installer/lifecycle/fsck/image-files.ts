/**
 * The files that containers really see, against the layers of the release in the site's store. The engine checks
 * layers when it takes them in, and never again: what lies unpacked on its disk is its own.
 */

import type { BundleEntry } from "../../../bundles/layout/contents.ts";
import type { Layout } from "../../../bundles/layout/layout.ts";
import { connect, connectionError, type Engine } from "../../../compose/engine/engine.ts";
import { siteContainers } from "../../../compose/engine/project.ts";
import { imageReference } from "../../../compose/image-reference.ts";
import { type DirectoryNode, FileTree, type TreeNode } from "../../../sbom/generate/file-tree.ts";
import { scanLayer } from "../../../sbom/generate/layer-scan.ts";
import { withStoredRelease } from "../stored-release.ts";
import type { CheckLog } from "./check-log.ts";
import { running } from "./engine-checks.ts";
import { fsckError } from "./error.ts";
import type { FsckGround } from "./ground.ts";

const TAR = "application/vnd.oci.image.layer.v1.tar";
/** What engines put into every container, empty, to mount upon. */
const OF_THE_ENGINE = [
  ".dockerenv",
  "dev/console",
  "dev/pts",
  "dev/shm",
  "etc/hostname",
  "etc/hosts",
  "etc/mtab",
].concat(["etc/resolv.conf", "proc", "run", "sbin/docker-init", "sys"]);

/**
 * Kind, bytes, whether it may be executed, and where a link leads, of every file of every container of the site. Not
 * compared: owners and the other bits of a mode, times, and what is mounted.
 */
export async function checkImageFiles(ground: FsckGround, log: CheckLog): Promise<void> {
  if (!ground.content) {
    log.notChecked("the files of the engine's images: fsck --content");
    return;
  }
  const found = await running(ground, log);
  if (!found) return;
  const { site, current, engine } = found;
  await log.attemptAsync("images", () =>
    withStoredRelease(site.paths, current.release, async ({ layout, release }) => {
      const { appliance } = release.manifest;
      const entries = new Map(
        [...release.images].map(([name, entry]) => [
          imageReference(appliance, `${name}@${entry.descriptor.digest}`),
          entry,
        ]),
      );
      for (const container of await seenContainers(engine, site.siteId)) {
        const entry = entries.get(container.image);
        // Containers of other images are a difference that another check tells.
        if (!entry) continue;
        ground.onProgress(`files of ${container.service}`);
        const image = await imageTree(layout, entry);
        await log.attemptAsync(`container ${container.service}`, () => compare(engine, container, image, log));
      }
    }),
  );
}

interface SeenContainer {
  readonly id: string;
  readonly service: string;
  readonly image: string;
  /** Where something is mounted, without the first slash. */
  readonly mounts: readonly string[];
}

async function seenContainers(engine: Engine, siteId: string): Promise<SeenContainer[]> {
  const states = await siteContainers(engine, siteId);
  try {
    const docker = await connect(engine);
    return await Promise.all(
      states.map(async ({ id, service }) => {
        const { Config, Mounts, HostConfig } = await docker.getContainer(id).inspect();
        const targets = [...Mounts.map(({ Destination }) => Destination), ...Object.keys(HostConfig.Tmpfs ?? {})];
        return { id, service, image: Config.Image, mounts: targets.map((target) => target.replace(/^\/+|\/+$/g, "")) };
      }),
    );
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

/** Every layer is read by its digest. */
async function imageTree(layout: Layout, { manifest }: BundleEntry): Promise<FileTree> {
  const tree = new FileTree();
  for (const { digest, mediaType } of manifest.layers) tree.apply(await scanLayer(layout.stream(digest), mediaType));
  return tree;
}

async function compare(engine: Engine, container: SeenContainer, image: FileTree, log: CheckLog): Promise<void> {
  const { id, service, mounts } = container;
  const scan = await scanLayer(await exported(engine, id), TAR);
  const places = [...OF_THE_ENGINE, ...mounts];
  const removed = [...scan.whiteouts, ...scan.opaqueDirectories].map(
    (path) => `/${path}: has a name that hides others`,
  );
  for (const problem of [...removed, ...differences(image.root, FileTree.of([scan]).root, "", places)]) {
    log.find(
      `container ${service}`,
      fsckError("FSCK_IMAGE_FILES_DIFFER", `service ${JSON.stringify(service)}: ${problem}`, {
        hints: [
          "keep a copy as evidence: docker export, and the engine's own disk",
          "look at the disk (dmesg, smartctl); if it is well, somebody with root wrote there",
          "sealift uninstall keeps the data; then docker image rm, and sealift install BUNDLE",
        ],
      }),
    );
  }
}

async function exported(engine: Engine, id: string): Promise<AsyncIterable<Uint8Array>> {
  try {
    const docker = await connect(engine);
    return (await docker.getContainer(id).export()) as AsyncIterable<Uint8Array> & NodeJS.ReadableStream;
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

/** One sentence each. Directories that are only mounted upon may be more than the image has, and empty files there. */
export function* differences(
  image: DirectoryNode,
  container: DirectoryNode,
  above: string,
  places: readonly string[],
): Generator<string> {
  for (const [name, want] of image.children) {
    const path = `${above}${name}`;
    const got = container.children.get(name);
    const problem = nodeProblem(want, got);
    if (problem !== undefined) yield `${JSON.stringify(`/${path}`)}: ${problem}`;
    else if (want.kind === "directory" && got?.kind === "directory") yield* differences(want, got, `${path}/`, places);
  }
  for (const [name, got] of container.children) {
    if (!image.children.has(name)) yield* strangers(got, `${above}${name}`, places);
  }
}

/** What the image does not have. */
function* strangers(node: TreeNode, path: string, places: readonly string[]): Generator<string> {
  const isPlace = places.some((place) => place === path || place.startsWith(`${path}/`));
  const isNothing = node.kind === "directory" || node.kind !== "file" || node.isEmpty;
  if (!isPlace || !isNothing) yield `${JSON.stringify(`/${path}`)}: is not of the image`;
  else if (node.kind === "directory") {
    for (const [name, child] of node.children) yield* strangers(child, `${path}/${name}`, places);
  }
}

function nodeProblem(want: TreeNode, got: TreeNode | undefined): string | undefined {
  if (!got) return "is gone";
  if (want.kind !== got.kind) return `is a ${got.kind}, want a ${want.kind}`;
  if (want.kind === "symlink" && got.kind === "symlink" && want.target !== got.target) return "leads elsewhere";
  if (want.kind !== "file" || got.kind !== "file") return undefined;
  if (want.digests.sha256 !== got.digests.sha256) return "has other bytes";
  return want.isExecutable === got.isExecutable ? undefined : "may be executed, or may no more";
}
