/** The evidence of a campaign that takes several sittings: a JSON file that each goes on with. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";

export interface Campaign {
  readonly seed: number;
  /** Of each sitting's checkout. */
  readonly commits: string[];
  isComplete: boolean;
  mutants: number;
}

/** The evidence in `path` if it is of this seed and not complete, else `fresh`; with this commit in it. */
export function takeUp<Evidence extends Campaign>(path: string, fresh: Evidence): Evidence {
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8", cwd: import.meta.dirname }).trim();
  const before = existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Evidence) : undefined;
  const evidence = before?.seed === fresh.seed && !before.isComplete ? before : fresh;
  if (evidence.commits.at(-1) !== commit) evidence.commits.push(commit);
  return evidence;
}

export function saveEvidence(path: string, evidence: Campaign): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(evidence, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

export function countOne(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}
