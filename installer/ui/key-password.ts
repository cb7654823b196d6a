/** The password of a signing key: from the variable that was named, or from a person, never from an argument. */
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { signError } from "../../bundles/sign/error.ts";
import { type Invocation, optionalOption } from "../commands/command.ts";

/**
 * `--password-env VAR`, else COSIGN_PASSWORD, which cosign's own users have set, else asked for on a
 * terminal. `twice` asks again, for a new key. @throws KEY_PASSWORD_MISSING
 */
export async function keyPassword(invocation: Invocation, what: string, twice = false): Promise<string> {
  const variable = optionalOption(invocation, "password-env");
  const value = process.env[variable ?? "COSIGN_PASSWORD"];
  if (value !== undefined) return value;
  if (variable !== undefined || !invocation.terminal.interactive) {
    throw signError("KEY_PASSWORD_MISSING", `password of ${what}: ${variable ?? "COSIGN_PASSWORD"} is not set`, {
      hints: ["name an environment variable that holds it with --password-env VAR, or run this on a terminal"],
    });
  }
  const first = await ask(`Password for ${what}: `);
  if (twice && first !== (await ask("The same again: "))) {
    throw signError("KEY_PASSWORD_MISSING", "the two passwords are not the same", {
      hints: ["nothing was written; try again"],
    });
  }
  return first;
}

/** Reads a line from the terminal without showing it. Ctrl-C ends the process as it does everywhere; Ctrl-D is no password. */
async function ask(question: string): Promise<string> {
  process.stderr.write(question);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true });
  try {
    return await new Promise<string>((resolve, reject) => {
      // readline's raw mode takes Ctrl-C for itself; without this the promise would never settle.
      lines.once("SIGINT", () => process.kill(process.pid, "SIGINT"));
      lines.once("close", () => reject(signError("KEY_PASSWORD_MISSING", "no password was typed")));
      lines.question("").then(resolve, reject);
    });
  } finally {
    lines.close();
    process.stderr.write("\n");
  }
}
