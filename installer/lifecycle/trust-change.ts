/** The operation that changes whose signatures count for a release on this site. */
import type { Digest } from "../../bundles/model/digest.ts";
import { siteError } from "../site/error.ts";
import {
  type CheckedTrust,
  checkTrust,
  dropTrust,
  isTrustPlaced,
  parseTrustPin,
  placeTrust,
  readPinnedTrust,
  requireSuccessor,
  type TrustFiles,
  type TrustPin,
} from "../site/trust.ts";
import type { PlanSubject } from "./authorization.ts";
import type { Ground } from "./execute.ts";
import { appendEntry, type LedgerEntry, readLedger } from "./ledger.ts";
import type { Site } from "./site.ts";
import type { OperationKind, Parameters } from "./step.ts";

export const TRUST_CHANGED = "trust-changed";

/** The trust that the entries end with; undefined if none was imported. @throws STATE_DAMAGED */
export function trustOfLedger(entries: readonly LedgerEntry[]): TrustPin | undefined {
  const entry = entries.findLast(({ type }) => type === TRUST_CHANGED);
  return entry && parseTrustPin(entry.data["trust"]);
}

export interface EnrolledTrust {
  readonly pin: TrustPin;
  readonly files: TrustFiles;
}

/** The site's own trust, as the operators authorized it. @throws TRUST_NOT_ENROLLED | TRUST_CHANGED | STATE_DAMAGED */
export function enrolledTrust({ ledger, paths }: Site): EnrolledTrust {
  const pin = trustOfLedger(ledger.entries);
  if (pin) return { pin, files: readPinnedTrust(paths.directory, pin) };
  throw siteError("TRUST_NOT_ENROLLED", "this site trusts no publisher yet", {
    hints: [
      "sealift trust import DIR --fingerprint SHA256, which an operator authorizes",
      "for an advisory verdict: sealift verify BUNDLE --trust DIR",
    ],
  });
}

export interface TrustChange {
  readonly before: TrustPin | undefined;
  readonly after: CheckedTrust;
}

/**
 * The change to the trust in `files`, judged at the host's clock.
 * @throws TRUST_… as `loadTrust` | TRUST_FINGERPRINT_MISMATCH | TRUST_ROLLBACK | TRUST_REWRITTEN
 */
export function trustChangeTo(site: Site, files: TrustFiles): TrustChange {
  const before = trustOfLedger(site.ledger.entries);
  const after = checkTrust(files, site.clock().now);
  if (before) requireSuccessor(before, after.pin);
  return { before, after };
}

/** What operators sign for it. */
export function planTrustChange({ before, after }: TrustChange): PlanSubject {
  const { pin, lines } = after;
  const step = (what: string, from: number | undefined, to: number): string =>
    from === undefined || from === to ? `${what} version ${to}` : `${what} version ${from} -> ${to}`;
  return {
    action: "trust",
    from: before?.digest ?? null,
    to: pin.digest,
    configDigest: null,
    policyDigest: null,
    trustVersion: pin.targetsVersion,
    details: [
      `${before ? "keep" : "pin"} root fingerprint ${pin.rootFingerprint}`,
      step("root", before?.roots.length, pin.roots.length),
      step("targets", before?.targetsVersion, pin.targetsVersion),
      step("timestamp", before?.timestampVersion, pin.timestampVersion),
      ...lines,
    ],
  };
}

export function trustChangeParameters({ before, after }: TrustChange): Parameters {
  return { before: before?.digest ?? null, after: after.pin };
}

/** The new files must be staged (`stageTrust`). The ledger's entry is what puts them in force. */
export const trustChange: OperationKind<Ground> = {
  name: "trust-change",
  steps: ({ paths, disk, clock }, parameters) => {
    const { directory, ledger } = paths;
    const before = parameters["before"] as Digest | null;
    const after = parseTrustPin(parameters["after"]);
    const isInForce = (): boolean => trustOfLedger(readLedger(ledger).entries)?.digest === after.digest;
    return [
      {
        name: "place-trust",
        intent: `put release trust ${after.digest} beside the one in force`,
        do: async () => placeTrust(disk, directory, after),
        undo: async () => dropTrust(disk, directory, after.digest),
        probe: async () => (isTrustPlaced(directory, after.digest) ? "done" : "not-done"),
      },
      {
        name: "record-trust",
        intent: "write it into the ledger, which puts it in force",
        isCommit: true,
        do: async () => {
          if (!isInForce()) appendEntry(disk, ledger, TRUST_CHANGED, { trust: after }, clock());
        },
        undo: async () => {},
        probe: async () => (isInForce() ? "done" : "not-done"),
      },
      {
        name: "drop-trust",
        intent: before === null ? "nothing: there was none before" : `remove release trust ${before}`,
        do: async () => {
          if (before !== null) dropTrust(disk, directory, before);
        },
        undo: async () => {},
        probe: async () => (before !== null && isTrustPlaced(directory, before) ? "not-done" : "done"),
      },
    ];
  },
};
