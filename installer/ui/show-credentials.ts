/** The first credentials of a site: shown once, and kept nowhere. */
import { plain } from "../../bundles/model/plain-text.ts";
import { askToGoOn } from "./ask.ts";
import { Stopped } from "./stopped.ts";
import type { Terminal } from "./terminal.ts";

/** As a result; a person at a terminal says that they have them before the screen moves on. */
export async function showCredentials(terminal: Terminal, credentials: readonly string[]): Promise<void> {
  if (credentials.length === 0) return;
  terminal.result("");
  terminal.result("First credentials, shown once and kept nowhere:");
  for (const line of credentials.flatMap(linesOf)) terminal.result(`  ${plain(line)}`);
  terminal.result("");
  if (!terminal.interactive || terminal.json) return;
  try {
    await askToGoOn("Keep them in a safe place, then press Enter.");
  } catch (cause) {
    // Everything is done: whoever presses Ctrl-C here has seen them too.
    if (!(cause instanceof Stopped)) throw cause;
  }
}

/** Members of a JSON object a line each, anything else as it is. */
function linesOf(text: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text.split("\n");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [text];
  return Object.entries(value).map(([name, one]) => `${name}: ${typeof one === "string" ? one : JSON.stringify(one)}`);
}
