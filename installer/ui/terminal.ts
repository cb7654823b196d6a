/**
 * Where a verb's output goes (CLI.md "Rules for every verb"): results to stdout, progress and messages
 * to stderr; with --json one document on stdout and nothing else there. Text that comes from a bundle
 * passes through `plain`, so that no file can move the cursor or colour a lie; and whatever a verb forgot, here.
 */
import { plain, plainJson, plainLines } from "../../bundles/model/plain-text.ts";
import type { SealiftError } from "../../bundles/model/sealift-error.ts";

export interface Terminal {
  readonly json: boolean;
  /** A person is at both ends: prompts and moving progress are allowed. */
  readonly interactive: boolean;
  /** Progress may move in place on stderr. */
  readonly live: boolean;
  /** A line of the result; silent with --json. */
  result(line: string): void;
  /** The result document; silent without --json. */
  document(value: unknown): void;
  /** A line for the person, on stderr. */
  note(line: string): void;
  /** The same, broken between words where a terminal is narrower. */
  paragraph(line: string): void;
  /** Starts a task that may take over a second; moves in place on a TTY, and else says where it is now and then. */
  progress(what: string): Progress;
}

export interface Progress {
  /** `detail` as in "412 of 980 MB". */
  update(detail: string): void;
  done(detail?: string): void;
}

/** What to type next; of an error that does not say it, what explains its code. */
export function hintsOf({ code, hints }: SealiftError): readonly string[] {
  return hints.length > 0 ? hints : [`sealift help ${code}`];
}

export function errorLines(error: SealiftError): string[] {
  return [
    `sealift: error [${error.code}]: ${plain(error.message)}`,
    ...hintsOf(error).map((hint) => `  hint: ${plain(hint)}`),
  ];
}

const PLAIN_INTERVAL_MS = 5_000;
const LIVE_INTERVAL_MS = 100;

export function createTerminal(options: { readonly json: boolean }): Terminal {
  // Each stream late: to look at one opens it, which takes time and is not always needed.
  return {
    json: options.json,
    get interactive() {
      return this.live && Boolean(process.stdin.isTTY);
    },
    get live() {
      return Boolean(process.stderr.isTTY);
    },
    result: (line) => {
      if (!options.json) process.stdout.write(`${plainLines(line)}\n`);
    },
    document: (value) => {
      if (options.json) process.stdout.write(`${plainJson(value)}\n`);
    },
    note: (line) => {
      process.stderr.write(`${plainLines(line)}\n`);
    },
    paragraph: (line) => {
      const { stderr } = process;
      for (const part of stderr.isTTY ? wrapped(line, (stderr.columns || 80) - 1) : [line])
        stderr.write(`${plainLines(part)}\n`);
    },
    progress: (what) => {
      const { stderr } = process;
      const live = Boolean(stderr.isTTY);
      let last = Date.now();
      const started = last;
      return {
        update: (detail) => {
          const now = Date.now();
          if (now - last < (live ? LIVE_INTERVAL_MS : PLAIN_INTERVAL_MS)) return;
          last = now;
          const line = `${what}: ${plain(detail)}`;
          // A line that wraps cannot be written over.
          stderr.write(live ? `\r\x1b[K${line.slice(0, (stderr.columns || 80) - 1)}` : `${line}\n`);
        },
        done: (detail) => {
          const seconds = ((Date.now() - started) / 1000).toFixed(1);
          stderr.write(`${live ? "\r\x1b[K" : ""}${what}: ${plain(detail ?? "done")} (${seconds} s)\n`);
        },
      };
    },
  };
}

const WIDTH_MIN = 40;
/** Blanks, then a bullet or a label in its column. */
const START = /^ *(?:- |\S+(?: \S+)* {2,})?/;

/**
 * `line` in parts of at most `width` characters; those after the first start where its text starts. A word
 * that is longer, as a digest may be, gets a line of its own and stays whole, so that it can be copied.
 */
export function wrapped(line: string, width: number): string[] {
  const [start = ""] = START.exec(line) ?? [];
  const isLabelled = start.trim() !== "";
  const indent = " ".repeat(isLabelled ? start.length : start.length + 2);
  const limit = Math.max(width, WIDTH_MIN);
  const lines: string[] = [];
  let current = start;
  for (const word of line.slice(start.length).split(/(?<=\S)(?= )/)) {
    const isFirst = current === start;
    if ((current + word).length <= limit || (isFirst && !isLabelled)) {
      current += word;
    } else {
      lines.push(current.trimEnd());
      const isLong = indent.length + word.length > limit;
      current = (isLong ? "    " : indent) + word.trimStart();
    }
  }
  return [...lines, current];
}
