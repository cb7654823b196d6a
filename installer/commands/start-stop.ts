/** `start` and `stop`: the same release, running or not. They move the site nowhere, so they need no authorization. */
import type { Engine } from "../../compose/engine/engine.ts";
import { upProject } from "../../compose/engine/project.ts";
import { requireCarriedFiles } from "../lifecycle/carried-files.ts";
import { baseProject, colourProject } from "../lifecycle/deploy-context.ts";
import { requireInstalled } from "../lifecycle/deploy-plan.ts";
import { renderedFile } from "../lifecycle/deploy-steps.ts";
import { endReported } from "../lifecycle/end-reported.ts";
import { appendEntry } from "../lifecycle/ledger.ts";
import { mendFiles } from "../lifecycle/mend-files.ts";
import type { Site } from "../lifecycle/site.ts";
import { withStoredRelease } from "../lifecycle/stored-release.ts";
import { type Deployment, readDeployments } from "../site/deployment.ts";
import type { Progress } from "../ui/terminal.ts";
import { type Command, positionals } from "./command.ts";
import { withSiteEngine } from "./site-engine.ts";
import { STATE_OPTION, withSite } from "./site-options.ts";

const WAIT_SECONDS = 180;
/** What requests that are open get to end. */
const STOP_SECONDS = 75;

interface Verb {
  readonly name: "start" | "stop";
  readonly summary: string;
  readonly progress: string;
  /** As the ledger calls what happened. */
  readonly event: "started" | "stopped";
  readonly act: (
    site: Site,
    engine: Engine,
    current: Deployment,
    progress: Progress,
    note: (line: string) => void,
  ) => Promise<void>;
}

function command({ name, summary, progress: what, event, act }: Verb): Command {
  return {
    name,
    summary,
    usage: "[--state DIR]",
    options: STATE_OPTION,
    run: async (invocation) => {
      positionals(invocation, name);
      const { terminal } = invocation;
      return withSite(invocation, name, async (site) => {
        const current = requireInstalled(readDeployments(site.paths));
        const progress = terminal.progress(what);
        await withSiteEngine(site, (engine) => act(site, engine, current, progress, terminal.note));
        progress.done();
        appendEntry(site.disk, site.paths.ledger, event, { release: current.release }, site.clock());
        terminal.result(`${current.appliance} ${current.version} ${event}`);
        terminal.document({ [event]: current });
        return 0;
      });
    },
  };
}

export const start: Command = command({
  name: "start",
  summary: "start what is installed, as it was rendered and authorized",
  progress: "starting",
  event: "started",
  act: async (site, engine, current, progress, note) => {
    for (const path of await mendFiles(site)) note(`note: ${path} was changed or missing, and is written anew`);
    renderedFile(site, current, "base");
    renderedFile(site, current, "containers");
    await withStoredRelease(site.paths, current.release, (parts) => requireCarriedFiles(site.paths, parts));
    const run = { onLine: (line: string) => progress.update(line) };
    await upProject(engine, baseProject(site, current), WAIT_SECONDS, run);
    await upProject(engine, colourProject(site, current), WAIT_SECONDS, run);
  },
});

export const stop: Command = command({
  name: "stop",
  summary: "stop everything that runs here; containers and data stay",
  progress: "stopping",
  event: "stopped",
  act: async (site, engine, current, progress, note) => {
    const report = { detail: (text: string) => progress.update(text), remark: (text: string) => note(`note: ${text}`) };
    for (const project of [colourProject(site, current), baseProject(site, current)]) {
      await endReported(report, engine, project, STOP_SECONDS);
    }
  },
});
