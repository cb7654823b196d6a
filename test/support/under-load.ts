/** Clients that go on asking while something is done to a site. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { failedRequests, startLoad } from "./load.ts";
import type { LoadReport } from "./load-generator.ts";

/** Fifty requests a second by the clock while `work` goes on, half of them over new connections, to the site in `state`; none may be lost. */
export async function underLoad(port: number, state: string, work: () => Promise<void>): Promise<LoadReport> {
  const load = await startLoad({
    origin: `https://127.0.0.1:${port}`,
    caFile: join(state, "site/client-ca.pem"),
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
