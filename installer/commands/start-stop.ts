/** `start` and `stop`: the same release, running or not. They move the site nowhere, so they need no authorization. */
import type { Engine } from "../../compose/engine/engine.ts";
import { upProject } from "../../compose/engine/project.ts";
import { requireCarriedFiles } from "../lifecycle/carried-files.ts";
import { baseProject, colourProject } from "../lifecycle/deploy-context.ts";
import { requireInstalled } from "../lifecycle/deploy-plan.ts";
import { endReported } from "../lifecycle/end-reported.ts";
import { appendEntry } from "../lifecycle/ledger.ts";
import { mendFiles } from "../lifecycle/mend-files.ts";
import { renderedFile } from "../lifecycle/rendered-file.ts";
import { requireSecretsHere } from "../lifecycle/secrets-here.ts";
import { openSite, type Site } from "../lifecycle/site.ts";
import { withStoredRelease } from "../lifecycle/stored-release.ts";
import { type Deployment, readDeployments } from "../site/deployment.ts";
import type { Progress } from "../ui/terminal.ts";
import { type Command, positionals } from "./command.ts";
import { withSiteEngine } from "./site-engine.ts";
import { STATE_OPTION, stateDirectory, withSite } from "./site-options.ts";

const WAIT_SECONDS = 180;
/** What requests that are open get to end. */
const STOP_SECONDS = 75;

interface Verb {
  readonly name: "start" | "stop";
  readonly summary: string;
  readonly progress: string;
  /** As the ledger calls what happened. */
  readonly event: "started" | "stopped";
  /** What it would do, for a person. */
  readonly plan: (current: Deployment) => readonly string[];
  readonly act: (
    site: Site,
    engine: Engine,
    current: Deployment,
    progress: Progress,
    note: (line: string) => void,
  ) => Promise<void>;
}

function command({ name, summary, progress: what, event, plan, act }: Verb): Command {
  return {
    name,
    summary,
    usage: "[--plan] [--state DIR]",
    details: [
      "--plan      say what would happen, and change nothing",
      "Needs root and no operator: it moves the site nowhere.",
    ],
    options: { plan: { type: "boolean" }, ...STATE_OPTION },
    run: async (invocation) => {
      positionals(invocation, name);
      const { terminal } = invocation;
      if (invocation.options["plan"] === true) {
        const current = requireInstalled(readDeployments(openSite(stateDirectory(invocation)).paths));
        const lines = plan(current);
        for (const line of lines) terminal.result(`  - ${line}`);
        terminal.document({ plan: { action: name, details: lines }, current });
        return 0;
      }
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
  plan: ({ appliance, version, colour }) => [
    `the base services of ${appliance} ${version}, then those in ${colour}, as they were rendered and authorized`,
    "a file of the site's state that was changed or lost is written anew from the site's store",
    "what runs already goes on",
  ],
  act: async (site, engine, current, progress, note) => {
    for (const path of await mendFiles(site)) note(`note: ${path} was changed or missing, and is written anew`);
    renderedFile(site, current, "base");
    renderedFile(site, current, "containers");
    await withStoredRelease(site.paths, current.release, (parts) => {
      requireSecretsHere(site, parts.rules.secrets);
      return requireCarriedFiles(site.paths, parts);
    });
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
  plan: ({ appliance, version, colour }) => [
    `${appliance} ${version} in ${colour} ends; requests that are open get ${STOP_SECONDS} s, then the base services end`,
    "clients get no answer until sealift start; containers, images and data stay",
  ],
  act: async (site, engine, current, progress, note) => {
    const report = { detail: (text: string) => progress.update(text), remark: (text: string) => note(`note: ${text}`) };
    for (const project of [colourProject(site, current), baseProject(site, current)]) {
      await endReported(report, engine, project, STOP_SECONDS);
    }
  },
});
