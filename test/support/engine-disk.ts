/** What an engine's disk holds, as a person would measure it. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { Engine } from "../../compose/engine/engine.ts";

/** Bytes on the disk below the engine's directory, without volumes: those hold what services wrote, not images. */
export function engineDiskBytes({ facts: { rootDirectory } }: Pick<Engine, "facts">): number {
  return directoryBytes(rootDirectory) - directoryBytes(join(rootDirectory, "volumes"));
}

function directoryBytes(path: string): number {
  // Not what containers see: those are mounts of the same files.
  const du = ["--summarize", "--one-file-system", "--block-size=1", path];
  return Number(execFileSync("du", du).toString().split("\t")[0]);
}
