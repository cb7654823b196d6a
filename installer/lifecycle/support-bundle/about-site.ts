/** What of the site's own records goes into a support bundle. */
import { lstatSync } from "node:fs";
import { release as kernelRelease } from "node:os";
import { join } from "node:path";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { freeSpace } from "../../host/free-space.ts";
import { readHostFile } from "../../host/host-files.ts";
import { parseOsRelease } from "../../host/setup-facts.ts";
import { hostPlatform, sealiftVersion } from "../../host/this-host.ts";
import { type Deployment, readDeployments } from "../../site/deployment.ts";
import { openState } from "../../site/state.ts";
import { storedReleases } from "../../site/store.ts";
import { configOf } from "../deployed-config.ts";
import { lifecycleError } from "../error.ts";
import { readJournalBytes, readRecords } from "../journal.ts";
import { policyOfLedger } from "../policy-change.ts";
import { openSite } from "../site.ts";
import { withStoredRelease } from "../stored-release.ts";
import { trustOfLedger } from "../trust-change.ts";
import { DIGEST, NAME, number, object, text, VERSION } from "./allowed.ts";
import { entriesIn } from "./directories.ts";
import { CONFIG, DEPLOYMENTS, JOURNAL_RECORD } from "./shapes.ts";
import type { SupportGround } from "./support-bundle.ts";

/** Names that are counted for the sizes of the state's directories. */
const COUNTED_MAX = 200_000;

export function versions(): object {
  const { id, version } = parseOsRelease(readHostFile("/etc/os-release") ?? "");
  const word = text(/^[0-9A-Za-z.+~_-]{1,80}$/);
  return {
    sealift: VERSION(sealiftVersion()),
    node: word(process.version),
    platform: hostPlatform(),
    system: { id: word(id), version: word(version) },
    kernel: word(kernelRelease()),
  };
}

export function aboutSite({ directory, clock, paths }: SupportGround): object {
  const { siteId, created } = openState(directory);
  const { entries } = openSite(directory, { clock }).ledger;
  const trust = trustOfLedger(entries);
  return {
    siteId,
    created,
    deployments: DEPLOYMENTS(readDeployments(paths)),
    stored: storedReleases(directory),
    trust: trust ? { digest: trust.digest, roots: trust.roots.length, targets: trust.targetsVersion } : null,
    policy: policyOfLedger(entries).digest,
  };
}

export function requireCurrent(current: Deployment | null): Deployment {
  if (current) return current;
  throw lifecycleError("SITE_NOT_INSTALLED", "nothing is installed here");
}

export async function deployment({ directory, clock }: SupportGround): Promise<unknown> {
  const site = openSite(directory, { clock });
  const current = requireCurrent(readDeployments(site.paths).current);
  return withStoredRelease(site.paths, current.release, async ({ release, rules }) => {
    const { appliance, version, platform, securityFloor, images } = release.manifest;
    const about = object({ appliance: NAME, version: VERSION, securityFloor: VERSION });
    return {
      release: release.descriptor.digest,
      ...(about({ appliance, version, securityFloor }) as object),
      platform: text(/^linux\/[a-z0-9]{2,10}$/)(platform),
      images: images.map((image) => object({ name: NAME, digest: DIGEST })(image)),
      base: rules.base,
      tasks: rules.tasks,
      config: CONFIG(configOf(site, current)),
    };
  });
}

export function journal(path: string): object {
  const bytes = readJournalBytes(path);
  if (!bytes) return { state: "none" };
  const { content, damage } = readRecords(bytes);
  return {
    state: damage ? "damaged" : content ? "readable" : "nothing had begun",
    tornBytes: content?.tornBytes ?? 0,
    records: (content?.records ?? []).map((record) => JOURNAL_RECORD(record)),
  };
}

export async function disk({ directory, engine }: SupportGround): Promise<object> {
  let engineDirectory: string | undefined;
  try {
    engineDirectory = (await engine()).facts.rootDirectory;
  } catch (cause) {
    if (!(cause instanceof SealiftError)) throw cause;
  }
  const free = (place: string | undefined): unknown => number(place && freeSpace(place)?.freeBytes) ?? null;
  const count = { left: COUNTED_MAX };
  const used = entriesIn(directory)
    .filter(({ name }) => /^[a-z][a-z-]{0,30}$/.test(name))
    .map((entry) => [entry.name, bytesBelow(join(directory, entry.name), count)] as const);
  return {
    freeBytes: { state: free(directory), engine: free(engineDirectory) },
    usedBytes: Object.fromEntries(used),
    isCountWhole: count.left > 0,
  };
}

/** Links are not followed; a blob with two names is counted twice. */
function bytesBelow(path: string, count: { left: number }): number {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  count.left -= 1;
  if (!stat || count.left <= 0) return 0;
  if (!stat.isDirectory()) return stat.size;
  return entriesIn(path).reduce((sum, { name }) => sum + bytesBelow(join(path, name), count), 0);
}
