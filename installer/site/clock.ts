/**
 * The host's clock, and when not to believe it. The last ledger entry is the floor: time does not run
 * backwards over it. Within one boot the kernel's uptime tells how much time passed, whatever the clock
 * was set to. A jump stops what would change the site until an operator confirms it in a signed plan.
 */
import { readFileSync } from "node:fs";
import { siteError } from "./error.ts";

export interface ClockReading {
  readonly now: Date;
  /** The kernel's random id of this boot; "" where there is none. */
  readonly bootId: string;
  /** Since boot, not counting when the clock was set; milliseconds. */
  readonly uptimeMs: number;
}

export type Clock = () => ClockReading;

export const hostClock: Clock = () => ({ now: new Date(), bootId: readBootId(), uptimeMs: readUptime() });

function readBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}

/** /proc/uptime counts suspended time too (CLOCK_BOOTTIME), which process.hrtime does not. */
function readUptime(): number {
  try {
    return Math.round(Number.parseFloat(readFileSync("/proc/uptime", "utf8")) * 1000);
  } catch {
    return 0;
  }
}

/** What the last ledger entry says about time. */
export interface TimeMark {
  readonly time: string;
  readonly bootId: string;
  readonly uptimeMs: number;
}

/** Drift and NTP steps below this are no jump. */
export const CLOCK_TOLERANCE_MS = 5 * 60_000;
/** A site that was off for longer than this asks whether that is so. */
export const CLOCK_GAP_MAX_MS = 366 * 24 * 3_600_000;

export type ClockCode = "CLOCK_BACKWARDS" | "CLOCK_JUMPED";

export interface ClockFinding {
  readonly code: ClockCode;
  readonly message: string;
}

/** What is wrong with the clock, measured against the last entry; undefined if nothing is. */
export function judgeClock(reading: ClockReading, last: TimeMark): ClockFinding | undefined {
  const passedMs = reading.now.getTime() - Date.parse(last.time);
  const now = reading.now.toISOString();
  if (passedMs < -CLOCK_TOLERANCE_MS) {
    return { code: "CLOCK_BACKWARDS", message: `the clock says ${now}, but the ledger ends at ${last.time}` };
  }
  if (reading.bootId !== "" && reading.bootId === last.bootId) {
    const upMs = reading.uptimeMs - last.uptimeMs;
    if (Math.abs(passedMs - upMs) > CLOCK_TOLERANCE_MS) {
      return {
        code: "CLOCK_JUMPED",
        message: `the clock went from ${last.time} to ${now} while ${Math.round(upMs / 1000)} s passed`,
      };
    }
    return undefined;
  }
  if (passedMs > CLOCK_GAP_MAX_MS) {
    return { code: "CLOCK_JUMPED", message: `the clock says ${now}, over a year after the ledger's end ${last.time}` };
  }
  return undefined;
}

/** @throws CLOCK_BACKWARDS | CLOCK_JUMPED unless there is no finding or `confirmed` names its code. */
export function requireClock(finding: ClockFinding | undefined, confirmed: readonly string[]): void {
  if (!finding || confirmed.includes(finding.code)) return;
  throw siteError(finding.code, finding.message, {
    hints: [
      "set the clock right (timedatectl), then run this again",
      "if the clock is right now: authorize with --confirm-clock, so that an operator signs for it",
    ],
  });
}
