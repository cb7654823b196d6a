/** Runs a verb within this process, as the command line does after it has read the arguments. */
import assert from "node:assert/strict";
import type { Command, OptionValue } from "../../installer/commands/command.ts";
import type { Terminal } from "../../installer/ui/terminal.ts";

export interface VerbResult {
  readonly exit: number;
  /** Results and notes, in the order in which a person sees them. */
  readonly lines: readonly string[];
  /** What `--json` prints. */
  readonly document: Record<string, unknown>;
}

/** A verb that comes to an end has one document. @throws what the verb throws */
export async function runVerb(
  command: Command,
  args: readonly string[],
  options: Readonly<Record<string, OptionValue>> = {},
): Promise<VerbResult> {
  const lines: string[] = [];
  const documents: Record<string, unknown>[] = [];
  const terminal: Terminal = {
    json: false,
    interactive: false,
    live: false,
    result: (line) => void lines.push(line),
    document: (value) => void documents.push(value as Record<string, unknown>),
    note: (line) => void lines.push(line),
    paragraph: () => {},
    progress: () => ({ update: () => {}, done: () => {} }),
  };
  const exit = await command.run({ args, options, terminal });
  const [document, ...more] = documents;
  assert.ok(document && more.length === 0, `${command.name}: got ${documents.length} documents, want 1`);
  return { exit, lines, document };
}
