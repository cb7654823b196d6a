/** `bundle lock`: finds out today's digest of every input and writes them down. */
import type { ApplianceLock, ImageLock } from "../model/appliance.ts";
import { imageSource } from "../source/image-source.ts";
import { type ApplianceDirectory, writeLock } from "./appliance-directory.ts";

export interface LockOptions {
  readonly directory: ApplianceDirectory;
  readonly platforms: readonly string[];
  readonly cacheDir: string;
  readonly now: Date;
  readonly onProgress: (detail: string) => void;
}

/** Resolves every image for every platform; writes nothing unless all of them resolve. Returns the lock's path. */
export async function refreshLock(
  options: LockOptions,
): Promise<{ readonly path: string; readonly lock: ApplianceLock }> {
  const { directory } = options;
  const created = `${options.now.toISOString().slice(0, 19)}Z`;
  const platforms: Record<string, Record<string, ImageLock>> = {};
  for (const platform of options.platforms) {
    const images: Record<string, ImageLock> = {};
    for (const [name, spec] of Object.entries(directory.appliance.images).sort(([a], [b]) => (a < b ? -1 : 1))) {
      options.onProgress(`${platform}: ${name}`);
      images[name] = await imageSource(spec).lock({
        root: directory.root,
        platform,
        cacheDir: options.cacheDir,
        created,
        ignoreBuiltLayers: false,
        onProgress: (detail) => options.onProgress(`${platform}: ${name}: ${detail}`),
      });
    }
    platforms[platform] = images;
  }
  const lock: ApplianceLock = { schemaVersion: 1, created, platforms };
  return { path: await writeLock(directory, lock), lock };
}
