import assert from "node:assert/strict";
import test from "node:test";
import { Story, shellWord } from "../../../installer/demo/story.ts";
import type { Terminal } from "../../../installer/ui/terminal.ts";

function told(tell: (story: Story) => void): string[] {
  const lines: string[] = [];
  const terminal = { json: false, live: false, result: (line: string) => void lines.push(line) };
  tell(new Story(terminal as unknown as Terminal));
  return lines;
}

test("a paragraph stays within 79 columns, its prefix before the first line only", () => {
  const lines = told((story) => story.say("word ".repeat(60).trim(), "    → "));
  assert.ok(lines.length > 3);
  assert.ok(lines.every((line) => line.length <= 79));
  assert.match(lines[0] as string, /^ {4}→ word/);
  assert.match(lines[1] as string, /^ {6}word/);
});

test("a long command breaks between options, so that a shell reads it as one", () => {
  const words = ["sealift", "install", "a.tar", "--config", "x".repeat(40), "--key", "y".repeat(30), "--state", "s"];
  const lines = told((story) => story.command(words));
  assert.ok(lines.length > 1);
  assert.ok(lines.slice(0, -1).every((line) => line.endsWith(" \\")));
  const joined = lines.map((line) => line.replace(/ \\$/, "").trim()).join(" ");
  assert.equal(joined, `$ ${words.join(" ")}`);
});

test("words are quoted as a shell reads them back", () => {
  assert.equal(shellWord("appliance-1.0.0.tar"), "appliance-1.0.0.tar");
  assert.equal(shellWord(""), "''");
  assert.equal(shellWord("it's $HOME"), "'it'\\''s $HOME'");
});

test("what came of a step cannot move the cursor", () => {
  const [line] = told((story) => story.fact("model \u001b[2J said so"));
  assert.equal(line, "    → model \\u{1b}[2J said so");
});
