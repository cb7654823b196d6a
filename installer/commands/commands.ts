/** Every verb, in the order in which `sealift help` lists them. Each is loaded only when it is called. */
import type { Command } from "./command.ts";

type Loader = () => Promise<Command>;

export const commands: ReadonlyMap<string, Loader> = new Map<string, Loader>([]);
