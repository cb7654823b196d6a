/** What the demo tells: numbered steps, the commands that it runs, what came of them, and how long it took. */
import { plain } from "../../bundles/model/plain-text.ts";
import type { Terminal } from "../ui/terminal.ts";

export interface StepRecord {
  readonly title: string;
  seconds: number;
  readonly commands: string[];
  readonly facts: string[];
}

const WIDTH = 79;
const INDENT = "    ";
const PLAIN_INTERVAL_MS = 10_000;

export class Story {
  readonly steps: StepRecord[] = [];
  readonly #terminal: Terminal;
  readonly #started = performance.now();

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  get seconds(): number {
    return rounded(performance.now() - this.#started);
  }

  /** A paragraph. The prefix stands before its first line; the others begin below the text. */
  say(text: string, prefix = ""): void {
    for (const [i, line] of wrap(text, WIDTH - prefix.length).entries()) {
      this.#terminal.result(`${i === 0 ? prefix : " ".repeat(prefix.length)}${line}`);
    }
  }

  blank(): void {
    this.#terminal.result("");
  }

  async step<Value>(title: string, work: () => Promise<Value>): Promise<Value> {
    const record: StepRecord = { title, seconds: 0, commands: [], facts: [] };
    this.steps.push(record);
    const started = performance.now();
    this.blank();
    this.#terminal.result(`${String(this.steps.length).padStart(2)}  ${title}`);
    try {
      return await work();
    } finally {
      record.seconds = rounded(performance.now() - started);
      this.#terminal.result(`${INDENT}${"".padEnd(WIDTH - INDENT.length - 12, " ")}${timing(record.seconds)}`);
    }
  }

  /** Why, before it is done. */
  explain(text: string): void {
    this.say(text, INDENT);
  }

  command(words: readonly string[]): void {
    const line = words.map(shellWord).join(" ");
    this.steps.at(-1)?.commands.push(line);
    this.sayCommand(line, INDENT);
  }

  /** So that it can be copied: a line breaks only where a shell reads on. */
  sayCommand(line: string, indent: string): void {
    for (const [i, part] of wrapCommand(line, WIDTH - indent.length).entries()) {
      this.#terminal.result(`${indent}${i === 0 ? "$ " : "    "}${part}`);
    }
  }

  /** What came of it. */
  fact(text: string): void {
    this.steps.at(-1)?.facts.push(text);
    this.say(plain(text), `${INDENT}→ `);
  }

  /** While something goes on: moves in place on a terminal, and else says now and then that it still goes on. */
  working(): { readonly update: (detail: string) => void; readonly end: () => void } {
    const started = performance.now();
    let detail = "";
    const show = (): void => {
      const text = `${INDENT}… ${Math.round((performance.now() - started) / 1000)} s  ${plain(detail)}`;
      process.stderr.write(this.#terminal.live ? `\r\x1b[K${text.slice(0, WIDTH)}` : `${text.slice(0, WIDTH)}\n`);
    };
    const timer = setInterval(show, this.#terminal.live ? 1000 : PLAIN_INTERVAL_MS);
    return {
      update: (text) => {
        detail = text;
      },
      end: () => {
        clearInterval(timer);
        if (this.#terminal.live) process.stderr.write("\r\x1b[K");
      },
    };
  }
}

export function timing(seconds: number): string {
  return `${seconds.toFixed(1)} s`.padStart(12);
}

function rounded(milliseconds: number): number {
  return Math.round(milliseconds / 100) / 10;
}

/** As a POSIX shell reads it back. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Lines of at most `width` characters, where words allow it. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return line === "" ? lines : [...lines, line];
}

/** Options stay with their values. */
function wrapCommand(line: string, width: number): string[] {
  const lines: string[] = [];
  for (const part of line.split(/ (?=--)/)) {
    const last = lines.at(-1);
    // For the indent of the lines after the first, and the backslash.
    if (last !== undefined && last.length + 1 + part.length <= width - 6) lines[lines.length - 1] = `${last} ${part}`;
    else lines.push(part);
  }
  return lines.map((text, i) => (i < lines.length - 1 ? `${text} \\` : text));
}
