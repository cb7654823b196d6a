/** Every command that a hint, a message or a document tells a person to type is one that there is. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { commands } from "../installer/commands/commands.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const GLOBAL_OPTIONS = ["json", "no-color", "yes", "help"];
const VERB = /(?<![\w/.@-])sealift ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?/g;
/** What a file or a document is called; no person types it. */
const NAMES = ["sealift kit ${digest}", "sealift audit segment 1\\n", "sealift sbom", "sealift vex"];

interface Mention {
  readonly file: string;
  readonly text: string;
}

function files(...patterns: readonly string[]): string[] {
  return globSync(patterns, { cwd: ROOT, exclude: ["**/node_modules/**", "compose/services/**"] }).sort();
}

/** String literals that name a command; a literal goes over one line at most, as Biome formats them. */
function inSources(): Mention[] {
  return files("{bundles,sbom,verify,compose,installer}/**/*.ts").flatMap((file) => {
    const lines = readFileSync(join(ROOT, file), "utf8")
      .split("\n")
      .filter((line) => !/^\s*(?:\/?\*|\/\/)/.test(line));
    const literals = lines.flatMap((line) => line.match(/"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`/g) ?? []);
    return literals.flatMap((literal) => {
      const text = literal.slice(1, -1);
      return text.includes("sealift ") && !NAMES.includes(text) ? [{ file, text }] : [];
    });
  });
}

/** Commands in code of Markdown, in fences or within a line. */
function inDocuments(): Mention[] {
  return files("runbooks/*.md", "README.md", "SECURITY.md").flatMap((file) => {
    const text = readFileSync(join(ROOT, file), "utf8");
    const fences = [...text.matchAll(/^```(?:sh|console)[^\n]*\n(.*?)^```$/gms)].flatMap(([, body = ""]) =>
      body.replaceAll("\\\n", " ").split("\n"),
    );
    const spans = text.replaceAll(/^```.*?^```$/gms, "").match(/`[^`\n]+`/g) ?? [];
    return [...fences, ...spans]
      .map((one) => one.replaceAll("`", ""))
      .filter((one) => one.includes("sealift ") && !isGroup(one))
      .map((one) => ({ file, text: one }));
  });
}

/** A document may speak of all verbs that begin with a word. */
function isGroup(text: string): boolean {
  const [, word] = /^sealift ([a-z-]+)$/.exec(text) ?? [];
  return word !== undefined && [...commands.keys()].some((verb) => verb.startsWith(`${word} `));
}

/** What is wrong with the commands in it: a verb that is not there, or an option that the verb does not have. */
async function problemsOf({ file, text }: Mention): Promise<string[]> {
  const found = [...text.matchAll(VERB)];
  const problems = await Promise.all(
    found.map(async (match, i) => {
      const [, first = "", second] = match;
      if (first === "help") return [];
      const load = commands.get(`${first} ${second}`) ?? commands.get(first);
      if (!load) return [`${file}: no verb ${JSON.stringify(first)}: ${text}`];
      const rest = text.slice(match.index + match[0].length, found[i + 1]?.index);
      const [own = ""] = rest.split(/[;|>]|&&/);
      const { options = {} } = await load();
      const unknown = [...own.matchAll(/(?<![\w-])--([a-z][a-z-]*)/g)]
        .map(([, name = ""]) => name)
        .filter((name) => !(name in options) && !GLOBAL_OPTIONS.includes(name));
      return unknown.map((name) => `${file}: ${first} has no option --${name}: ${text}`);
    }),
  );
  return problems.flat();
}

async function assertRight(mentions: readonly Mention[], atLeast: number): Promise<void> {
  assert.ok(mentions.length >= atLeast, `found only ${mentions.length}`);
  assert.deepEqual((await Promise.all(mentions.map(problemsOf))).flat(), []);
}

test("hints and messages name verbs and options that there are", async () => {
  await assertRight(inSources(), 100);
});

test("documents name verbs and options that there are", async () => {
  await assertRight(inDocuments(), 100);
});

test("a verb or an option that is not there would be found", async () => {
  for (const text of ["run `sealift mend`", "sealift status --deep; sealift logs", "sealift trust"]) {
    assert.equal((await problemsOf({ file: "x", text })).length, 1, text);
  }
  for (const text of ["sealift prune --keep 2 removes", "sealift help verify", "sealift bundle lock --appliance F"]) {
    assert.deepEqual(await problemsOf({ file: "x", text }), []);
  }
});
