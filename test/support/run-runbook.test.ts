/** What the runbooks' test leans on: a runbook that says something else than what comes is found out. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { driftOf, type Runbook, readRunbook, runRunbook } from "./run-runbook.ts";
import { scratch } from "./scratch.ts";

const differs = (shows: string, output: string): boolean => driftOf("x", shows.split("\n"), output) !== undefined;

describe("what a runbook shows", () => {
  test("digests, ids, times, sizes and durations may be others of their kind, and nothing else", () => {
    const digest = (digit: string) => `sha256:${digit.repeat(64)}`;
    assert.ok(!differs(`at ${digest("0")} in 1.2 s`, `at ${digest("f")} in 31.7 s\n`));
    assert.ok(!differs("2026-11-21T07:40:12.115Z 18 MB", "2027-01-02T00:00:00Z 4.5 GB"));
    assert.ok(differs(`at ${digest("0")}`, "at sha256:0"));
    assert.ok(differs("release 1.0.0", "release 1.1.0"));
    assert.ok(differs("exit 5", "exit 0"));
  });

  test("a dot, a bracket or a star means itself", () => {
    assert.ok(!differs("wrote (a.b) [C] *", "wrote (a.b) [C] *"));
    assert.ok(differs("a.b", "axb"));
  });

  test("an ellipsis stands for part of a line, or alone for lines; every other line is there, once and in order", () => {
    assert.ok(!differs("a …\nz", "a b c\nz"));
    assert.ok(!differs("a\n…\nz", "a\nz"));
    assert.ok(!differs("a\n…\nz", "a\nb\nc\nz"));
    for (const output of ["a", "z\na", "a\nz\nz\nb", ""]) assert.ok(differs("a\n…\nz", output), output);
    assert.ok(differs("a\nz", "a\nb\nz"));
  });

  test("progress of a step may come or not, its end must come", () => {
    assert.ok(!differs("load: done (1.0 s)", "load: 3 of 9 MB\nload: done (7.0 s)"));
    assert.ok(differs("load: done (1.0 s)", "load: 3 of 9 MB"));
    assert.ok(differs("load: done (1.0 s)", "load: failed (1.0 s)"));
  });
});

describe("a runbook", () => {
  const fence = "```";
  const text = `# Title
${fence}sh
A=1
${fence}
${fence}sh
echo "$A" >&2
read -r word
echo "$word"
${fence}
What you see:
${fence}text
1
typed
${fence}
${fence}sh bad
echo "bad $A"; false || echo "exit $?"
${fence}
${fence}text
bad 1
exit 1
${fence}
${fence}console
not run
${fence}
${fence}text seen
elsewhere
${fence}
`;

  async function runbook(t: Parameters<typeof scratch>[0], content: string) {
    const directory = await scratch(t);
    const path = join(directory, "some.md");
    await writeFile(path, content);
    const options = { environment: { PATH: process.env["PATH"] }, directory, typed: "typed\n" };
    const book: Runbook = readRunbook(pathToFileURL(path));
    return { book, run: (way?: string) => runRunbook(book, options, way).map(({ line }) => line) };
  }

  test("runs in one shell, by its ways, each after the first block", async (t) => {
    const { book, run } = await runbook(t, text);
    assert.deepEqual(run(), [3, 6]);
    assert.deepEqual(run("bad"), [3, 16]);
    assert.deepEqual(book.examples.get("seen"), ["elsewhere"]);
    assert.throws(() => run("other"), /no way other/);
  });

  test("that fails is reported with its line, and so is one that shows something else", async (t) => {
    const { run } = await runbook(t, text.replace('echo "$word"', "exit 7"));
    assert.throws(() => run(), /some\.md:6: exit 7/);
    const other = await runbook(t, text.replace("typed\n", "other\n"));
    assert.throws(() => other.run(), /some\.md:6: the runbook says/);
  });
});
