/** Where a site's audit service keeps its log, and the public key that signs it. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { connect, connectionError, type Engine } from "../../compose/engine/engine.ts";
import { SITE_LABEL } from "../../compose/engine/project.ts";
import type { Site } from "../lifecycle/site.ts";

export interface SiteLog {
  readonly directory: string;
  /** A file of the site's secrets; undefined if they hold no such key. */
  readonly publicKey: string | undefined;
}

const KEY_MAX_BYTES = 4096;

/**
 * The logs in the site's volumes, also of services that do not run: none or one, unless somebody put others
 * there. Reads the volumes' directories, for which it must be root. @throws ENGINE_…
 */
export async function siteLogs(
  engine: Pick<Engine, "socketPath">,
  { siteId, paths }: Pick<Site, "siteId" | "paths">,
): Promise<SiteLog[]> {
  const places = await volumePlaces(engine, siteId);
  const publicKey = publicKeyIn(join(paths.directory, "secrets"));
  return places
    .flatMap((place) => [place, ...directoriesIn(place)])
    .filter((path) => existsSync(join(path, "checkpoint")))
    .map((directory) => ({ directory, publicKey }));
}

async function volumePlaces(engine: Pick<Engine, "socketPath">, siteId: string): Promise<string[]> {
  try {
    const docker = await connect(engine);
    const { Volumes } = await docker.listVolumes({ filters: { label: [`${SITE_LABEL}=${siteId}`] } });
    return (Volumes ?? []).map(({ Mountpoint }) => Mountpoint).sort();
  } catch (cause) {
    throw connectionError(engine.socketPath, cause);
  }
}

function directoriesIn(path: string): string[] {
  if (!existsSync(path)) return [];
  const entries = readdirSync(path, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(path, name));
}

function publicKeyIn(secrets: string): string | undefined {
  if (!existsSync(secrets)) return undefined;
  const files = readdirSync(secrets, { recursive: true }).map(String).sort();
  return files
    .filter((name) => /audit/.test(name))
    .map((name) => join(secrets, name))
    .find((path) => {
      const stat = statSync(path);
      if (!stat.isFile() || stat.size > KEY_MAX_BYTES) return false;
      return readFileSync(path, "utf8").startsWith("-----BEGIN PUBLIC KEY-----");
    });
}
