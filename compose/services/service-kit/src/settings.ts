/** A service's settings: environment variables for what is no secret, files for what is. */
import { readFile } from "node:fs/promises";

export type Environment = Readonly<Record<string, string | undefined>>;

/** All that is wrong with a service's settings, so that one start tells everything. */
export class SettingsError extends Error {
  constructor(problems: readonly string[]) {
    super(problems.join("; "));
    this.name = "SettingsError";
  }
}

/** Reads variables and collects what is wrong with them; `done` throws it. */
export class SettingsReader {
  readonly #environment: Environment;
  readonly #problems: string[] = [];

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** A variable that must be there and not be empty. */
  text(name: string): string {
    const value = this.optionalText(name);
    if (value === undefined) this.#problems.push(`${name} is not set`);
    return value ?? "";
  }

  optionalText(name: string): string | undefined {
    return this.#environment[name] || undefined;
  }

  integer(name: string, defaultValue: number, min: number, max: number): number {
    const text = this.optionalText(name);
    if (text === undefined) return defaultValue;
    const value = Number(text);
    if (/^\d{1,15}$/.test(text) && value >= min && value <= max) return value;
    this.#problems.push(`${name}: want a whole number from ${min} to ${max}`);
    return defaultValue;
  }

  /** A URL of nothing but scheme, host and port. */
  origin(name: string, scheme: "http:" | "https:"): URL {
    const url = URL.parse(this.text(name));
    if (url?.protocol === scheme && url.href === `${url.origin}/`) return url;
    this.#problems.push(`${name}: want an address like ${scheme}//host:port`);
    return new URL(`${scheme}//invalid`);
  }

  /** What only the caller can see to be wrong. */
  refuse(problem: string): void {
    this.#problems.push(problem);
  }

  /** @throws SettingsError */
  done(): void {
    if (this.#problems.length > 0) throw new SettingsError(this.#problems);
  }
}

const SECRET_MAX_BYTES = 4096;
const VALUES_MAX = 2;

/** The secret in a file: one line, with or without its newline. @throws SettingsError, or what reading throws */
export async function readSecret(path: string): Promise<string> {
  const [secret, ...more] = await readLines(path);
  if (secret !== undefined && more.length === 0) return secret;
  throw new SettingsError([`secret file: want one line of at most ${SECRET_MAX_BYTES} bytes`]);
}

/**
 * A secret that others may have in another value for a while, because it is being rotated: one line, or two.
 * The first is the reader's own, to show or to sign with; the second is as good. Read anew each time, so that a
 * rotation is heard of. @throws SettingsError, or what reading throws
 */
export async function readSecretValues(path: string): Promise<readonly [string, ...string[]]> {
  const [own, ...others] = await readLines(path);
  if (own !== undefined && others.length < VALUES_MAX) return [own, ...others];
  throw new SettingsError([`secret file: want one line or ${VALUES_MAX}, of at most ${SECRET_MAX_BYTES} bytes`]);
}

/** None if the file is not what a secret's may be. */
async function readLines(path: string): Promise<readonly string[]> {
  const bytes = await readFile(path);
  const lines = bytes
    .toString("utf8")
    .replace(/\r?\n$/, "")
    .split("\n");
  const isBad = bytes.length > SECRET_MAX_BYTES || lines.some((line) => line === "" || /[\r\0]/.test(line));
  return isBad ? [] : lines;
}
