/** The site's store: each release whole, and equal blobs one file. */
import { lstatSync, readdirSync, type Stats } from "node:fs";
import { join } from "node:path";
import { type Digest, hexOf } from "../../../bundles/model/digest.ts";
import { storedDamage, storedPath, storedReleases } from "../../site/store.ts";
import { RESTORE_HINT, withStoredRelease } from "../stored-release.ts";
import type { CheckLog } from "./check-log.ts";
import { fsckError } from "./error.ts";
import type { FsckGround } from "./ground.ts";

export async function checkStore(ground: FsckGround, log: CheckLog): Promise<void> {
  const { paths, deployments, content } = ground;
  const { directory } = paths;
  const stored = log.attempt("store", () => storedReleases(directory)) ?? [];
  const needed = [deployments?.current, deployments?.previous].flatMap((one) => one?.release ?? []);
  for (const release of new Set([...needed, ...stored])) {
    const way = needed.includes(release) ? [RESTORE_HINT] : ["sealift prune removes it: nothing needs it"];
    await log.attemptAsync(`store/${hexOf(release)}`, () =>
      withStoredRelease(paths, release, async (parts) => {
        const onProgress = content ? megabytes(ground, parts.release.manifest.version) : undefined;
        for (const { file, problem } of await storedDamage(directory, parts, onProgress)) {
          const subject = `store/${hexOf(release)}/${file}`;
          const message = `${JSON.stringify(join(directory, subject))}: ${problem}`;
          log.find(subject, fsckError("FSCK_STORE_CHANGED", message, { hints: way }));
        }
      }),
    );
  }
  if (!content) log.notChecked("the bytes of stored files: fsck --content");
  log.attempt("store", () => checkLinks(directory, stored, log));
}

function megabytes({ onProgress }: FsckGround, version: string): (done: number, total: number) => void {
  return (done, total) =>
    onProgress(`release ${version}: ${Math.round(done / 1e6)} of ${Math.round(total / 1e6)} MB hashed`);
}

/** A name for a blob outside the store lets somebody change it there; a blob that lies there twice takes room. */
function checkLinks(directory: string, releases: readonly Digest[], log: CheckLog): void {
  const files = new Map<number, { readonly path: string; readonly stat: Stats; names: number }>();
  const blobs = new Map<string, number>();
  let twice = 0;
  for (const release of releases) {
    const blobsOf = join(storedPath(directory, release), "blobs/sha256");
    for (const name of namesIn(blobsOf)) {
      const path = join(blobsOf, name);
      const stat = lstatSync(path);
      if (!stat.isFile()) continue;
      const other = blobs.get(name);
      if (other !== undefined && other !== stat.ino) twice += stat.size;
      blobs.set(name, stat.ino);
      const file = files.get(stat.ino);
      if (file) file.names += 1;
      else files.set(stat.ino, { path, stat, names: 1 });
    }
  }
  for (const { path, stat, names } of files.values()) {
    if (stat.nlink <= names) continue;
    log.find(
      path.slice(directory.length + 1),
      fsckError("FSCK_FOREIGN_LINK", `${JSON.stringify(path)}: got ${stat.nlink} names, want ${names}`, {
        hints: [`find the other name and remove it: find / -xdev -inum ${stat.ino}`],
      }),
    );
  }
  if (twice > 0) log.warn(`${Math.round(twice / 1e6)} MB of the store lie there twice, and could be one file`);
}

/** The check of the layouts tells of one that is not there. */
function namesIn(path: string): string[] {
  return lstatSync(path, { throwIfNoEntry: false })?.isDirectory() ? readdirSync(path) : [];
}
