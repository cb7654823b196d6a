/**
 * Builds the images of compose/appliance.yaml from a lock and prints what they are: its own process, so
 * that a test can give it another clock, user, umask, locale and directory.
 * Usage: build-images.ts LOCK CACHE PLATFORM anew|cached [NAME…]; without a name, all of them
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { readApplianceDirectory } from "../../bundles/assemble/appliance-directory.ts";
import { checkApplianceLock, type ImageLock } from "../../bundles/model/appliance.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { type ImageConfig, parseImageConfig } from "../../bundles/model/oci.ts";
import { imageSource } from "../../bundles/source/image-source.ts";

export interface BuiltImage {
  readonly manifest: string;
  readonly config: ImageConfig;
  readonly layers: readonly { readonly digest: string; readonly size: number }[];
  readonly milliseconds: number;
}

const [lockFile = "", cacheDir = "", platform = "", anew, ...names] = process.argv.slice(2);
const { root, appliance } = await readApplianceDirectory(join(import.meta.dirname, "../../compose/appliance.yaml"));
const lock = checkApplianceLock(JSON.parse(await readFile(lockFile, "utf8")));
const images: Record<string, BuiltImage> = {};
for (const [name, spec] of Object.entries(appliance.images)) {
  if (names.length > 0 && !names.includes(name)) continue;
  const started = performance.now();
  const image = await imageSource(spec).load(lock.platforms[platform]?.[name] as ImageLock, {
    root,
    platform,
    cacheDir,
    created: lock.created,
    ignoreBuiltLayers: anew === "anew",
    onProgress: () => {},
  });
  images[name] = {
    manifest: digestOf(image.manifest),
    config: parseImageConfig(image.config),
    layers: image.layers.map(({ descriptor }) => ({ digest: descriptor.digest, size: descriptor.size })),
    milliseconds: Math.round(performance.now() - started),
  };
}
process.stdout.write(JSON.stringify(images));
