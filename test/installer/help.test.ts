/** What `sealift help` says of each verb, and what it makes of a word that is none. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseArgs } from "node:util";
import type { SealiftError } from "../../bundles/model/sealift-error.ts";
import type { Command } from "../../installer/commands/command.ts";
import { commands } from "../../installer/commands/commands.ts";
import { examples } from "../../installer/commands/examples.ts";
import { detailsOf, nearest, PARTS, unknownVerb } from "../../installer/commands/help.ts";

const all = new Map<string, Command>();
for (const [name, load] of commands) all.set(name, await load());

/** Words as a shell would make them of what the examples have: quotes, and lines that go on. */
function wordsOf(text: string): string[] {
  return [...text.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? "");
}

/** What is wrong with an example: another verb, an option that the verb does not have, or one without its value. */
function problemsOf(name: string, { options }: Command, lines: readonly string[]): string[] {
  const wanted = lines.join("\n").replaceAll("\\\n", "").split("\n");
  return wanted.flatMap((line) => {
    const words = wordsOf(line.replace(/^sudo \.\//, ""));
    const verb = ["sealift", ...name.split(" ")];
    if (verb.some((word, i) => words[i] !== word)) return [`not ${verb.join(" ")}: ${line}`];
    try {
      parseArgs({
        args: words.slice(verb.length),
        options: { ...options, json: { type: "boolean" } },
        allowPositionals: true,
        strict: true,
      });
      return [];
    } catch (cause) {
      return [`${(cause as Error).message}: ${line}`];
    }
  });
}

test("every verb has an example that it takes", () => {
  assert.deepEqual(Object.keys(examples).sort(), [...all.keys()].sort());
  for (const [name, command] of all) {
    const lines = examples[name] ?? [];
    assert.ok(lines.length > 0, name);
    assert.deepEqual(problemsOf(name, command, lines), []);
  }
});

test("an example that its verb does not take would be found", () => {
  const verify = all.get("verify") as Command;
  for (const line of ["sealift verify x --bypass", "sealift verify x --trust", "sealift approve x", "verify x"]) {
    assert.equal(problemsOf("verify", verify, [line]).length, 1, line);
  }
});

test("every option of a verb is explained, not only named", () => {
  for (const [name, command] of all) {
    // The request for an action takes the options of that action's verb, and says so.
    if (name === "authorize") continue;
    const text = detailsOf(command).join("\n");
    const silent = Object.keys(command.options).filter((option) => !new RegExp(`--${option}(?![\\w-])`).test(text));
    assert.deepEqual(silent, [], name);
  }
});

test("what --state is stands once in a verb's help, in the column of the others", () => {
  const command = { ...(all.get("status") as Command), details: ["--tail N   lines", "           each", "Exit 0."] };
  assert.deepEqual(detailsOf(command), [
    "--tail N   lines",
    "           each",
    "--state DIR  the site's state directory (default /var/lib/sealift)",
    "Exit 0.",
  ]);
  assert.deepEqual(detailsOf({ ...command, options: {} }), command.details);
  const said = ["--state DIR   of the site"];
  assert.deepEqual(detailsOf({ ...command, details: said }), said);
  for (const [name, one] of all) {
    const lines = detailsOf(one).filter((line) => /--state DIR {2,}/.test(line));
    assert.ok(lines.length === ("state" in one.options ? 1 : 0) || /^attest|^audit/.test(name), name);
  }
});

test("each part of the list begins with a verb that there is, and the first verb begins one", () => {
  const names = [...all.keys()];
  assert.deepEqual(
    Object.keys(PARTS),
    names.filter((name) => name in PARTS),
  );
  assert.ok((names[0] as string) in PARTS);
});

test("a slip of the fingers finds the verb or the option that was meant, another word finds none", () => {
  const names = [...all.keys()];
  for (const [typed, meant] of [
    ["isntall", "install"],
    ["upgrde", "upgrade"],
    ["bundle bulid", "bundle build"],
    ["rotate secrts", "rotate secrets"],
    ["stauts", "status"],
  ] as const) {
    assert.equal(nearest(typed, names), meant);
  }
  for (const typed of ["", "x", "ls", "remove", "deploy", "delete", "constructor", "a".repeat(5_000)]) {
    assert.equal(nearest(typed, names), undefined, typed.slice(0, 20));
  }
});

test("words that are no verb are answered with what to type", () => {
  const said = (...words: string[]): string[] => {
    const { code, message, hints } = unknownVerb(words) as SealiftError;
    assert.equal(code, "USAGE");
    return [message, ...hints];
  };
  assert.deepEqual(said("isntall", "x.tar"), [
    'there is no verb "isntall"; the nearest is "install"',
    "sealift help install",
    "sealift help",
  ]);
  assert.deepEqual(said("ledger", "shwo"), [
    'there is no verb "ledger shwo"; the nearest is "ledger show"',
    "sealift help ledger show",
    "sealift help ledger",
  ]);
  assert.deepEqual(said("ledger"), [
    '"ledger" alone is no verb; want one of show, verify, export after it',
    "sealift help ledger",
  ]);
  assert.deepEqual(said("--json", "status"), ['got "--json" before the verb, want options after it', "sealift help"]);
  assert.deepEqual(said("deploy"), ['there is no verb "deploy"', "sealift help"]);
});
