/** What `sealift sbom scan` takes, measured by the process itself when it ends. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { ScanReport } from "../../sbom/scan/report.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
/** The launcher takes no options for Node from outside: here it is started as the launcher starts it. */
const NODE_OPTIONS = [
  "--use-system-ca",
  // Not getrusage's, which starts from what the parent had.
  '--import=data:text/javascript,import{readFileSync as r}from"node:fs";process.on("exit",()=>process._rawDebug(r("/proc/self/status","utf8")))',
];

export interface ScanCost {
  readonly seconds: number;
  readonly peakMiB: number;
  readonly records: number;
  readonly unreadable: number;
  readonly findings: number;
}

export function scanCost(sbom: string, records: string): ScanCost {
  const begin = performance.now();
  const verb = [`${root}installer/main.ts`, "sbom", "scan", sbom, "--db", records, "--json"];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...NODE_OPTIONS, ...verb], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    env: { ...process.env, NODE_COMPILE_CACHE: `${root}node_modules/.compiled` },
  });
  const seconds = Math.round((performance.now() - begin) / 10) / 100;
  const peak = /^VmHWM:\s+(\d+) kB$/m.exec(stderr)?.[1];
  if ((status !== 0 && status !== 3) || peak === undefined) throw new Error(`exit ${status}\n${stderr.slice(-2000)}`);
  const { database, subjects } = JSON.parse(stdout) as ScanReport;
  return {
    seconds,
    peakMiB: Math.round(Number(peak) / 1024),
    records: database.records,
    unreadable: database.unreadableCount,
    findings: subjects[0]?.findings.length ?? 0,
  };
}
