/**
 * What must hold on the host before a site is moved, told before anybody signs: an authorization is spent once,
 * and an operator who signed for nothing signs again in the middle of the night. That the engine answers and
 * the clock is believed was seen when the release was verified.
 */
import { statSync } from "node:fs";
import { createServer } from "node:net";
import { diskNeed } from "../../compose/engine/disk-need.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { absentImages, endpointBusy } from "../../compose/engine/load-images.ts";
import { ENDPOINT_HOST, ENDPOINT_PORT } from "../../compose/image-reference.ts";
import type { AllowedRelease } from "../../verify/allowed-release.ts";
import { freeSpace } from "../host/free-space.ts";
import { requireStoreRoom } from "../site/store.ts";
import { databaseBytes } from "./backup.ts";
import { baseProject, type DeployParameters } from "./deploy-context.ts";
import type { PlanFacts } from "./deploy-plan.ts";
import { lifecycleError } from "./error.ts";
import { clientAddress } from "./front.ts";
import type { ProbeTarget } from "./probe.ts";
import { renderedFile } from "./rendered-file.ts";
import { requireSecretsHere } from "./secrets-here.ts";
import { type ReleaseParts, renderFor } from "./stored-release.ts";

/** A release that was verified for this site just now, and what the plan needs. */
export interface Prepared {
  readonly facts: PlanFacts;
  readonly next: ReleaseParts;
  readonly source: AllowedRelease;
  readonly engine: Engine;
}

/** @throws SITE_SECRETS_AWAY | STATE_DISK_FULL | SITE_DISK_SHORT | SITE_PORT_BUSY | SITE_DATABASE_DOWN | ENGINE_PORT_BUSY | DEPLOYMENT_DAMAGED */
export async function requirePreconditions(prepared: Prepared, parameters: DeployParameters): Promise<void> {
  const { facts, next, source, engine } = prepared;
  const { paths } = facts.site;
  if (facts.current) requireSecretsHere(facts.site, facts.current.rules.secrets);
  if (parameters.parts.stage) requireStoreRoom(paths.directory, source);
  // It reads the files by which the site runs: whoever edited them is found before they are used.
  await requireClientAddress(prepared, parameters);
  const needs: Need[] = [];
  const absent = await absentImages(engine, next.release);
  if (absent.length > 0) {
    await requireFreeEndpoint();
    // Layers of images that are there already are not counted off: the engine does not say which it shares.
    const { peakBytes } = diskNeed(next.layout, next.release);
    needs.push({ directory: engine.facts.rootDirectory, bytes: peakBytes, what: "the images" });
  }
  needs.push(...(await databaseNeeds(prepared, parameters)));
  requireRoom(needs);
}

async function databaseNeeds({ facts, engine }: Prepared, { before, parts }: DeployParameters): Promise<Need[]> {
  const database = facts.current?.rules.database;
  if (!before.current || !database || !parts.backup) return [];
  const bytes = await databaseBytes(engine, baseProject(facts.site, before.current), database);
  const backup = { directory: facts.site.paths.directory, bytes, what: "the backup of the databases" };
  const copy = { directory: engine.facts.rootDirectory, bytes, what: "the copy on which the upgrade is rehearsed" };
  return parts.rehearse ? [backup, copy] : [backup];
}

/** What is about to be written, and where. */
export interface Need {
  readonly directory: string;
  readonly bytes: number;
  readonly what: string;
}

/** Needs on the same file system are added up. A directory of which nobody knows is passed over. @throws SITE_DISK_SHORT */
export function requireRoom(needs: readonly Need[]): void {
  const bySystem = Map.groupBy(
    needs,
    ({ directory }) => statSync(directory, { throwIfNoEntry: false })?.dev ?? directory,
  );
  for (const group of bySystem.values()) {
    const [{ directory = "" } = {}] = group;
    const want = group.reduce((sum, { bytes }) => sum + bytes, 0);
    const free = freeSpace(directory)?.freeBytes;
    if (free === undefined || free >= want) continue;
    const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
    const what = group.map((need) => need.what).join(" and ");
    throw lifecycleError(
      "SITE_DISK_SHORT",
      `${directory}: got ${megabytes(free)} free, want ${megabytes(want)} for ${what}`,
      {
        hints: ["sealift prune removes releases and backups that are not needed", "or give that file system more room"],
      },
    );
  }
}

/** Clients' address is free, unless the release that runs has it already. */
async function requireClientAddress({ facts, next }: Prepared, { to, config }: DeployParameters): Promise<void> {
  const { site, deployments, current } = facts;
  const wanted = clientAddress(renderFor(site, next, to.colour, JSON.parse(config)).base.bytes, next.rules);
  const held =
    deployments.current && current && clientAddress(renderedFile(site, deployments.current, "base"), current.rules);
  if (!held || held.host !== wanted.host || held.port !== wanted.port) await requireFreePort(wanted);
}

/** Nobody listens where clients shall reach the appliance. @throws SITE_PORT_BUSY */
export async function requireFreePort({ host, port }: Pick<ProbeTarget, "host" | "port">): Promise<void> {
  const problem = await listenProblem(host, port);
  if (problem === undefined) return;
  throw lifecycleError("SITE_PORT_BUSY", `clients' address ${host}:${port}: ${problem}`, {
    hints: [
      `ss --listening --tcp --processes 'sport = :${port}' shows who holds it`,
      "or choose another with clientAddress and clientPort in the configuration",
    ],
  });
}

/** Nobody listens where the engine fetches images from Sealift. @throws ENGINE_PORT_BUSY */
async function requireFreeEndpoint(): Promise<void> {
  const problem = await listenProblem(ENDPOINT_HOST, ENDPOINT_PORT);
  if (problem !== undefined) throw endpointBusy(`${ENDPOINT_HOST}:${ENDPOINT_PORT}: ${problem}`);
}

/** Takes the address for a moment. */
async function listenProblem(host: string, port: number): Promise<string | undefined> {
  const known: Readonly<Record<string, string>> = {
    EADDRINUSE: "another program listens there",
    EADDRNOTAVAIL: "this host has no such address",
    EACCES: "no permission to listen there: run as root",
  };
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", ({ code, message }: NodeJS.ErrnoException) => resolve(known[code ?? ""] ?? message));
    server.listen(port, host, () => server.close(() => resolve(undefined)));
  });
}
