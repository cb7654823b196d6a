/** The release's own canary: it answers whether the whole of it works, and as which release. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ApplianceRules } from "../../bundles/model/appliance-rules.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import type { Engine } from "../../compose/engine/engine.ts";
import { containerStates } from "../../compose/engine/project.ts";
import { lifecycleError } from "./error.ts";
import { probe } from "./probe.ts";

/** Until its first good answer a release may warm up; from then on each one must be good. */
const WARM_UP_MS = 30_000;
const GOOD_ANSWERS = 10;

/**
 * Asks the canary of the containers of `project`, directly and not through the front.
 * @throws CANARY_FAILED if it is silent, slow, or of another release
 */
export async function askCanary(
  engine: Engine,
  project: string,
  rules: ApplianceRules,
  version: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { service, port, path, withinMs } = rules.canary;
  const containers = await containerStates(engine, project);
  const [host] = containers.find((one) => one.service === service)?.addresses.values() ?? [];
  if (host === undefined) throw failed(service, "it has no address");
  const deadline = performance.now() + WARM_UP_MS;
  for (let good = 0; good < GOOD_ANSWERS; ) {
    signal?.throwIfAborted();
    const problem = await problemOf({ host, port, path, tls: false }, version, withinMs);
    if (problem === undefined) {
      good += 1;
      continue;
    }
    if (good > 0 || performance.now() > deadline) throw failed(service, problem);
    await sleep(250);
  }
}

async function problemOf(
  target: Parameters<typeof probe>[0],
  version: string,
  withinMs: number,
): Promise<string | undefined> {
  try {
    const { status, body } = await probe(target, withinMs);
    if (status !== 200) return `got status ${status}, want 200`;
    const { release } = JSON.parse(body) as { readonly release?: unknown };
    return release === version ? undefined : `got release ${JSON.stringify(release)}, want ${JSON.stringify(version)}`;
  } catch (cause) {
    return reasonOf(cause);
  }
}

function failed(service: string, problem: string): Error {
  return lifecycleError("CANARY_FAILED", `canary of ${JSON.stringify(service)}: ${problem}`, {
    hints: [`sealift logs ${service}`],
  });
}
