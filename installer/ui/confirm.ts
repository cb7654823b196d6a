/** A yes or no of the person at the terminal. */
import { createInterface } from "node:readline/promises";
import type { Invocation } from "../commands/command.ts";
import { usageError } from "../commands/command.ts";

/**
 * True if the person agreed, or had said --yes. Anything but y or yes is no.
 * @throws USAGE if nobody is there to ask
 */
export async function confirm(invocation: Invocation, command: string, question: string): Promise<boolean> {
  if (invocation.options["yes"] === true) return true;
  if (!invocation.terminal.interactive) {
    throw usageError(command, "there is no terminal to ask at; read --plan, then say --yes");
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(?:es)?$/i.test((await prompt.question(`${question} [y/N] `)).trim());
  } finally {
    prompt.close();
  }
}
