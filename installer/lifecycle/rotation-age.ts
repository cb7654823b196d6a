/** How old a site's secrets and inner certificates are, by its ledger: since when, and whether another is due. */
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import type { LedgerEntry } from "./ledger.ts";
import { ROTATIONS, type RotationWish, rotatingRules } from "./rotation.ts";

const DAY_MS = 24 * 60 * 60_000;
/** From then on `status` asks for others. */
export const ROTATION_DAYS = 90;

const DUE: Readonly<Record<RotationWish, { readonly what: string; readonly way: string }>> = {
  secrets: { what: "the site's passwords and keys", way: "sealift rotate secrets" },
  certificates: { what: "the certificates inside", way: "sealift rotate certificates" },
};

/** When those that count now were made: by an install, or by the last rotation. Undefined if there are none. */
export function madeAt(entries: readonly LedgerEntry[], wish: RotationWish): string | undefined {
  let made: string | undefined;
  for (const { type, time, data } of entries) {
    if (type !== "operation" || data["result"] !== "committed") continue;
    const { operation, rotated, deployments } = data;
    if (rotated === wish) made = time;
    else if (operation === "install") made ??= time;
    // They went with the data.
    else if (operation === "uninstall" && (deployments as { data?: unknown } | null)?.data === null) made = undefined;
  }
  return made;
}

/** One sentence for each that is due: what the release that runs can rotate, and nobody has for so long. */
export function rotationWarnings(entries: readonly LedgerEntry[], rules: ApplianceRules, now: Date): string[] {
  return ROTATIONS.flatMap((wish) => {
    const made = madeAt(entries, wish);
    if (made === undefined || rotatingRules(rules, wish).length === 0) return [];
    const days = Math.floor((now.getTime() - Date.parse(made)) / DAY_MS);
    const { what, way } = DUE[wish];
    return days < ROTATION_DAYS ? [] : [`${what} are of ${made.slice(0, 10)}, ${days} days old: ${way}`];
  });
}
