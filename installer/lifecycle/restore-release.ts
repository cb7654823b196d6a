/** A release that the site needs and whose copy in its store is damaged or lost comes back from its medium. */
import type { Digest } from "../../bundles/model/digest.ts";
import type { AllowedRelease } from "../../verify/allowed-release.ts";
import { type Deployment, readDeployments } from "../site/deployment.ts";
import { type StageProgress, stageRelease } from "../site/store.ts";
import { DEPLOY_ACTIONS, parseDeployParameters } from "./deploy-context.ts";
import { lifecycleError } from "./error.ts";
import { openJournalPath } from "./execute.ts";
import { readJournal } from "./journal.ts";
import { appendEntry } from "./ledger.ts";
import type { Site } from "./site.ts";

export const RELEASE_RESTORED = "release-restored";

/** What it runs, what it may return to, and what an operation that did not end was to bring. */
export function neededReleases({ paths }: Pick<Site, "paths">): Pick<Deployment, "release" | "version">[] {
  const { current, previous } = readDeployments(paths);
  const begin = readJournal(openJournalPath(paths))?.begin;
  const isDeploy = DEPLOY_ACTIONS.some((action) => action === begin?.operation);
  const open = begin && isDeploy ? parseDeployParameters(begin.parameters).to : null;
  const needed = new Map<Digest, Deployment>();
  for (const one of [current, previous, open]) if (one) needed.set(one.release, one);
  return [...needed.values()].map(({ release, version }) => ({ release, version }));
}

/**
 * Puts `allowed` into the store in place of what is there of it, and says so in the ledger. Moves the site
 * nowhere, so it needs no authorization. What runs goes on with the old files until it is started anew.
 * @throws RELEASE_NOT_NEEDED if it is no release of this site's, and what `stageRelease` throws
 */
export async function restoreRelease(site: Site, allowed: AllowedRelease, onProgress: StageProgress): Promise<void> {
  const { descriptor, manifest } = allowed.release;
  const needed = neededReleases(site);
  if (!needed.some(({ release }) => release === descriptor.digest)) {
    const wanted = needed.map(({ version, release }) => `${version} (${release})`).join(" or ");
    throw lifecycleError(
      "RELEASE_NOT_NEEDED",
      `got release ${manifest.version} (${descriptor.digest}), want ${wanted || "none: nothing is installed here"}`,
      { hints: ["sealift status names the releases of this site; another release comes with sealift upgrade BUNDLE"] },
    );
  }
  await stageRelease(site.disk, site.paths.directory, allowed, onProgress);
  const data = { release: descriptor.digest, version: manifest.version };
  appendEntry(site.disk, site.paths.ledger, RELEASE_RESTORED, data, site.clock());
}
