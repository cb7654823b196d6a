/** `sealift`: from arguments to one verb, and from any error to its line and exit code. The only process.exit. */
import { parseArgs } from "node:util";
import { plainJson } from "../bundles/model/plain-text.ts";
import { reasonOf, SealiftError } from "../bundles/model/sealift-error.ts";
import type { Command, OptionValue } from "./commands/command.ts";
import { usageError } from "./commands/command.ts";
import { commands } from "./commands/commands.ts";
import { installerError } from "./error.ts";
import { sealiftVersion } from "./host/this-host.ts";
import { STOPPED_EXIT, Stopped } from "./ui/stopped.ts";
import { createTerminal, errorLines } from "./ui/terminal.ts";

const GLOBAL_OPTIONS = {
  json: { type: "boolean" },
  "no-color": { type: "boolean" },
  yes: { type: "boolean" },
  help: { type: "boolean", short: "h" },
} as const;

/** The verb that the first one or two words name, and the arguments after it. */
function findVerb(argv: readonly string[]): { name: string; rest: readonly string[] } | undefined {
  for (const words of [2, 1]) {
    const name = argv.slice(0, words).join(" ");
    if (argv.length >= words && commands.has(name)) return { name, rest: argv.slice(words) };
  }
  return undefined;
}

async function helpText(topic: readonly string[]): Promise<string> {
  const name = topic.join(" ");
  const load = commands.get(name);
  if (load) {
    const command = await load();
    return [
      `sealift ${command.name} ${command.usage}`,
      "",
      command.summary,
      ...(command.details ?? []).map((line) => `  ${line}`),
    ].join("\n");
  }
  const all = await Promise.all([...commands].filter(([verb]) => verb.startsWith(name)).map(([, loader]) => loader()));
  if (all.length === 0) throw usageError("help", `there is no verb ${JSON.stringify(name)}`);
  const width = Math.max(...all.map((command) => command.name.length));
  return [
    "sealift VERB [ARGUMENTS] [--json] [--no-color] [--yes]",
    "",
    ...all.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    "",
    "sealift help VERB explains one verb; runbooks/ has the procedures; runbooks/errors.md has every error.",
  ].join("\n");
}

function parse(
  command: Command,
  rest: readonly string[],
): { values: Record<string, OptionValue>; positionals: string[] } {
  try {
    const options = { ...GLOBAL_OPTIONS, ...command.options };
    return parseArgs({ args: [...rest], options, allowPositionals: true, strict: true }) as {
      values: Record<string, OptionValue>;
      positionals: string[];
    };
  } catch (cause) {
    // Node's own text is one sentence and may go on with advice about "--"; the first sentence is ours to show.
    throw usageError(command.name, reasonOf(cause).split(". ")[0] as string);
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const [first, ...others] = argv;
  if (first === "--version" || first === "version") {
    process.stdout.write(`sealift ${sealiftVersion()}\n`);
    return 0;
  }
  if (first === undefined || first === "help" || first === "--help" || first === "-h") {
    process.stdout.write(`${await helpText(others)}\n`);
    return first === undefined ? 2 : 0;
  }
  const verb = findVerb(argv);
  if (!verb) throw installerError("USAGE", `there is no verb ${JSON.stringify(first)}`, { hints: ["sealift help"] });
  const command = await (commands.get(verb.name) as () => Promise<Command>)();
  const { values, positionals } = parse(command, verb.rest);
  if (values["help"]) {
    process.stdout.write(`${await helpText([verb.name])}\n`);
    return 0;
  }
  // The libraries that draw prompts and progress look there.
  if (values["no-color"]) process.env["NO_COLOR"] = "1";
  const color = !process.env["NO_COLOR"];
  const terminal = createTerminal({ json: values["json"] === true, color });
  return command.run({ args: positionals, options: values, terminal });
}

// Whoever reads our output may stop (`sealift status | head`), and a terminal may go away (EIO): that is no
// defect, and must not end an operation half-way. SIGHUP says it to those who care.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (cause: NodeJS.ErrnoException) => {
    if (cause.code !== "EPIPE" && cause.code !== "EIO") throw cause;
  });
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (cause) {
  if (cause instanceof Stopped) {
    process.stderr.write(`${cause.message}\n`);
    process.exitCode = STOPPED_EXIT;
  } else {
    process.exitCode = report(cause);
  }
}

/** Prints the error and returns its exit code. */
function report(cause: unknown): number {
  const error =
    cause instanceof SealiftError
      ? cause
      : installerError("INTERNAL", `unexpected: ${reasonOf(cause)}`, {
          cause,
          hints: ["this is a defect in Sealift; please report it with the lines above"],
        });
  if (error.code === "INTERNAL" && cause instanceof Error) process.stderr.write(`${cause.stack ?? ""}\n`);
  if (process.argv.includes("--json")) {
    process.stdout.write(`${plainJson({ error: { code: error.code, message: error.message, hints: error.hints } })}\n`);
  }
  process.stderr.write(`${errorLines(error).join("\n")}\n`);
  return error.exit;
}
