/** The files by which the site runs, and the one that tells the front where to send connections. */
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { configOf } from "../deployed-config.ts";
import { readSwitch } from "../front.ts";
import { renderedFile } from "../rendered-file.ts";
import type { CheckLog } from "./check-log.ts";
import { fsckError } from "./error.ts";
import { type FsckGround, installed } from "./ground.ts";

/** Each is the one that was authorized: by its digest in the ledger. */
export function checkDeployment(ground: FsckGround, log: CheckLog): void {
  const found = installed(ground, log);
  if (!found) return;
  const { site, current, previous } = found;
  for (const deployment of [current, previous]) {
    if (!deployment) continue;
    const directory = `deployments/${deployment.id}`;
    log.attempt(`${directory}/base.json`, () => renderedFile(site, deployment, "base"));
    log.attempt(`${directory}/containers.json`, () => renderedFile(site, deployment, "containers"));
    log.attempt(`${directory}/config.json`, () => configOf(site, deployment));
  }
  // Read by a path that may be anything: of a pipe nobody would ever hear the end.
  const path = join(site.paths.directory, "switch", "active.map");
  const isFile = lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
  const active = isFile ? log.attempt("switch/active.map", () => readSwitch(site.paths)) : undefined;
  if (active === current.colour) return;
  log.find(
    "switch/active.map",
    fsckError("FSCK_SWITCH_DIFFERS", `the front's switch says ${active ?? "nothing"}, want ${current.colour}`, {
      hints: ["sealift start writes it anew"],
    }),
  );
}
