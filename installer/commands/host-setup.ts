import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { plain } from "../../bundles/model/plain-text.ts";
import { hostError } from "../host/error.ts";
import { executeSetup } from "../host/setup-execute.ts";
import { gatherSetupFacts } from "../host/setup-facts.ts";
import { planSetup, type SetupPlan, stepText } from "../host/setup-plan.ts";
import { confirm } from "../ui/confirm.ts";
import { type Command, type Invocation, optionalOption, positionals } from "./command.ts";

/** Only a kit has it. */
const KIT_ENGINES = fileURLToPath(new URL("../../engine", import.meta.url));

export const hostSetup: Command = {
  name: "host setup",
  summary: "install and start Docker Engine and Compose on Debian 12, Debian 13 or Ubuntu 24.04; asks first",
  usage: "[--engine-debs DIR] [--plan]",
  details: [
    "--engine-debs DIR  install from the .deb files in DIR and fetch nothing; a kit's own if it has them for this host",
    "--plan             say what would be done, change nothing",
    "--yes              do not ask",
    "An engine that is there and good enough is never touched. Run it again after a cut: it goes on.",
  ],
  options: { "engine-debs": { type: "string" }, plan: { type: "boolean" } },
  run: async (invocation) => {
    positionals(invocation, "host setup");
    const directory = await mkdtemp(join(tmpdir(), "sealift-docker-"));
    try {
      return await setUp(invocation, join(directory, "config"));
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
};

async function setUp(invocation: Invocation, configDirectory: string): Promise<number> {
  const { terminal } = invocation;
  const debs = optionalOption(invocation, "engine-debs");
  const plan = planSetup(
    await gatherSetupFacts({ configDirectory, kitEngines: KIT_ENGINES, ...(debs !== undefined && { debs }) }),
  );
  const onlyPlan = invocation.options["plan"] === true;
  const show = onlyPlan || plan.steps.length === 0 ? terminal.result : terminal.note;
  for (const line of planLines(plan)) show(plain(line));
  if (onlyPlan || plan.steps.length === 0) {
    terminal.document({ schemaVersion: 1, changed: false, ...plan });
    return 0;
  }
  if (!(await confirm(invocation, "host setup", "Do this now?"))) {
    throw hostError("HOST_SETUP_DECLINED", "not confirmed; nothing was changed");
  }
  let progress: ReturnType<typeof terminal.progress> | undefined;
  const engine = await executeSetup(plan, {
    configDirectory,
    onStep: (text) => {
      progress?.done();
      progress = terminal.progress(plain(text));
    },
  });
  progress?.done();
  const { version, store, storageDriver } = engine.facts;
  terminal.result(`Docker Engine ${version} runs (${store} image store, ${storageDriver}); next: sealift doctor`);
  terminal.document({ schemaVersion: 1, changed: true, ...plan, engine: engine.facts });
  return 0;
}

function planLines(plan: SetupPlan): string[] {
  const steps = plan.steps.flatMap((step, i) => [
    `${i + 1}. ${stepText(step)}`,
    ...(step.kind === "write-file"
      ? step.content
          .trimEnd()
          .split("\n")
          .map((line) => `     ${line}`)
      : []),
    ...(step.kind === "install-debs" ? step.debs.map((deb) => `     sha256:${deb.sha256}  ${deb.package}`) : []),
  ]);
  return [...steps, ...plan.notes.map((note) => `note: ${note}`)];
}
