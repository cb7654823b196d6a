/**
 * What a campaign of mutants asks about a bundle, and the answer with its cost: the verdict of `judge`, or a repair of
 * media parts. judge-worker.ts answers in a process of its own.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { requireUndamaged } from "../../bundles/layout/parts.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { hostPartsDisk } from "../../bundles/transfer/parts-disk.ts";
import { type RepairResult, repairParts } from "../../bundles/transfer/repair.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { judge } from "./judge.ts";

/** A file on the medium that gets other bytes, in place, when it has been read once. */
export interface Shift {
  readonly path: string;
  /** The file with the bytes. */
  readonly from: string;
}

export interface JudgeQuestion {
  readonly path: string;
  /** Name → base64. Without them the media parts at `path` are repaired, and nothing is verified. */
  readonly trustFiles?: Readonly<Record<string, string>>;
  readonly then?: Shift;
}

interface Cost {
  readonly ms: number;
  readonly megabytes: number;
}

export type Answered = Cost &
  (
    | { readonly refused: string; readonly exit: number; readonly message: string }
    | { readonly verdict: Verdict }
    | { readonly repaired: RepairResult }
  );
export type JudgeAnswer = Answered | { readonly thrown: string };

function shift(then: Shift | undefined): void {
  if (then) writeFileSync(then.path, readFileSync(then.from));
}

function verdictOn({ path, trustFiles = {}, then }: JudgeQuestion): Promise<Verdict> {
  return judge(path, {
    trustFiles: new Map(Object.entries(trustFiles).map(([name, base64]) => [name, Buffer.from(base64, "base64")])),
    ...(then && { beforeHashing: () => shift(then) }),
  });
}

/** As the caged verifier does it (verify/cage/run-cage.ts): damaged media are told before a denial. */
async function verify(question: JudgeQuestion): Promise<Verdict> {
  const verdict = await verdictOn(question).catch((cause: unknown) => {
    if (!(cause instanceof SealiftError && cause.code.startsWith("PARTS_"))) requireUndamagedParts(question.path);
    throw cause;
  });
  if (verdict.decision === "deny") requireUndamagedParts(question.path);
  return verdict;
}

/** Of what is no directory nothing is asked. */
function requireUndamagedParts(path: string): void {
  try {
    requireUndamaged(path);
  } catch (cause) {
    if (cause instanceof SealiftError) throw cause;
  }
}

function repair({ path, then }: JudgeQuestion): RepairResult {
  let isRead = false;
  return repairParts({
    path,
    checkOnly: false,
    // What is made here lives for a moment, and need not be on stable storage.
    disk: { ...hostPartsDisk, sync: () => {} },
    onProgress: (what, done, total) => {
      if (isRead || !(what === "read" && done === total)) return;
      isRead = true;
      shift(then);
    },
  });
}

export async function answerTo(question: JudgeQuestion): Promise<JudgeAnswer> {
  const began = performance.now();
  const cost = (): Cost => ({
    ms: performance.now() - began,
    megabytes: Math.round(process.resourceUsage().maxRSS / 1024),
  });
  try {
    const said = question.trustFiles ? { verdict: await verify(question) } : { repaired: repair(question) };
    return { ...said, ...cost() };
  } catch (cause) {
    // What is no layout at all is refused before there is a verdict.
    if (cause instanceof SealiftError) {
      return { refused: cause.code, exit: cause.exit, message: cause.message, ...cost() };
    }
    return { thrown: cause instanceof Error ? String(cause.stack) : String(cause) };
  }
}
