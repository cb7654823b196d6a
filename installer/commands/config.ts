import { readFile } from "node:fs/promises";
import { plain, plainJson } from "../../bundles/model/plain-text.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeOver } from "../host/write-new.ts";
import { planConfig, requireInstalled } from "../lifecycle/deploy-plan.ts";
import { configOf } from "../lifecycle/deployed-config.ts";
import { openSite } from "../lifecycle/site.ts";
import { withStoredRelease } from "../lifecycle/stored-release.ts";
import { CONFIG_MAX_BYTES, type Config, completeConfig, configMembers, parseConfigFile } from "../site/config.ts";
import { readDeployments } from "../site/deployment.ts";
import { type Command, positionals, usageError } from "./command.ts";
import { carryOut, DEPLOY_DETAILS, DEPLOY_OPTIONS, storedBundle, withPrepared } from "./deploy-verb.ts";
import { RECORDS_DETAIL, RECORDS_OPTION } from "./records-option.ts";
import { STATE_OPTION, stateDirectory, withSite } from "./site-options.ts";

export const configShow: Command = {
  name: "config show",
  summary: "the site's configuration, as a file that `config apply` takes",
  usage: "[--state DIR]",
  options: STATE_OPTION,
  run: async (invocation) => {
    positionals(invocation, "config show");
    const { terminal } = invocation;
    const site = openSite(stateDirectory(invocation));
    const config = configOf(site, requireInstalled(readDeployments(site.paths)));
    terminal.result(plainJson(config));
    terminal.document(config);
    return 0;
  },
};

export const configSet: Command = {
  name: "config set",
  summary: "change members in a configuration file; the site changes with `config apply`",
  usage: "NAME=VALUE… --file FILE [--state DIR]",
  details: [
    "--file FILE           made from the site's configuration if it is not there",
    "VALUE is JSON where the schema wants no text: config set clientPort=8443 --file site.yaml",
  ],
  options: { file: { type: "string" }, ...STATE_OPTION },
  run: async (invocation) => {
    const name = "config set";
    const file = invocation.options["file"];
    if (typeof file !== "string") throw usageError(name, "--file is missing");
    if (invocation.args.length === 0) throw usageError(name, "NAME=VALUE is missing");
    const { terminal } = invocation;
    const site = openSite(stateDirectory(invocation));
    const current = requireInstalled(readDeployments(site.paths));
    const before = await fileOrSite(file, () => configOf(site, current));
    const config = await withStoredRelease(site.paths, current.release, async ({ configSchema }) => {
      const changed: Record<string, unknown> = { ...before };
      for (const text of invocation.args) {
        const [, key = "", value = ""] = /^([A-Za-z][A-Za-z0-9]*)=([\s\S]*)$/.exec(text) ?? [];
        const member = configMembers(configSchema).find((one) => one.name === key);
        if (!member) throw usageError(name, `got ${JSON.stringify(text)}, want NAME=VALUE of a member of the schema`);
        changed[key] = member.schema["type"] === "string" ? value : parseValue(value);
      }
      return completeConfig(configSchema, changed);
    });
    await writeOver(file, `${JSON.stringify(config, null, 2)}\n`);
    terminal.result(`Next: sealift config apply ${plain(file)}`);
    terminal.document(config);
    return 0;
  },
};

export const configApply: Command = {
  name: "config apply",
  summary: "run the installed release with another configuration",
  usage: "FILE --key K | --request FILE --authorization FILE.sig… [--plan] [--state DIR]",
  details: [RECORDS_DETAIL, ...DEPLOY_DETAILS],
  options: { ...RECORDS_OPTION, ...DEPLOY_OPTIONS },
  run: async (invocation) => {
    const [file = ""] = positionals(invocation, "config apply", "FILE");
    const config = parseConfigFile(await readBoundedFile(file, CONFIG_MAX_BYTES), file);
    return withSite(invocation, "config apply", async (site) => {
      const current = requireInstalled(readDeployments(site.paths));
      const code = await withPrepared(invocation, site, storedBundle(site, current.release), async (prepared) =>
        carryOut(invocation, "config apply", site, prepared, planConfig(prepared.facts, prepared.next, config)),
      );
      return code ?? 3;
    });
  },
};

async function fileOrSite(file: string, site: () => Config): Promise<Config> {
  try {
    return parseConfigFile(await readFile(file), file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return site();
    throw cause;
  }
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
