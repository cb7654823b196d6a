/** Verification without the cage: the judge's own function in this process, and its hashing too. For speed. */
import { createHash } from "node:crypto";
import { readSync } from "node:fs";
import { closeStore, openStore, readLayout, type Store } from "../../bundles/layout/layout.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type HashTask, hashTasks } from "../../verify/cage/hash-tasks.ts";
import { DEFAULT_POLICY, type Policy } from "../../verify/policy.ts";
import type { Finding, Verdict } from "../../verify/verdict.ts";
import { type Judged, type VerifyInput, verifyRelease } from "../../verify/verify.ts";
import { SMALL_NOW } from "./signed-bundle.ts";

export interface JudgeOptions {
  readonly trustFiles: ReadonlyMap<string, Buffer>;
  /** Members of the policy that differ from the default's. */
  readonly policy?: Partial<Policy>;
  /** RFC 3339; SMALL_NOW if not given. */
  readonly at?: string;
  readonly sealiftVersion?: string;
  readonly approvals?: readonly Buffer[];
  readonly imported?: VerifyInput["imported"];
  readonly describe?: VerifyInput["describe"];
  /** Bundles that hold what a thin one leaves out. */
  readonly base?: readonly string[];
  /** Called when all but the digests has been looked at. */
  readonly beforeHashing?: () => void;
}

/** The verdict on the bundle at `path`. Throws what `openStore` throws. */
export async function judge(path: string, options: JudgeOptions): Promise<Verdict> {
  return (await examine(path, options)).verdict;
}

/** The verdict, and with `describe` what is in the release. */
export async function examine(path: string, options: JudgeOptions): Promise<Judged> {
  const store = openStore(path, options.base);
  try {
    const tasks = tasksOf(store);
    return await verifyRelease({
      store,
      trustFiles: options.trustFiles,
      policyBytes: canonicalJson({ ...DEFAULT_POLICY, ...options.policy }),
      approvals: options.approvals ?? [],
      imported: options.imported,
      describe: options.describe,
      time: { at: options.at ?? SMALL_NOW, source: "option" },
      scope: "advisory",
      sealiftVersion: options.sealiftVersion ?? "0.1.0",
      walls: { network: true, user: true },
      hashed: async (borrowed) => {
        options.beforeHashing?.();
        const more = borrowed.length > 0 ? hashTasks(readLayout(store), borrowed) : [];
        return hashAll([...tasks, ...more]);
      },
    });
  } finally {
    closeStore(store);
  }
}

/** As the caged judge does it (verify/cage/judge.ts): before anything else is looked at. */
function tasksOf(store: Store): HashTask[] {
  try {
    return hashTasks(readLayout(store));
  } catch {
    return [];
  }
}

/** What the caged hashers would answer. */
function hashAll(tasks: readonly HashTask[]): Map<string, string> {
  const got = new Map<string, string>();
  for (const { digest, extents } of tasks) {
    const hash = createHash("sha256");
    for (const { fd, position, length } of extents) {
      const bytes = Buffer.alloc(length);
      hash.update(bytes.subarray(0, readSync(fd, bytes, 0, length, position)));
    }
    got.set(digest, `sha256:${hash.digest("hex")}`);
  }
  return got;
}

/** The findings that deny, for a person who reads a failed test. */
export function wrong(verdict: Verdict): Finding[] {
  return verdict.findings.filter(({ status }) => status === "fail" || status === "error");
}

/** The codes of what is wrong, each once, sorted. */
export function wrongCodes(verdict: Verdict): string[] {
  return [...new Set(wrong(verdict).map(({ code }) => code))].sort();
}
