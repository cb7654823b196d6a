/**
 * The right to deploy a release. Whoever stages, pulls or starts takes an `AllowedRelease`, and only
 * `allowRelease` makes one: the class is not exported, and its private fields keep out look-alikes.
 */
import { type BundleRelease, readLayoutIndex, readRelease, releaseAt } from "../bundles/layout/contents.ts";
import type { Layout } from "../bundles/layout/layout.ts";
import { verifyError } from "./error.ts";
import type { Verdict } from "./verdict.ts";

class Allowed {
  readonly #verdict: Verdict;
  readonly #layout: Layout;
  readonly #release: BundleRelease;
  readonly #approvals: readonly Buffer[];

  constructor(verdict: Verdict, layout: Layout, release: BundleRelease, approvals: readonly Buffer[]) {
    this.#verdict = verdict;
    this.#layout = layout;
    this.#release = release;
    this.#approvals = approvals;
  }

  get verdict(): Verdict {
    return this.#verdict;
  }

  /** Of the files that were open when the verdict was made. What is read from it is checked by digest again. */
  get layout(): Layout {
    return this.#layout;
  }

  /** Read after the verdict, by the verdict's digest. */
  get release(): BundleRelease {
    return this.#release;
  }

  /** What was beside the bundle as reviewers' approvals when the verdict was made; those that did not count too. */
  get approvals(): readonly Buffer[] {
    return this.#approvals;
  }
}

export type { Allowed as AllowedRelease };

/**
 * The release that `verdict` allows, read from `layout` by the verdict's digest and not by what `layout`
 * says now: it may have been changed or exchanged since. The caller keeps its files open for as long as it
 * uses the result, and has the verdict from the cage.
 * @throws RELEASE_DENIED | RELEASE_ADVISORY | RELEASE_EXCHANGED if `layout` holds another release, and what
 * `readRelease` throws. Does not read layers; whoever copies them checks each by its digest.
 */
export function allowRelease(verdict: Verdict, layout: Layout, approvals: readonly Buffer[] = []): Allowed {
  const { digest } = verdict.subject;
  if (verdict.decision !== "allow" || digest === null) {
    const codes = verdict.findings.filter(({ status }) => status !== "pass").map(({ code }) => code);
    throw verifyError(
      "RELEASE_DENIED",
      `release ${digest ?? "unknown"}: ${[...new Set(codes)].join(", ") || "denied"}`,
      {
        hints: ["sealift verify BUNDLE says what is wrong with it"],
      },
    );
  }
  if (verdict.scope !== "site") {
    throw verifyError("RELEASE_ADVISORY", `release ${digest}: got an advisory verdict, want one of this site`, {
      hints: ["a verdict made with --trust, --policy or --at authorizes nothing"],
    });
  }
  const { release: listed } = readLayoutIndex(layout);
  const size = layout.blob(digest)?.size;
  if (listed.digest !== digest || size === undefined) {
    throw verifyError("RELEASE_EXCHANGED", `bundle: got release ${listed.digest}, but ${digest} was verified`, {
      hints: ["the bundle was changed after it was verified: treat it as an attack, and keep it as evidence"],
    });
  }
  return new Allowed(verdict, layout, readRelease(layout, releaseAt({ ...listed, size })), approvals);
}
