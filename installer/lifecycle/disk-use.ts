/**
 * What the next release adds to the host's disks, for its plan. It goes by the two releases and the engine's kind of
 * store alone, and not by what those disks hold just now: operators sign the same words on another day.
 */
import type { BundleRelease } from "../../bundles/layout/contents.ts";
import type { Descriptor } from "../../bundles/model/descriptor.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { diskNeed, keptBytes } from "../../compose/engine/disk-need.ts";
import type { ImageStore } from "../../compose/engine/engine.ts";
import type { ReleaseParts } from "./stored-release.ts";

/** In bytes. What the release that runs has already is not counted. */
export interface DiskUse {
  readonly engineBytes: number;
  readonly storeBytes: number;
}

/** `current` is the release that runs. Signatures, some kilobytes that may still grow, are not in it. */
export function diskUse(next: ReleaseParts, current: ReleaseParts | undefined, store: ImageStore): DiskUse {
  const present = new Map(current && blobsOf(current.release));
  const added = [...blobsOf(next.release)].filter(([digest]) => !present.has(digest));
  return {
    engineBytes: keptBytes(diskNeed(next.layout, next.release, present.keys()), store),
    storeBytes: added.reduce((sum, [, size]) => sum + size, 0),
  };
}

function blobsOf({ descriptor, document, images, files }: BundleRelease): Map<Digest, number> {
  const entries = [document, ...images.values(), ...files.values()];
  const inEntries = entries.flatMap((one): Descriptor[] => [
    one.descriptor,
    one.manifest.config,
    ...one.manifest.layers,
  ]);
  return new Map([descriptor, ...inEntries].map(({ digest, size }) => [digest, size]));
}

/** A line of the plan. Without `use` the release is on the site already. */
export function diskLine(use: DiskUse | undefined, hasBackup: boolean): string {
  if (!use) return "disk: nothing more; the release is in the site's store, its images are in the engine";
  const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  const copies = hasBackup ? "; and the databases twice: their backup, and a copy until the rehearsal is over" : "";
  return `disk: ${megabytes(use.engineBytes)} for images in the engine, ${megabytes(use.storeBytes)} in the site's store${copies}`;
}
