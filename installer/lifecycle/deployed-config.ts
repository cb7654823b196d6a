import { CONFIG_MAX_BYTES, type Config, readConfigBytes } from "../site/config.ts";
import { type Deployment, deploymentPaths } from "../site/deployment.ts";
import { readStateFile } from "../site/disk.ts";
import type { SiteNames } from "./deploy-context.ts";

/** The configuration with which a deployment runs or ran. @throws STATE_DAMAGED */
export function configOf(site: Pick<SiteNames, "paths">, { id, config }: Deployment): Config {
  return readConfigBytes(readStateFile(deploymentPaths(site.paths, id).config, CONFIG_MAX_BYTES), config);
}
