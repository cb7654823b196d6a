/** A small signed release on disk and, judged without the cage, the right to deploy it. */
import { closeStore, openStore, readLayout, type Store } from "../../bundles/layout/layout.ts";
import { type AllowedRelease, allowRelease } from "../../verify/allowed-release.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { judge } from "./judge.ts";

export interface OpenAllowed {
  readonly allowed: AllowedRelease;
  readonly store: Store;
}

/** The verdict that a site with this trust would make at the time of the small trusts. */
export async function siteVerdict(path: string, trustFiles: ReadonlyMap<string, Buffer>): Promise<Verdict> {
  return { ...(await judge(path, { trustFiles })), scope: "site" };
}

/** The bundle at `path` stays open until the test ends. */
export async function openAllowed(
  context: { after(work: () => void): void },
  path: string,
  trustFiles: ReadonlyMap<string, Buffer>,
): Promise<OpenAllowed> {
  const verdict = await siteVerdict(path, trustFiles);
  const store = openStore(path);
  context.after(() => closeStore(store));
  return { allowed: allowRelease(verdict, readLayout(store)), store };
}
