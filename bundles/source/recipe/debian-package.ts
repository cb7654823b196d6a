/** Fetches .debs that a lock names, each by its digest, from whichever mirror the builder has. */
import type { DebianInput } from "../../model/appliance.ts";
import { hexOf } from "../../model/digest.ts";
import { ARCHIVES, debianMirrors } from "./debian-archive.ts";
import { fetchToCache } from "./download.ts";

/**
 * Gives the path of a package's file in the cache, its hash just checked. Asks the builder for its mirrors once
 * at most, and only when something is not in the cache. @throws what `fetchToCache` and `debianMirrors` throw
 */
export function debianPackages(cacheDir: string): (input: DebianInput) => Promise<string> {
  const mirrors = new Map<string, ReturnType<typeof debianMirrors>>();
  return (input) =>
    fetchToCache(
      {
        what: `package ${input.package} ${input.version}`,
        urls: async () => {
          const archive = ARCHIVES.find((known) => known === input.archive) ?? "debian";
          const asked = mirrors.get(archive) ?? debianMirrors(archive);
          mirrors.set(archive, asked);
          return (await asked).map((mirror) => `${mirror}/${input.path}`);
        },
        algorithm: "sha256",
        hex: hexOf(input.sha256),
        size: input.size,
        maxBytes: input.size,
      },
      cacheDir,
    );
}
