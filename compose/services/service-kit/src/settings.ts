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

/** The secret in a file: one line, with or without its newline. Read anew each time, so that it can be rotated. */
export async function readSecret(path: string): Promise<string> {
  const bytes = await readFile(path);
  const secret = bytes.toString("utf8").replace(/\r?\n$/, "");
  if (secret === "" || bytes.length > SECRET_MAX_BYTES || /[\r\n\0]/.test(secret)) {
    throw new SettingsError([`secret file: want one line of at most ${SECRET_MAX_BYTES} bytes`]);
  }
  return secret;
}
