import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { plain } from "../../bundles/model/plain-text.ts";
import { dockerCall } from "../../compose/engine/engine.ts";
import { siteContainers } from "../../compose/engine/project.ts";
import { openSite } from "../lifecycle/site.ts";
import { type Command, type Invocation, optionalOption, usageError } from "./command.ts";
import { withSiteEngine } from "./site-engine.ts";
import { STATE_OPTION, stateDirectory } from "./site-options.ts";

const NAME = "logs";
const DEFAULT_TAIL = "200";

export const logs: Command = {
  name: NAME,
  summary: "what the containers of this site wrote",
  usage: "[SERVICE] [--tail N] [--follow] [--state DIR]",
  details: [
    "SERVICE               only this one; every service if absent",
    `--tail N              the last N lines of each (default ${DEFAULT_TAIL})`,
    "--follow              go on until Ctrl-C",
  ],
  options: { tail: { type: "string" }, follow: { type: "boolean" }, ...STATE_OPTION },
  run: async (invocation) => {
    const [service, ...more] = invocation.args;
    if (more.length > 0) throw usageError(NAME, `unexpected argument ${JSON.stringify(more[0])}`);
    const tail = optionalOption(invocation, "tail") ?? DEFAULT_TAIL;
    if (!/^[0-9]{1,7}$/.test(tail)) throw usageError(NAME, `--tail: got ${JSON.stringify(tail)}, want a number`);
    const site = openSite(stateDirectory(invocation));
    return withSiteEngine(site, async (engine) => {
      const all = await siteContainers(engine, site.siteId);
      const found = service === undefined ? all : all.filter((one) => one.service === service);
      if (found.length === 0) {
        const names = [...new Set(all.map((one) => one.service))].join(", ");
        throw usageError(NAME, service === undefined ? "no container of this site is here" : `want one of ${names}`);
      }
      const args = ["logs", "--timestamps", "--tail", tail, ...(invocation.options["follow"] ? ["--follow"] : [])];
      await Promise.all(
        found.map(({ id, service: name }) => copyLines(invocation, name, dockerCall(engine, [...args, id]))),
      );
      return 0;
    });
  },
};

/** Lines come from whatever runs in the container: they are made harmless for the terminal. */
async function copyLines(
  { terminal }: Invocation,
  name: string,
  { file, args, env }: ReturnType<typeof dockerCall>,
): Promise<void> {
  const child = spawn(file, args, { env: { ...env }, stdio: ["ignore", "pipe", "pipe"] });
  const copy = async (input: NodeJS.ReadableStream): Promise<void> => {
    for await (const line of createInterface({ input })) {
      if (terminal.json) process.stdout.write(`${JSON.stringify({ service: name, line: plain(line) })}\n`);
      else terminal.result(`${name}  ${plain(line)}`);
    }
  };
  await Promise.all([copy(child.stdout), copy(child.stderr)]);
}
