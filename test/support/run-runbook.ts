/**
 * Runs a runbook as an operator does: its fenced blocks, as they stand there, in one shell, in their order.
 * And compares what came with what the runbook says one will see, so that neither can drift.
 *
 *   ```sh         commands of the main way
 *   ```sh WAY     commands of another way, for when things are not as they should be
 *   ```text       what the commands above show; in it
 *                   a line of `…`     stands for any lines, also none
 *                   … within a line   stands for anything
 *                   digests, ids, times, sizes and durations stand for others of their kind
 *   ```text NAME  an example that a test looks up by its name
 *
 * The first `sh` block says where things are; it is run before every way.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

export interface RunbookBlock {
  readonly commands: string;
  /** Undefined for the main way. */
  readonly way: string | undefined;
  /** The lines that it shows; undefined if the runbook says nothing of them. */
  readonly shows: readonly string[] | undefined;
  /** Of its first line in the file. */
  readonly line: number;
}

export interface Runbook {
  readonly name: string;
  readonly blocks: readonly RunbookBlock[];
  readonly examples: ReadonlyMap<string, readonly string[]>;
}

export interface RunOptions {
  readonly environment: NodeJS.ProcessEnv;
  readonly directory: string;
  /** What the operator types where a command asks. */
  readonly typed?: string;
}

const FENCE = /^```(\w+)(?: ([\w-]+))?\n(.*?)^```$/gms;
const ANY = "…";
const MARK = "@@ runbook block";

export function readRunbook(url: URL): Runbook {
  const text = readFileSync(url, "utf8");
  const blocks: RunbookBlock[] = [];
  const examples = new Map<string, readonly string[]>();
  for (const match of text.matchAll(FENCE)) {
    const [, language, word, body = ""] = match;
    if (language === "sh") {
      const line = text.slice(0, match.index).split("\n").length + 1;
      blocks.push({ commands: body, way: word, shows: undefined, line });
    } else if (language === "text") {
      const lines = body.trimEnd().split("\n");
      if (word !== undefined) examples.set(word, lines);
      else blocks.push({ ...(blocks.pop() as RunbookBlock), shows: lines });
    }
  }
  return { name: url.pathname.split("/").at(-1) as string, blocks, examples };
}

/** Returns the blocks that were run. @throws if a command fails or shows something else */
export function runRunbook(runbook: Runbook, options: RunOptions, way?: string): readonly RunbookBlock[] {
  const [where, ...rest] = runbook.blocks;
  const blocks = [where as RunbookBlock, ...rest.filter((block) => block.way === way)];
  assert.ok(blocks.length > 1, `${runbook.name} has no way ${way}`);
  const script = blocks.map(({ commands }, i) => `echo '${MARK} ${i}'\n${commands}`).join("\n");
  const { status, stdout } = spawnSync("sh", ["-eu", "-c", `exec 2>&1\n${script}`], {
    cwd: options.directory,
    encoding: "utf8",
    env: options.environment,
    input: options.typed ?? "",
    maxBuffer: 2 ** 26,
  });
  const outputs = stdout.split(new RegExp(`^${MARK} \\d+\n`, "m")).slice(1);
  const last = blocks[outputs.length - 1];
  assert.equal(status, 0, `${runbook.name}:${last?.line}: exit ${status}\n${stdout}`);
  const drifts = blocks.flatMap(({ shows, line }, i) =>
    shows ? (driftOf(`${runbook.name}:${line}`, shows, outputs[i] as string) ?? []) : [],
  );
  assert.equal(drifts.join("\n\n"), "");
  return blocks;
}

/** Undefined if `output` is what `shows` says, from the first line to the last; else both, to be read. */
export function driftOf(where: string, shows: readonly string[], output: string): string | undefined {
  const got = withoutProgress(output.trimEnd().split("\n"));
  const want = shows.map((line) => (line.trim() === ANY ? undefined : pattern(line)));
  if (matches(want, got.map(generalized))) return undefined;
  return `${where}: the runbook says\n\n${shows.join("\n")}\n\nbut what came is\n\n${got.join("\n")}`;
}

/** `undefined` in `want` stands for any lines. */
function matches(want: readonly (RegExp | undefined)[], got: readonly string[]): boolean {
  const [first, ...rest] = want;
  if (want.length === 0) return got.length === 0;
  if (first === undefined) return got.concat([""]).some((_, skipped) => matches(rest, got.slice(skipped)));
  return got.length > 0 && first.test(got[0] as string) && matches(rest, got.slice(1));
}

/** What differs from one run to the next, by its kind. */
const KINDS: readonly (readonly [RegExp, string])[] = [
  [/\b(?:[0-9a-f]{8} ){7}[0-9a-f]{8}\b/g, "<groups>"],
  [/\b[0-9a-f]{64}\b/g, "<digest>"],
  [/sha256:[0-9a-f]{12}\b/g, "sha256:<short>"],
  [/\b[0-9a-f]{32}\b/g, "<id>"],
  [/\bsealift-[0-9a-f]{8}-/g, "sealift-<id>-"],
  [/SHA256:[A-Za-z0-9+/]{43}/g, "SHA256:<key>"],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, "<time>"],
  [/\d+\.\d s\b/g, "<duration>"],
  [/\b\d+(?:\.\d+)? [MG]B\b/g, "<size>"],
  [/\b\d+ bytes\b/g, "<bytes>"],
];

function generalized(line: string): string {
  return KINDS.reduce((text, [kind, name]) => text.replaceAll(kind, name), line.trimEnd());
}

function pattern(line: string): RegExp {
  const parts = generalized(line)
    .split(ANY)
    .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`);
}

const ENDED = /^(.*): [^:]+ \(\d+\.\d s\)$/;

/** Without the lines in between of a step that takes long: whether they come depends on the machine. */
function withoutProgress(lines: readonly string[]): readonly string[] {
  const steps = new Set(lines.flatMap((line) => ENDED.exec(line)?.[1] ?? []));
  return lines.filter((line) => ENDED.test(line) || ![...steps].some((step) => line.startsWith(`${step}: `)));
}
