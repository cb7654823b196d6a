/** Questions to the person at the terminal, on stderr. Ctrl-C and Ctrl-D end the verb: @throws Stopped */
import { createPromptModule } from "inquirer";
import { plain } from "../../bundles/model/plain-text.ts";
import { Stopped } from "./stopped.ts";

export interface Choice<Value> {
  readonly value: Value;
  readonly name: string;
  /** Shown below the list while the choice is the active one. */
  readonly description?: string;
}

/** What is wrong with an answer, for the person who gave it; undefined if nothing is. */
export type Judge = (text: string) => string | undefined | Promise<string | undefined>;

export async function askText(message: string, judge: Judge, proposal?: string): Promise<string> {
  const answer = await ask((prompt) =>
    prompt<{ answer: string }>([
      {
        type: "input",
        name: "answer",
        message: plain(message),
        ...(proposal !== undefined && { default: plain(proposal) }),
        validate: async (text: string) => (await judge(text.trim())) ?? true,
      },
    ]),
  );
  return answer.trim();
}

export async function askChoice<Value>(message: string, choices: readonly Choice<Value>[]): Promise<Value> {
  const shown = choices.map(({ name, description }, value) => ({
    name: plain(name),
    value,
    ...(description !== undefined && { description: plain(description) }),
  }));
  const index = await ask((prompt) =>
    prompt<{ answer: number }>([
      { type: "select", name: "answer", message: plain(message), choices: shown, pageSize: 12, loop: false },
    ]),
  );
  return (choices[index] as Choice<Value>).value;
}

/** Choices that depend on what was typed so far; Tab takes over the one that is marked. */
export async function askSearch(
  message: string,
  source: (typed: string) => Promise<readonly Choice<string>[]>,
  judge: Judge,
): Promise<string> {
  return ask((prompt) =>
    prompt<{ answer: string }>([
      {
        type: "search",
        name: "answer",
        message: plain(message),
        source: async (typed: string | undefined) => source(typed ?? ""),
        validate: async (text: string) => (await judge(text)) ?? true,
      },
    ]),
  );
}

/** True if the person agreed; Enter alone is no. */
export async function askYes(message: string): Promise<boolean> {
  return ask((prompt) =>
    prompt<{ answer: boolean }>([{ type: "confirm", name: "answer", message: plain(message), default: false }]),
  );
}

/** Waits until the person presses Enter. */
export async function askToGoOn(message: string): Promise<void> {
  await askText(message, () => undefined);
}

type Prompt = ReturnType<typeof createPromptModule>;

async function ask<Value>(work: (prompt: Prompt) => Promise<{ answer: Value }>): Promise<Value> {
  const { stdin, stderr } = process;
  const stop = new AbortController();
  const onEnd = (): void => stop.abort();
  // inquirer would wait for ever: it takes Ctrl-D for the end of a line that nobody reads.
  const onKey = (_text: string | undefined, key?: { readonly ctrl?: boolean; readonly name?: string }): void => {
    if (key?.ctrl === true && key.name === "d") stop.abort();
  };
  stdin.on("keypress", onKey).once("end", onEnd);
  try {
    const { answer } = await work(createPromptModule({ output: stderr, signal: stop.signal }));
    return answer;
  } catch (cause) {
    if (cause instanceof Error && ENDINGS.includes(cause.name)) throw new Stopped();
    throw cause;
  } finally {
    stdin.off("keypress", onKey).off("end", onEnd);
  }
}

/** How inquirer says that a prompt was ended from outside. */
const ENDINGS = ["ExitPromptError", "AbortPromptError", "CancelPromptError"];
