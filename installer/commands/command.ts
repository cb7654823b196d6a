/** What a verb is: its words, its options, and a function from parsed arguments to an exit code. */
import type { ParseArgsOptionDescriptor } from "node:util";
import { installerError } from "../error.ts";
import type { Terminal } from "../ui/terminal.ts";

export type OptionValue = string | boolean | (string | boolean)[] | undefined;

export interface Invocation {
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, OptionValue>>;
  readonly terminal: Terminal;
}

export interface Command {
  /** The words that name it, e.g. `bundle build`. */
  readonly name: string;
  /** One line for `sealift help`. */
  readonly summary: string;
  /** What follows the name, e.g. `BUNDLE --role ROLE --key K`. */
  readonly usage: string;
  /** Lines for `sealift help NAME`, one per option: name and what it does. */
  readonly details?: readonly string[];
  readonly options: Readonly<Record<string, ParseArgsOptionDescriptor>>;
  /** Resolves to the exit code: 0, or one that CLI.md gives this verb for a result that is no error. */
  readonly run: (invocation: Invocation) => Promise<number>;
}

/** A usage error (exit 2) that names the verb's help. */
export function usageError(command: string, problem: string): Error {
  return installerError("USAGE", `${command}: ${problem}`, { hints: [`sealift help ${command}`] });
}

/** The option's text. @throws USAGE if it was not given. */
export function requiredOption(invocation: Invocation, command: string, name: string): string {
  const value = invocation.options[name];
  if (typeof value !== "string" || value === "") throw usageError(command, `--${name} is missing`);
  return value;
}

export function optionalOption(invocation: Invocation, name: string): string | undefined {
  const value = invocation.options[name];
  return typeof value === "string" ? value : undefined;
}

/** The texts of an option that may be given several times. */
export function repeatedOption(invocation: Invocation, name: string): string[] {
  const value = invocation.options[name];
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

/** Exactly `count` positional arguments. @throws USAGE */
export function positionals(invocation: Invocation, command: string, ...names: string[]): string[] {
  const { args } = invocation;
  if (args.length < names.length) throw usageError(command, `${names[args.length]} is missing`);
  if (args.length > names.length)
    throw usageError(command, `unexpected argument ${JSON.stringify(args[names.length])}`);
  return [...args];
}
