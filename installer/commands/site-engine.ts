/** This host's engine, as the engine of a site. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Engine } from "../../compose/engine/engine.ts";
import { openEngine } from "../host/engine.ts";
import { lifecycleError } from "../lifecycle/error.ts";
import type { Site } from "../lifecycle/site.ts";
import { readDeployments } from "../site/deployment.ts";

/** Runs `work` with this host's engine, which must be the one that runs the site. @throws SITE_ENGINE_CHANGED | ENGINE_… */
export async function withSiteEngine<Value>(
  site: Pick<Site, "paths">,
  work: (engine: Engine) => Promise<Value>,
): Promise<Value> {
  return withLazyEngine(site, async (open) => work(await open()));
}

/** The same for work that may not need it: the engine is looked for when `open` is first called. */
export async function withLazyEngine<Value>(
  site: Pick<Site, "paths">,
  work: (open: () => Promise<Engine>) => Promise<Value>,
): Promise<Value> {
  const configDirectory = await mkdtemp(join(tmpdir(), "sealift-engine-"));
  let opened: Promise<Engine> | undefined;
  const open = (): Promise<Engine> => {
    opened ??= openOwn(site, configDirectory);
    return opened;
  };
  try {
    return await work(open);
  } finally {
    await rm(configDirectory, { recursive: true, force: true });
  }
}

async function openOwn({ paths }: Pick<Site, "paths">, configDirectory: string): Promise<Engine> {
  const engine = await openEngine({ configDirectory });
  const { engineId } = readDeployments(paths);
  if (engineId === null || engineId === engine.facts.engineId) return engine;
  throw lifecycleError("SITE_ENGINE_CHANGED", `got engine ${engine.facts.engineId}, but the site runs on ${engineId}`, {
    hints: ["another engine has neither the site's containers nor its data; start the old one again"],
  });
}
