/** A long text in slices, with a pause between them in which other requests and health checks are served. */
import { BEFORE_MAX, type Finding, scanWindow, type Window, type WindowScan } from "./scan.ts";

/** Of text between two pauses: a few milliseconds of work, of the worst text some tens. */
export const SLICE = 32 * 1024;

/** Finds what `scanWindow` finds. */
export async function scanSlices(window: Window, pause: () => Promise<void>): Promise<WindowScan> {
  const { text, before = "", more = false } = window;
  if (text.length <= SLICE) return scanWindow(window);
  const findings: Finding[] = [];
  let running = window.running;
  let at = 0;
  for (;;) {
    const isLast = at + SLICE >= text.length;
    const scan = scanWindow({
      text: text.slice(at, at + SLICE),
      before: (at < BEFORE_MAX ? before + text.slice(0, at) : text.slice(at - BEFORE_MAX, at)).slice(-BEFORE_MAX),
      running,
      more: more || !isLast,
    });
    for (const finding of scan.findings) {
      const last = findings.at(-1);
      if (finding.continues && last) findings[findings.length - 1] = { ...last, end: at + finding.end };
      else findings.push({ ...finding, start: at + finding.start, end: at + finding.end });
    }
    running = scan.running;
    at += scan.consumed;
    if (isLast) return { findings, consumed: at, ...(running && { running }) };
    await pause();
  }
}
