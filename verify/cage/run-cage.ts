/**
 * The parent's side of the cage. `verify` runs as several child processes: one judge that parses, and
 * hashers that only read and hash. Each is started with
 *
 * - the bundle as open file descriptors, so that none needs a path and nobody can swap the file between;
 * - Node's permission model with read access to Sealift's own code and nothing else: a seat belt, since
 *   it has known gaps (node:sqlite, workers; facts in SECURITY.md);
 * - an empty environment and an empty working directory;
 * - an empty network namespace and an unprivileged user where the host allows: the real walls.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, rmdirSync, statSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { allFiles, type Store } from "../../bundles/layout/layout.ts";
import { requireUndamaged } from "../../bundles/layout/parts.ts";
import { type Digest, parseDigest } from "../../bundles/model/digest.ts";
import { plainJson } from "../../bundles/model/plain-text.ts";
import type { ImportedRecords } from "../checks/scan.ts";
import { verifyError } from "../error.ts";
import type { EarlierRelease } from "../release-contents.ts";
import { decide, type Verdict } from "../verdict.ts";
import type { Judged } from "../verify.ts";
import type { HashTask } from "./hash-tasks.ts";
import type { Case } from "./protocol.ts";

/** Everything that the caged code imports lies below this. */
const CODE_ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** The cage's environment: empty, but where the launcher had to give Node a libatomic, of the kit or brought. */
const LIBRARY_DIRECTORY = ["lib", "node_modules/.library"]
  .map((name) => join(CODE_ROOT, name))
  .find((directory) => directory === process.env["LD_LIBRARY_PATH"]);
const KIT_LIBRARIES: NodeJS.ProcessEnv = LIBRARY_DIRECTORY ? { LD_LIBRARY_PATH: LIBRARY_DIRECTORY } : {};
const NOBODY = 65534;
const STDERR_MAX_BYTES = 16 * 1024;
/** Of everything that one caged process says: a verdict with all its findings is below 70 MiB. */
const STDOUT_MAX_BYTES = 128 * 1024 * 1024;
const HEAP_MAX_MB = 1024;

/** How the cage is run; tests put another judge in it. */
export interface CageTrial {
  /** Relative to verify/cage. */
  readonly judge: string;
  /** A hostile bundle must not hold the verifier for ever. Hashing is not counted, it ends with the bytes. */
  readonly judgeMaxMs: number;
}

const IN_EARNEST: CageTrial = { judge: "judge.ts", judgeMaxMs: 10 * 60_000 };

export interface CageOptions {
  readonly store: Store;
  readonly trustFiles: ReadonlyMap<string, Buffer>;
  /** The default policy if undefined. */
  readonly policyBytes: Buffer | undefined;
  /** Reviewers' approvals (approval-files.ts); none if undefined. */
  readonly approvals?: readonly Buffer[];
  /** The site's policies before this one; none if undefined. */
  readonly earlierPolicies?: readonly Digest[];
  /** Vulnerability records that did not come with the release, in an open file. */
  readonly imported?: ImportedRecords | undefined;
  /** Say what is in the release too, compared with the one in `earlier`. */
  readonly describe?: { readonly earlier: EarlierRelease | undefined } | undefined;
  readonly time: Verdict["time"];
  readonly scope: Verdict["scope"];
  readonly sealiftVersion: string;
  /** Bytes hashed so far, of all. */
  readonly onProgress: (doneBytes: number, totalBytes: number) => void;
}

/**
 * Verifies in the cage. What comes back is believed only as far as it can be checked out here: it answers
 * this question, and its decision is the one that follows from its findings.
 * @throws POLICY_MALFORMED, and CAGE_FAILED if the caged processes do not answer as they must.
 */
export async function verifyInCage(options: CageOptions, trial: CageTrial = IN_EARNEST): Promise<Verdict> {
  return (await examineInCage(options, trial)).verdict;
}

/**
 * `verifyInCage`, and with `describe` what is in the release: that part decides nothing, and nothing checks it out here.
 * @throws PARTS_DAMAGED in place of a denial, if media parts have other bytes than they were made with
 */
export async function examineInCage(options: CageOptions, trial: CageTrial = IN_EARNEST): Promise<Judged> {
  const requireMedia = (): void => {
    if (options.store.kind === "parts") requireUndamaged(options.store.location);
  };
  const judged = await examine(options, trial).catch((cause: unknown) => {
    requireMedia();
    throw cause;
  });
  if (judged.verdict.decision === "deny") requireMedia();
  return judged;
}

