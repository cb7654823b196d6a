/** A yes or no of the person at the terminal. */
import type { Invocation } from "../commands/command.ts";
import { usageError } from "../commands/command.ts";
import { askYes } from "./ask.ts";

/**
 * True if the person agreed, or had said --yes.
 * @throws USAGE if nobody is there to ask
 * @throws Stopped if the person ends it instead of answering
 */
export async function confirm(invocation: Invocation, command: string, question: string): Promise<boolean> {
  if (invocation.options["yes"] === true) return true;
  if (!invocation.terminal.interactive) {
    throw usageError(command, "there is no terminal to ask at; read --plan, then say --yes");
  }
  return askYes(question);
}
