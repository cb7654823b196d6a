/** What a target of the fuzzer is, and what the targets have in common. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SealiftError } from "../../bundles/model/sealift-error.ts";

export interface FuzzTarget {
  /** Inputs that the parser accepts, from which the fuzzer begins. */
  readonly seeds: readonly Buffer[];
  /** Throws, or rejects, only for a finding. */
  readonly run: (data: Buffer) => void | Promise<void>;
  /** `run` gives a promise that the fuzzer must wait for. */
  readonly isAsync?: true;
}

type ErrorKind = new (...args: never[]) => Error;

/** What `work` returns; undefined if it refuses with an error of `kinds`. Anything else that it throws is a finding. */
export function accepted<T>(work: () => T, ...kinds: readonly ErrorKind[]): T | undefined {
  try {
    return work();
  } catch (cause) {
    return requireRefusal(cause, kinds);
  }
}

/** As `accepted`, of a promise. */
export async function acceptedLater<T>(work: () => Promise<T>, ...kinds: readonly ErrorKind[]): Promise<T | undefined> {
  try {
    return await work();
  } catch (cause) {
    return requireRefusal(cause, kinds);
  }
}

function requireRefusal(cause: unknown, kinds: readonly ErrorKind[]): undefined {
  if (![SealiftError, ...kinds].some((kind) => cause instanceof kind)) throw cause;
}

/** A parser that only must refuse with a code, or accept. */
export const codes = (parse: (data: Buffer) => unknown, ...seeds: readonly Buffer[]): FuzzTarget => ({
  seeds,
  run: (data) => {
    accepted(() => parse(data));
  },
});

let made: string | undefined;
/** A directory of this process, for readers that want files. */
export function fuzzDirectory(): string {
  if (made === undefined) {
    const path = mkdtempSync(join(tmpdir(), "sealift-fuzz-"));
    process.once("exit", () => rmSync(path, { recursive: true, force: true }));
    made = path;
  }
  return made;
}