async function examine(options: CageOptions, trial: CageTrial): Promise<Judged> {
  const { imported, describe } = options;
  const passed = [
    ...allFiles(options.store),
    ...(imported ? [imported] : []),
    ...(describe?.earlier ? allFiles(describe.earlier.store) : []),
  ];
  const cage = new Cage({ files: passed });
  try {
    const judge = cage.start(trial.judge);
    const hashers = Array.from({ length: availableParallelism() }, () => cage.start("hasher.js"));
    // Loaded while the processes start: these bring the schemas, which take as long.
    const { FIRST_FD, parseHashRequest, parseJudgement } = await import("./protocol.ts");
    const inCage = (fd: number): number => FIRST_FD + passed.findIndex((one) => one.fd === fd);
    const storeInCage = ({ base, ...store }: Store): Store => ({
      ...store,
      files: store.files.map((file) => ({ ...file, fd: inCage(file.fd) })),
      ...(base && { base: base.map(storeInCage) }),
    });
    const { DEFAULT_POLICY_BYTES, parsePolicy } = await import("../policy.ts");
    const { policyBytes = DEFAULT_POLICY_BYTES } = options;
    const nonce = randomUUID();
    const question: Case = {
      nonce,
      store: storeInCage(options.store),
      ...(imported && {
        imported: {
          ...imported,
          fd: inCage(imported.fd),
          signatures: imported.signatures.map((bytes) => bytes.toString("base64")),
        },
      }),
      ...(describe && {
        describe: {
          earlier: describe.earlier && { ...describe.earlier, store: storeInCage(describe.earlier.store) },
        },
      }),
      trustFiles: Object.fromEntries([...options.trustFiles].map(([name, bytes]) => [name, bytes.toString("base64")])),
      policy: policyBytes.toString("base64"),
      approvals: (options.approvals ?? []).map((bytes) => bytes.toString("base64")),
      earlierPolicies: options.earlierPolicies ?? [],
      time: options.time,
      scope: options.scope,
      sealiftVersion: options.sealiftVersion,
      walls: cage.walls,
    };
    judge.send(question);
    // The policy is the site's own file, not the publisher's, so it may be parsed outside.
    const { policy, digest: policyDigest } = parsePolicy(policyBytes);
    // Once for the bundle's own blobs, and again for what a thin bundle leaves out and its base has.
    for (let round = 0; round < (options.store.base ? 2 : 1); round++) {
      const { tasks } = parseHashRequest(await judge.next(trial.judgeMaxMs));
      judge.send({ got: Object.fromEntries(await hashAll(hashers, tasks, options.onProgress)) });
    }
    const { verdict, contents } = parseJudgement(await judge.next(trial.judgeMaxMs), nonce);
    const { scope, time } = options;
    const own = { scope, time, policy: { digest: policyDigest }, decision: decide(verdict.findings, policy) };
    if (!isDeepStrictEqual({ ...verdict, ...own }, verdict)) {
      throw verifyError("CAGE_FAILED", "the caged verifier's verdict contradicts itself or its question");
    }
    return { verdict, contents };
  } finally {
    cage.close();
  }
}

/** Gives each hasher the next task as soon as it is free. */
async function hashAll(
  hashers: readonly CagedProcess[],
  tasks: readonly HashTask[],
  onProgress: CageOptions["onProgress"],
): Promise<Map<Digest, Digest>> {
  const sizes = tasks.map((task) => task.extents.reduce((sum, extent) => sum + extent.length, 0));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const got = new Map<Digest, Digest>();
  let next = 0;
  let done = 0;
  await Promise.all(
    hashers.map(async (hasher) => {
      for (let i = next++; i < tasks.length; i = next++) {
        const task = tasks[i] as HashTask;
        hasher.send(task);
        const digest = parseDigest(await hasher.next());
        if (digest) got.set(task.digest, digest);
        done += sizes[i] as number;
        onProgress(done, total);
      }
    }),
  );
  return got;
}

/** The processes of one verification, all behind the same walls. `close` ends them. */
export class Cage {
  readonly walls: Case["walls"];
  readonly #fds: readonly number[];
  readonly #prefix: readonly string[];
  readonly #directory: string;
  readonly #processes: CagedProcess[] = [];

  constructor({ files }: { readonly files: readonly { readonly fd: number }[] }) {
    this.#fds = files.map((file) => file.fd);
    this.#directory = mkdtempSync(join(tmpdir(), "sealift-cage-"));
    const { prefix, walls } = wallsOfThisHost();
    this.#prefix = prefix;
    this.walls = walls;
  }

