/**
 * A process of its own for `judge`, so that its memory is the verifier's and not that of whoever makes the
 * mutants. Forked by test/long/verify-mutants.test.ts; answers each question over the channel.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { judge } from "./judge.ts";

export interface JudgeQuestion {
  readonly path: string;
  /** Name → base64. */
  readonly trustFiles: Readonly<Record<string, string>>;
  /** A file whose bytes the bundle gets, in place, when all but the digests has been looked at. */
  readonly then?: string;
}

export type JudgeAnswer =
  | { readonly refused: string; readonly ms: number; readonly megabytes: number }
  | { readonly verdict: Verdict; readonly ms: number; readonly megabytes: number }
  | { readonly thrown: string };

async function answer({ path, trustFiles, then }: JudgeQuestion): Promise<JudgeAnswer> {
  const began = performance.now();
  const cost = () => ({
    ms: performance.now() - began,
    megabytes: Math.round(process.resourceUsage().maxRSS / 1024),
  });
  try {
    const verdict = await judge(path, {
      trustFiles: new Map(Object.entries(trustFiles).map(([name, base64]) => [name, Buffer.from(base64, "base64")])),
      ...(then !== undefined && { beforeHashing: () => writeFileSync(path, readFileSync(then)) }),
    });
    return { verdict, ...cost() };
  } catch (cause) {
    // What is no layout at all is refused before there is a verdict.
    if (cause instanceof SealiftError) return { refused: cause.code, ...cost() };
    return { thrown: cause instanceof Error ? String(cause.stack) : String(cause) };
  }
}

process.on("message", async (question: JudgeQuestion) => {
  process.send?.(await answer(question));
});
