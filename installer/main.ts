/** `sealift`: from arguments to one verb, and from any error to its line and exit code. The only process.exit. */
import { plainJson } from "../bundles/model/plain-text.ts";
import { reasonOf, SealiftError } from "../bundles/model/sealift-error.ts";
import type { Command, OptionValue } from "./commands/command.ts";
import { usageError } from "./commands/command.ts";
import { commands } from "./commands/commands.ts";
import { installerError } from "./error.ts";
import { STOPPED_EXIT, Stopped } from "./ui/stopped.ts";
import { createTerminal, errorLines } from "./ui/terminal.ts";
import { wrapped } from "./ui/wrapped.ts";

// An import would evaluate every member of the module, and MIMEType takes longer to load than main.ts.
const { parseArgs } = process.getBuiltinModule("node:util");

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

/** Explains a verb, or lists the verbs that begin with a word, or all. @throws USAGE if there is none */
async function printHelp(words: readonly string[]): Promise<void> {
  const topic = words.filter((word) => !word.startsWith("-")).join(" ");
  const isMeant = (verb: string): boolean => topic === "" || verb === topic || verb.startsWith(`${topic} `);
  const meant = await Promise.all([...commands].filter(([verb]) => isMeant(verb)).map(([, load]) => load()));
  if (meant.length === 0) throw noVerb(topic, "sealift help");
  if (words.includes("--json")) {
    const verbs = meant.map(({ name, summary, usage, details = [] }) => ({ name, summary, usage, details }));
    process.stdout.write(`${plainJson({ verbs })}\n`);
    return;
  }
  const [only] = meant;
  const lines = meant.length === 1 && only?.name === topic ? explained(only) : listed(meant);
  const { isTTY, columns } = process.stdout;
  const fitting = isTTY ? lines.flatMap((line) => wrapped(line, (columns || 80) - 1)) : lines;
  process.stdout.write(`${fitting.join("\n")}\n`);
}

function explained({ name, usage, summary, details = [] }: Command): string[] {
  return [`sealift ${name} ${usage}`.trimEnd(), "", summary, ...details.map((line) => `  ${line}`.trimEnd())];
}

function listed(verbs: readonly Command[]): string[] {
  const width = Math.max(...verbs.map(({ name }) => name.length));
  return [
    "sealift VERB [ARGUMENTS] [--json] [--no-color] [--yes]",
    "",
    ...verbs.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    "sealift help VERB explains one verb; runbooks/ has the procedures; runbooks/errors.md has every error.",
  ];
}

function noVerb(words: string, hint: string): Error {
  return installerError("USAGE", `there is no verb ${JSON.stringify(words)}`, { hints: [hint] });
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
  // The libraries that draw prompts and progress look there, some of them when they are loaded.
  if (argv.includes("--no-color")) process.env["NO_COLOR"] = "1";
  if (first === "--version" || first === "version") {
    const { sealiftVersion } = await import("./host/this-host.ts");
    const version = sealiftVersion();
    process.stdout.write(others.includes("--json") ? `${plainJson({ version })}\n` : `sealift ${version}\n`);
    return 0;
  }
  if (first === undefined || first === "help" || first === "--help" || first === "-h") {
    await printHelp(others);
    return first === undefined ? 2 : 0;
  }
  const verb = findVerb(argv);
  if (!verb) {
    const isGroup = [...commands.keys()].some((name) => name.startsWith(`${first} `));
    if (!isGroup) throw noVerb(first, "sealift help");
    if (!others.includes("--help") && !others.includes("-h"))
      throw noVerb(
        [first, ...others.slice(0, 1).filter((word) => !word.startsWith("-"))].join(" "),
        `sealift help ${first}`,
      );
    await printHelp(argv);
    return 0;
  }
  const command = await (commands.get(verb.name) as () => Promise<Command>)();
  const { values, positionals } = parse(command, verb.rest);
  if (values["help"]) {
    await printHelp([verb.name, ...(values["json"] ? ["--json"] : [])]);
    return 0;
  }
  const terminal = createTerminal({ json: values["json"] === true });
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
