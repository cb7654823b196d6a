/** Clients that go on asking while something is done to a site. */
import assert from "node:assert/strict";
import { failedRequests, startLoad } from "./load.ts";
import type { LoadReport } from "./load-generator.ts";

/** Fifty requests a second by the clock while `work` goes on, half of them over new connections; none may be lost. */
export async function underLoad(port: number, work: () => Promise<void>): Promise<LoadReport> {
  const load = await startLoad({
    origin: `http://127.0.0.1:${port}`,
    request: { path: "/healthz", includes: '"status":"ok"' },
    keptPerSecond: 25,
    newPerSecond: 25,
    release: { header: "sealift-release" },
  });
  let report: LoadReport;
  try {
    await work();
  } finally {
    report = await load.stop();
    assert.equal(failedRequests(report), 0, JSON.stringify(report));
  }
  assert.ok(report.kinds.kept.completed > 50, JSON.stringify(report.kinds));
  return report;
}
