/** A site in a scratch directory, with a clock that a test sets and operators whose keys it holds. */
import { join } from "node:path";
import { makeRequest, type PlanSubject } from "../../installer/lifecycle/authorization.ts";
import { createSite, openSiteForChange, type Site } from "../../installer/lifecycle/site.ts";
import type { Action } from "../../installer/site/authority.ts";
import { makeAuthority } from "../../installer/site/authority.ts";
import type { Clock } from "../../installer/site/clock.ts";
import { type Disk, hostDisk } from "../../installer/site/disk.ts";
import { makeSigner, type TestSigner } from "./ssh-signer.ts";

export interface TestClock {
  /** Lets real time pass: clock and uptime together. */
  pass(ms: number): void;
  /** Sets the clock, as somebody with date(1) would. */
  set(now: string): void;
  reboot(): void;
  readonly read: Clock;
}

export function testClock(start = "2026-11-21T08:00:00.000Z"): TestClock {
  let nowMs = Date.parse(start);
  let uptimeMs = 1000;
  let boot = 1;
  return {
    pass: (ms) => {
      nowMs += ms;
      uptimeMs += ms;
    },
    set: (now) => {
      nowMs = Date.parse(now);
    },
    reboot: () => {
      boot += 1;
      uptimeMs = 0;
    },
    read: () => ({ now: new Date(nowMs), bootId: `boot-${boot}`, uptimeMs }),
  };
}

export interface TestSite {
  readonly directory: string;
  readonly clock: TestClock;
  readonly alice: TestSigner;
  readonly bob: TestSigner;
  /** With a FIDO key. */
  readonly carol: TestSigner;
  readonly recovery: TestSigner;
  /** As a verb opens it: read again from the disk. */
  open(): Site;
}

export function makeTestSite(
  parent: string,
  thresholds: Partial<Record<Action, number>> = {},
  disk: Disk = hostDisk,
): TestSite {
  const directory = join(parent, "state");
  const clock = testClock();
  const [alice, bob, recovery] = [makeSigner(), makeSigner(), makeSigner()] as const;
  const carol = makeSigner("sk-ssh-ed25519@openssh.com");
  const named = { alice, bob, carol };
  const operators = Object.entries(named).map(([principal, { key }]) => ({ principal, key }));
  const authority = makeAuthority({ operators, reviewers: [], thresholds, recoveryKey: recovery.key }, 1);
  createSite(directory, authority, { disk, clock: clock.read });
  const open = (): Site => openSiteForChange(directory, { disk, clock: clock.read });
  return { directory, clock, alice, bob, carol, recovery, open };
}

export const HOUR_MS = 3_600_000;

export function upgradePlan(change: Partial<PlanSubject> = {}): PlanSubject {
  const digest = (hex: string) => `sha256:${hex.repeat(64)}` as PlanSubject["to"];
  return {
    action: "upgrade",
    from: digest("a"),
    to: digest("b"),
    configDigest: digest("c"),
    policyDigest: digest("d"),
    trustVersion: 3,
    details: ["gateway 1.0.0 -> 1.1.0"],
    ...change,
  };
}

export function request(site: Site, subject: PlanSubject, confirmClock = false): Buffer {
  return makeRequest(site, subject, { reason: "test", lifetimeMs: HOUR_MS, confirmClock });
}
