/** The files that a deployment's containers are started from, as they were rendered. */
import { realpathSync } from "node:fs";
import { digestOf } from "../../bundles/model/digest.ts";
import { type Deployment, deploymentPaths } from "../site/deployment.ts";
import { readStateFile } from "../site/disk.ts";
import type { StatePaths } from "../site/state.ts";
import type { DeployContext } from "./deploy-context.ts";
import { lifecycleError } from "./error.ts";

export const RENDERED_MAX_BYTES = 4 * 1024 * 1024;

/** @throws DEPLOYMENT_DAMAGED if it is not the file that was rendered | DEPLOYMENT_ELSEWHERE */
export function renderedFile(
  { paths }: Pick<DeployContext, "paths">,
  deployment: Deployment,
  file: "base" | "containers",
): Buffer {
  const path = deploymentPaths(paths, deployment.id)[file];
  const bytes = readStateFile(path, RENDERED_MAX_BYTES);
  if (bytes && digestOf(bytes) === deployment[file]) {
    if (file === "base") requireNoCopy(paths, bytes);
    return bytes;
  }
  throw lifecycleError("DEPLOYMENT_DAMAGED", `${JSON.stringify(path)} is not the file that was rendered`, {
    hints: [
      "somebody edited or removed it: keep a copy as evidence",
      "sealift start writes it anew, as it was authorized",
    ],
  });
}

/**
 * Two state directories must not steer the same containers: what one does the other never hears of.
 * @throws DEPLOYMENT_ELSEWHERE if the containers' files are in another directory, of which this one is a copy
 */
export function requireNoCopy({ directory }: StatePaths, baseFile: Uint8Array): void {
  const [, origin] = /"source":"(\/[^"\\]*)\/switch"/.exec(Buffer.from(baseFile).toString("utf8")) ?? [];
  if (origin === undefined || realPath(origin) === realPath(directory)) return;
  throw lifecycleError(
    "DEPLOYMENT_ELSEWHERE",
    `${JSON.stringify(directory)} is a copy: the site was installed from ${JSON.stringify(origin)}`,
    { hints: [`name the site's own directory: --state ${origin}`] },
  );
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
