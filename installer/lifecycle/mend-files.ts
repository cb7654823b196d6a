/**
 * The files by which a site runs, written anew where somebody changed or removed them: the Compose files of
 * its deployments, rendered again from the stored release and accepted only with the digests that were
 * authorized, and the front's switch.
 */
import { join } from "node:path";
import { digestOf } from "../../bundles/model/digest.ts";
import { CONFIG_MAX_BYTES, readConfigBytes } from "../site/config.ts";
import { type Deployment, deploymentPaths, readDeployments } from "../site/deployment.ts";
import { readStateFile, writeWhole } from "../site/disk.ts";
import { lifecycleError } from "./error.ts";
import { readSwitch, writeSwitch } from "./front.ts";
import { RENDERED_MAX_BYTES } from "./rendered-file.ts";
import type { Site } from "./site.ts";
import { renderFor, withStoredRelease } from "./stored-release.ts";

const FILES = ["base", "containers"] as const;

/**
 * Returns the paths of what was written anew. A file that differs is kept beside it as `…damaged`.
 * @throws DEPLOYMENT_DAMAGED if this Sealift renders other bytes than were authorized | STATE_DAMAGED if the
 * configuration is not the one that was authorized | RELEASE_NOT_STORED | STATE_WRITE_FAILED | STATE_DISK_FULL
 */
export async function mendFiles(site: Site): Promise<string[]> {
  const { current, previous } = readDeployments(site.paths);
  const mended: string[] = [];
  for (const deployment of [current, previous]) {
    if (deployment) mended.push(...(await mendRendered(site, deployment)));
  }
  if (current && readSwitch(site.paths) !== current.colour) {
    writeSwitch(site.disk, site.paths, current.colour);
    mended.push(join(site.paths.directory, "switch"));
  }
  return mended;
}

async function mendRendered(site: Site, deployment: Deployment): Promise<string[]> {
  const paths = deploymentPaths(site.paths, deployment.id);
  const damaged = FILES.flatMap((file) => {
    const found = readStateFile(paths[file], RENDERED_MAX_BYTES);
    return found && digestOf(found) === deployment[file] ? [] : [{ file, found }];
  });
  if (damaged.length === 0) return [];
  const config = readConfigBytes(readStateFile(paths.config, CONFIG_MAX_BYTES), deployment.config);
  return withStoredRelease(site.paths, deployment.release, async (parts) => {
    const { base, colour } = renderFor(site, parts, deployment.colour, config);
    const rendered = { base: base.bytes, containers: colour.bytes };
    return damaged.map(({ file, found }) => {
      const path = paths[file];
      if (digestOf(rendered[file]) !== deployment[file]) {
        throw lifecycleError("DEPLOYMENT_DAMAGED", `${JSON.stringify(path)} cannot be rendered as it was authorized`, {
          hints: ["use the Sealift version that installed the release: sealift ledger show says when that was"],
        });
      }
      if (found) writeWhole(site.disk, `${path}.damaged`, found);
      writeWhole(site.disk, path, rendered[file]);
      return path;
    });
  });
}
