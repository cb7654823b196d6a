/** What must hold on the host before an install or upgrade begins, told before anybody signs. */
import { createServer } from "node:net";
import { diskNeed } from "../../compose/engine/disk-need.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { freeSpace } from "../host/free-space.ts";
import { lifecycleError } from "./error.ts";
import type { ProbeTarget } from "./probe.ts";
import type { ReleaseParts } from "./stored-release.ts";

/**
 * There is room for the images in the engine. Images that it has already are not counted off: they are few
 * bytes of a new release, or the release is there and nothing is pulled. @throws SITE_DISK_SHORT
 */
export function requireRoom({ facts }: Pick<Engine, "facts">, { layout, release }: ReleaseParts): void {
  const { peakBytes } = diskNeed(layout, release);
  const free = freeSpace(facts.rootDirectory)?.freeBytes;
  if (free === undefined || free >= peakBytes) return;
  const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
  throw lifecycleError(
    "SITE_DISK_SHORT",
    `${facts.rootDirectory}: got ${megabytes(free)} free, want ${megabytes(peakBytes)} for the images`,
    { hints: ["sealift prune removes releases that are not needed", "or give that file system more room"] },
  );
}

/** Nobody listens where clients shall reach the appliance. @throws SITE_PORT_BUSY */
export async function requireFreePort({ host, port }: Pick<ProbeTarget, "host" | "port">): Promise<void> {
  const problem = await new Promise<string | undefined>((resolve) => {
    const server = createServer();
    server.once("error", (cause: NodeJS.ErrnoException) => resolve(listenProblem(cause)));
    server.listen(port, host, () => server.close(() => resolve(undefined)));
  });
  if (problem === undefined) return;
  throw lifecycleError("SITE_PORT_BUSY", `clients' address ${host}:${port}: ${problem}`, {
    hints: [
      `ss --listening --tcp --processes 'sport = :${port}' shows who holds it`,
      "or choose another with clientAddress and clientPort in the configuration",
    ],
  });
}

function listenProblem({ code, message }: NodeJS.ErrnoException): string {
  const known: Readonly<Record<string, string>> = {
    EADDRINUSE: "another program listens there",
    EADDRNOTAVAIL: "this host has no such address",
    EACCES: "no permission to listen there: run as root",
  };
  return known[code ?? ""] ?? message;
}
