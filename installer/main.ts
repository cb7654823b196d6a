/** `sealift`: from arguments to one verb, and from any error to its line and exit code. */
import { plainJson } from "../bundles/model/plain-text.ts";
import { reasonOf, SealiftError } from "../bundles/model/sealift-error.ts";
import type { Command, OptionValue } from "./commands/command.ts";
import { usageError } from "./commands/command.ts";
import { commands } from "./commands/commands.ts";
import { installerError } from "./error.ts";
import { createTerminal, errorLines, hintsOf } from "./ui/terminal.ts";

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

async function parse(
  command: Command,
  rest: readonly string[],
): Promise<{ values: Record<string, OptionValue>; positionals: string[] }> {
  const options = { ...GLOBAL_OPTIONS, ...command.options };
  try {
    return parseArgs({ args: [...rest], options, allowPositionals: true, strict: true }) as {
      values: Record<string, OptionValue>;
      positionals: string[];
    };
  } catch (cause) {
    // Node's own text is one sentence and may go on with advice about "--"; the first sentence is ours to show.
    const [problem = ""] = reasonOf(cause).split(/\.\s/);
    const [, unknown] = /^Unknown option '--([^'=]+)/.exec(problem) ?? [];
    const { nearest } = await import("./commands/help.ts");
    const near = unknown === undefined ? undefined : nearest(unknown, Object.keys(options));
    throw usageError(command.name, near === undefined ? problem : `${problem}; the nearest is --${near}`);
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
    await (await import("./commands/help.ts")).printHelp(others);
    return first === undefined ? 2 : 0;
  }
  const verb = findVerb(argv);
  if (!verb) {
    const { printHelp, unknownVerb } = await import("./commands/help.ts");
    if (!others.includes("--help") && !others.includes("-h")) throw unknownVerb(argv);
    await printHelp(argv);
    return 0;
  }
  const command = await (commands.get(verb.name) as () => Promise<Command>)();
  const { values, positionals } = await parse(command, verb.rest);
  if (values["help"]) {
    const { printHelp } = await import("./commands/help.ts");
    await printHelp([...verb.name.split(" "), ...(values["json"] ? ["--json"] : [])]);
    return 0;
  }
  mayChange = "plan" in command.options && values["plan"] !== true;
  const terminal = createTerminal({ json: values["json"] === true });
  return command.run({ args: positionals, options: values, terminal });
}

/** The verb changes what lies elsewhere, so its exit code must not say that nothing was changed. */
let mayChange = false;
/** Why not all that was said could be written. */
let lost: NodeJS.ErrnoException | undefined;

// Whoever reads our output may stop (`sealift status | head`), a terminal may go away (EIO), the disk of the file
// that it goes to may be full: none of it is a defect, and none must end an operation half-way. SIGHUP says it to
// those who care; what a file lacks is told at the end.
onceOpened("stdout", (cause) => {
  if (cause.code !== "EPIPE" && cause.code !== "EIO") lost ??= cause;
});
onceOpened("stderr", () => undefined);
process.on("exit", () => {
  if (!lost) return;
  const error = installerError("OUTPUT_WRITE_FAILED", `not all of the output could be written: ${reasonOf(lost)}`, {
    cause: lost,
    hints: mayChange
      ? ["what was to be changed is changed or not as the exit code says; sealift status tells what runs"]
      : ["make room, or send the output elsewhere, and run it again"],
  });
  process.stderr.write(`${errorLines(error).join("\n")}\n`);
  if (process.exitCode === 0 && !mayChange) process.exitCode = error.exit;
});

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (cause) {
  const { STOPPED_EXIT, Stopped } = await import("./ui/stopped.ts");
  if (cause instanceof Stopped) {
    process.stderr.write(`${cause.message}\n`);
    process.exitCode = STOPPED_EXIT;
  } else {
    process.exitCode = report(cause);
  }
}

/** Listens to a stream's errors from when it is first asked for, by whomever: most verbs need one, and each takes 2 ms. */
function onceOpened(name: "stdout" | "stderr", onError: (cause: NodeJS.ErrnoException) => void): void {
  const { get: open } = Object.getOwnPropertyDescriptor(process, name) as { get: () => NodeJS.WriteStream };
  let opened: NodeJS.WriteStream | undefined;
  Object.defineProperty(process, name, {
    configurable: true,
    enumerable: true,
    get: () => {
      opened ??= open.call(process).on("error", onError);
      return opened;
    },
  });
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
    process.stdout.write(
      `${plainJson({ error: { code: error.code, message: error.message, hints: hintsOf(error) } })}\n`,
    );
  }
  process.stderr.write(`${errorLines(error).join("\n")}\n`);
  return error.exit;
}