  /** `script` is relative to verify/cage. */
  start(script: string): CagedProcess {
    const [command = "", ...args] = [
      ...this.#prefix,
      process.execPath,
      "--permission",
      `--allow-fs-read=${CODE_ROOT}`,
      `--max-old-space-size=${HEAP_MAX_MB}`,
      "--disable-warning=SecurityWarning",
      join(CODE_ROOT, "verify/cage", script),
    ];
    const child = spawn(command, args, {
      cwd: this.#directory,
      env: KIT_LIBRARIES,
      stdio: ["pipe", "pipe", "pipe", ...this.#fds],
    });
    const caged = new CagedProcess(script, child);
    this.#processes.push(caged);
    return caged;
  }

  close(): void {
    for (const caged of this.#processes) caged.kill();
    rmdirSync(this.#directory);
  }
}

/** One caged process and its lines. */
export class CagedProcess {
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #stderr = "";
  /** Why we know that it cannot answer. */
  #failure = "";

  constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.#child = child;
    child.on("error", (error) => {
      this.#failure = error.message;
    });
    // A process that is gone is noticed when its answer does not come; EPIPE says nothing more.
    child.stdin?.on("error", () => {});
    child.stderr?.on("data", (chunk: Buffer) => {
      if (this.#stderr.length < STDERR_MAX_BYTES) this.#stderr += chunk.toString("utf8");
    });
    let said = 0;
    child.stdout?.on("data", (chunk: Buffer) => {
      said += chunk.length;
      if (said > STDOUT_MAX_BYTES) this.#fail(`it said more than ${STDOUT_MAX_BYTES} bytes`);
    });
    this.#lines = createInterface({ input: child.stdout as NonNullable<typeof child.stdout> })[Symbol.asyncIterator]();
  }

  send(value: unknown): void {
    // node:readline also ends a line at U+2028, which JSON.stringify leaves as it is.
    this.#child.stdin?.write(`${plainJson(value, 0)}\n`);
  }

  /** The next line. @throws CAGE_FAILED if it ends, or says nothing for `maxMs`. */
  async next(maxMs?: number): Promise<string> {
    const timer =
      maxMs === undefined ? undefined : setTimeout(() => this.#fail(`no answer in ${maxMs / 1000} seconds`), maxMs);
    const { value, done } = await this.#lines.next();
    clearTimeout(timer);
    if (!done) return value;
    const why = this.#failure || this.#stderr.trim().split("\n").slice(0, 6).join(" | ") || "no message";
    throw verifyError("CAGE_FAILED", `the caged ${this.#name} ended without an answer: ${why}`);
  }

  #fail(why: string): void {
    this.#failure = why;
    this.kill();
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

/** Finds out, once, what this host lets us put around a process. */
function wallsOfThisHost(): { readonly prefix: readonly string[]; readonly walls: Case["walls"] } {
  const root = process.getuid?.() === 0;
  const dropUser = root && othersCanRead(CODE_ROOT) && othersCanRead(process.execPath);
  const drop = dropUser ? ["--setgid", String(NOBODY), "--setuid", String(NOBODY)] : [];
  const prefix = ["unshare", "--net", ...(root ? drop : ["--map-current-user"]), "--"];
  const works = spawnSync(prefix[0] as string, [...prefix.slice(1), "true"], {
    env: { PATH: "/usr/bin:/bin:/usr/sbin:/sbin" },
    stdio: "ignore",
  });
  const user = dropUser || !root;
  if (works.status === 0) return { prefix: [unsharePath(), ...prefix.slice(1)], walls: { network: true, user } };
  return { prefix: [], walls: { network: false, user: !root } };
}

/** The cage's environment is empty, so the program is named by its path. */
function unsharePath(): string {
  return ["/usr/bin/unshare", "/bin/unshare"].find((path) => existsSync(path)) ?? "unshare";
}

/** Whether a user without rights can read `path`: not in a checkout under root's own home, for one. */
function othersCanRead(path: string): boolean {
  const READ_BIT = 0o004;
  const SEARCH_BIT = 0o001;
  if ((statSync(path).mode & READ_BIT) === 0) return false;
  for (let at = path; at !== dirname(at); at = dirname(at)) {
    if ((statSync(dirname(at)).mode & SEARCH_BIT) === 0) return false;
  }
  return true;
}
