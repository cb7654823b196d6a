/**
 * The front and its switch: a file that names the live colour. It is replaced by rename, then the front
 * reads it again (SIGUSR2) without dropping a connection; it reads it at every start too, so a host that
 * reboots in the middle comes back with one colour or the other.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import { parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { signalService } from "../../compose/engine/project.ts";
import { type Colour, projectName } from "../../compose/render.ts";
import type { Deployment } from "../site/deployment.ts";
import { type Disk, removeDurably, writeWhole } from "../site/disk.ts";
import type { StatePaths } from "../site/state.ts";
import type { SiteNames } from "./deploy-context.ts";
import { lifecycleError } from "./error.ts";
import { type ProbeTarget, probe } from "./probe.ts";

const SWITCH_FILE = "active.map";
/** The front runs as a user of its own and must read it. */
const SWITCH_MODE = 0o644;
/** Answers in a row, each over a new connection, that must come from the new colour. */
const CONFIRMATIONS = 20;
const CONFIRM_MS = 20_000;
/** Longer than a reload takes while no name server answers for the other colour (2 s). */
const REREAD_MS = 5_000;
const ANSWER_MS = 5_000;
const HEALTH_PATH = "/healthz";

function switchPath({ directory }: StatePaths): string {
  return join(directory, "switch", SWITCH_FILE);
}

/** For a person: what clients are configured with, without a path. */
export function clientUrl({ tls, host, port }: ProbeTarget): string {
  return `${tls ? "https" : "http"}://${host}:${port}`;
}

/** The colour that the front was told last; undefined if it was never told. */
export function readSwitch(paths: StatePaths): Colour | undefined {
  let text: string;
  try {
    text = readFileSync(switchPath(paths), "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw cause;
  }
  const [, colour] = /^active (blue|green)\n$/.exec(text) ?? [];
  return colour as Colour | undefined;
}

/** @throws STATE_WRITE_FAILED | STATE_DISK_FULL */
export function writeSwitch(disk: Disk, paths: StatePaths, colour: Colour): void {
  writeWhole(disk, switchPath(paths), Buffer.from(`active ${colour}\n`), SWITCH_MODE);
}

/** Of a site on which nothing is installed any more. @throws STATE_WRITE_FAILED */
export function removeSwitch(disk: Disk, paths: StatePaths): void {
  removeDurably(disk, switchPath(paths));
}

/** Lets the front read the switch again. @throws ENGINE_CALL_FAILED if it does not run */
export async function rereadSwitch(engine: Engine, siteId: string, rules: ApplianceRules): Promise<void> {
  await signalService(engine, projectName(siteId, "base"), rules.front.service, "SIGUSR2");
}

/** Where clients reach the appliance, from the rendered base file. */
export function clientAddress(baseFile: Uint8Array, rules: ApplianceRules): ProbeTarget {
  const file = parseCanonicalJson(baseFile) as {
    readonly services: Readonly<Record<string, { readonly ports?: readonly string[] }>>;
  };
  const published = file.services[rules.front.service]?.ports?.[0] ?? "";
  const [, host = "", port = ""] = /^([0-9.]+):(\d+):\d+$/.exec(published) ?? [];
  const tls = rules.secrets.some(({ kind }) => kind === "server-certificate");
  // An address for every interface is reached on loopback as well.
  return { host: host === "0.0.0.0" ? "127.0.0.1" : host, port: Number(port), path: HEALTH_PATH, tls };
}

/** What a client's answer says of who gave it. */
export interface AnsweredBy {
  readonly release: string;
  readonly colour: string;
  readonly milliseconds: number;
}

/** Asks as a client would. Rejects if the answer is not a good one. */
export async function askFront(target: ProbeTarget): Promise<AnsweredBy> {
  const { status, headers, milliseconds } = await probe(target, ANSWER_MS);
  if (status !== 200) throw new Error(`status ${status}`);
  const one = (name: string): string => String(headers[name] ?? "");
  return { release: one("sealift-release"), colour: one("sealift-colour"), milliseconds };
}

/**
 * Waits until new connections reach `deployment`, and nothing else, several times in a row. `reread` is
 * called at once and again from time to time: HAProxy loses a signal that comes while it still ends another
 * reload (3.0.11, test/support/front-figures.ts), as when a bad switch is taken back at once.
 * @throws FRONT_NOT_SWITCHED and what `reread` throws
 */
export async function confirmFront(
  target: ProbeTarget,
  { version, colour }: Pick<Deployment, "version" | "colour">,
  signal: AbortSignal | undefined,
  reread: () => Promise<void> = async () => {},
): Promise<void> {
  const deadline = performance.now() + CONFIRM_MS;
  let inARow = 0;
  let last = "";
  let rereadAt = 0;
  while (inARow < CONFIRMATIONS) {
    signal?.throwIfAborted();
    if (inARow === 0 && performance.now() >= rereadAt) {
      await reread();
      rereadAt = performance.now() + REREAD_MS;
    }
    try {
      const by = await askFront(target);
      const isRight = by.release === version && by.colour === colour;
      inARow = isRight ? inARow + 1 : 0;
      last = `release ${JSON.stringify(by.release)} in ${JSON.stringify(by.colour)} answers`;
      if (isRight) continue;
    } catch (cause) {
      inARow = 0;
      last = reasonOf(cause);
    }
    if (performance.now() > deadline) {
      const where = `${target.host}:${target.port}`;
      throw lifecycleError(
        "FRONT_NOT_SWITCHED",
        `front at ${where}: ${last}; want release ${JSON.stringify(version)} in ${colour}`,
        { hints: ["sealift logs front"] },
      );
    }
    await sleep(100);
  }
}

/** Replaces the switch, makes the front read it, and waits until it shows. */
export async function switchFront(
  site: SiteNames & { readonly disk: Disk },
  engine: Engine,
  rules: ApplianceRules,
  deployment: Deployment,
  target: ProbeTarget,
  signal?: AbortSignal,
): Promise<void> {
  writeSwitch(site.disk, site.paths, deployment.colour);
  await confirmFront(target, deployment, signal, () => rereadSwitch(engine, site.siteId, rules));
}
