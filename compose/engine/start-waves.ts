/** In which order the services of a rendered Compose file start. */
import { readFileSync } from "node:fs";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { engineError } from "./error.ts";

/** What is looked at in a Compose file that the renderer wrote. */
export interface ComposeFile {
  readonly services: Readonly<Record<string, ComposeService>>;
}

interface ComposeService {
  /** Only services of the same file. */
  readonly depends_on?: Readonly<Record<string, { readonly condition?: string }>>;
  /** A service that has some is a task: it never starts by itself. */
  readonly profiles?: readonly string[];
  readonly networks?: Readonly<Record<string, unknown>>;
}

/** Every file that the renderer writes is JSON in this form. */
export function parseComposeFile(bytes: Uint8Array): ComposeFile {
  return JSON.parse(Buffer.from(bytes).toString("utf8")) as ComposeFile;
}

/** @throws ENGINE_CALL_FAILED if it cannot be read */
export function readComposeFile(path: string): ComposeFile {
  try {
    return parseComposeFile(readFileSync(path));
  } catch (cause) {
    throw engineError("ENGINE_CALL_FAILED", `Compose file ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}

/**
 * Groups of services, each of which may start when those in the groups before it are healthy. All that the
 * file starts are in them; only `among` and what those depend on, if `among` is given. Within a group Compose
 * heeds the order of `condition: service_started`.
 */
export function startWaves({ services }: ComposeFile, among?: readonly string[]): string[][] {
  const starting = Object.keys(services).filter((name) => !services[name]?.profiles?.length);
  const needed = new Set(among ?? starting);
  for (const name of needed) for (const other of Object.keys(services[name]?.depends_on ?? {})) needed.add(other);
  const wanted = starting.filter((name) => needed.has(name));
  const waves: string[][] = [];
  const waveOf = (name: string, path: readonly string[] = []): number => {
    // Compose itself refuses a circle when it reads the file.
    if (path.includes(name)) return 0;
    const dependencies = Object.entries(services[name]?.depends_on ?? {}).filter(([other]) => wanted.includes(other));
    const least = dependencies.map(([other, { condition }]) => {
      const isWaited = condition !== undefined && condition !== "service_started";
      return waveOf(other, [...path, name]) + (isWaited ? 1 : 0);
    });
    return Math.max(0, ...least);
  };
  for (const name of wanted) {
    const wave = waveOf(name);
    waves[wave] = [...(waves[wave] ?? []), name];
  }
  return waves;
}

/** The services that the file starts, that are on none of `networks`, and that depend on none that is. */
export function servicesApart(file: ComposeFile, networks: readonly string[]): string[] {
  const { services } = file;
  const isApart = (name: string, path: readonly string[] = []): boolean => {
    const { networks: own, depends_on: others } = services[name] ?? {};
    if (path.includes(name) || own === undefined || Object.keys(own).some((one) => networks.includes(one)))
      return false;
    return Object.keys(others ?? {}).every((other) => isApart(other, [...path, name]));
  };
  return startWaves(file)
    .flat()
    .filter((name) => isApart(name));
}
