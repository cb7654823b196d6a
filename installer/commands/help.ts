/** What `sealift help` prints: all verbs, those of a group, one of them, or what an error code means. */
import { readFileSync } from "node:fs";
import { plainJson } from "../../bundles/model/plain-text.ts";
import { installerError } from "../error.ts";
import { wrapped } from "../ui/terminal.ts";
import type { Command } from "./command.ts";
import { commands } from "./commands.ts";
import { examples } from "./examples.ts";
import { summaries } from "./summaries.ts";

/** AREA_CONDITION, as runbooks/errors.md has them. */
const CODE = /^(?:USAGE|INTERNAL|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)$/;
const ERRORS_FILE = new URL("../../runbooks/errors.md", import.meta.url);

const FOR_EVERY_VERB = [
  "Every verb takes:",
  "  --json      one JSON document on stdout and nothing else there, an error too",
  "  --yes       answer confirmations with yes; it never stands for an operator's signature",
  "  --no-color  no colours; NO_COLOR in the environment says the same",
  "  --help      what `sealift help VERB` prints",
  "",
  "Exit codes: 0 done or allowed; 1 internal error; 2 usage; 3 denied, or a mismatch found;",
  "4 something is missing first, or degraded; 5 failed, and all is as it was before;",
  "6 state unknown: sealift recover; 128 and the signal's number: stopped by a signal.",
  "",
  "sealift help VERB explains one verb, and sealift help CODE an error code.",
  "runbooks/ has the procedures.",
];
/** Above the first verb of each part of the list. */
export const PARTS: Readonly<Record<string, string>> = {
  demo: "To try it",
  "key generate": "Keys and release trust",
  "bundle build": "A publisher's bundle",
  verify: "Judging it",
  "sbom generate": "What is in it",
  "attest challenge": "Confidential VMs",
  "kit lock": "A host for a site",
  "site init": "Who may move a site, and to what",
  install: "Moving it",
  "tls renew": "Looking after it",
  status: "What runs",
  inventory: "Carried away and brought back",
  authorize: "Signatures, and operations that were cut off",
  "ledger show": "Evidence",
};
const FOR_ONE_VERB = "--json, --yes, --no-color and the exit codes are those of every verb: sealift help";

/** `words` are verbs' first words, a verb, an error code or nothing; options among them but --json are passed over. */
export async function printHelp(words: readonly string[]): Promise<void> {
  const topic = wordsOf(words);
  const isJson = words.includes("--json");
  const [only = ""] = topic;
  if (topic.length === 1 && CODE.test(only)) {
    const { document, lines } = explainedCode(only);
    return isJson ? printDocument(document) : printLines(lines);
  }
  const names = [...commands.keys()].filter((verb) => topic.every((word, i) => verb.split(" ")[i] === word));
  if (names.length === 0) throw unknownVerb(topic);
  const isOne = names.length === 1 && names[0] === topic.join(" ");
  // The verbs themselves are loaded only for what the list does not say of them.
  if (!isJson && !isOne) return printLines(listed(names, topic.length === 0));
  const verbs = await Promise.all(names.map(loadExplained));
  if (isJson) printDocument({ verbs });
  else printLines(verbs.flatMap(explained));
}

async function loadExplained(name: string): Promise<Explained> {
  const command = await (commands.get(name) as () => Promise<Command>)();
  const { summary, usage } = command;
  return { name, summary, usage, details: detailsOf(command), examples: examples[name] ?? [] };
}

const STATE_DETAIL = /(?:^|\W)--state DIR {2,}/;
const LABEL = /^--[^ ].*? {2,}(?=\S)/;

/** Its lines, and what they leave out because it is the same for most verbs. */
export function detailsOf({ details = [], options }: Command): readonly string[] {
  if (!("state" in options) || details.some((line) => STATE_DETAIL.test(line))) return details;
  const label = details.map((line) => LABEL.exec(line)?.[0]).find((found) => found !== undefined) ?? "";
  const state = `${"--state DIR".padEnd(label.length - 2)}  the site's state directory (default /var/lib/sealift)`;
  let end = details.findLastIndex((line) => line.startsWith("--")) + 1;
  while (details[end]?.startsWith(" ")) end += 1;
  return details.toSpliced(end, 0, state);
}

const wordsOf = (words: readonly string[]): string[] => words.filter((word) => !word.startsWith("-"));

interface Page {
  readonly document: object;
  readonly lines: readonly string[];
}

function printDocument(document: object): void {
  process.stdout.write(`${plainJson(document)}\n`);
}

function printLines(lines: readonly string[]): void {
  const { isTTY, columns } = process.stdout;
  const fitting = isTTY ? lines.flatMap((line) => wrapped(line, (columns || 80) - 1)) : lines;
  process.stdout.write(`${fitting.join("\n")}\n`);
}

type Explained = Required<Pick<Command, "name" | "usage" | "summary" | "details">> & { examples: readonly string[] };

function explained({ name, usage, summary, details, examples: typed }: Explained): string[] {
  return [
    `sealift ${name} ${usage}`.trimEnd(),
    "",
    summary,
    ...details.map((line) => `  ${line}`.trimEnd()),
    "",
    ...typed.map((line) => `Example: ${line}`),
    FOR_ONE_VERB,
  ];
}

function listed(names: readonly string[], isAll: boolean): string[] {
  const width = Math.max(...names.map((name) => name.length));
  return [
    "sealift VERB [ARGUMENTS] [OPTIONS]",
    "",
    ...names.flatMap((name) => [
      ...(isAll && name in PARTS ? [`${PARTS[name]}:`] : []),
      `  ${name.padEnd(width)}  ${summaries[name]}`,
    ]),
    "",
    ...(isAll ? FOR_EVERY_VERB : ["sealift help VERB explains one verb."]),
  ];
}

/** Its section of runbooks/errors.md. @throws USAGE if there is none */
function explainedCode(code: string): Page {
  const [, ...sections] = readFileSync(ERRORS_FILE, "utf8").split(/^## /m);
  const found = sections.find((section) => section.startsWith(`${code}\n`));
  if (found === undefined) {
    throw installerError("USAGE", `there is no error code ${JSON.stringify(code)}`, { hints: ["sealift help"] });
  }
  const text = found.slice(code.length).trim();
  return { document: { code, text }, lines: [code, "", text] };
}

/** Names the verb that was perhaps meant. */
export function unknownVerb(words: readonly string[]): Error {
  const [option = ""] = words;
  const [first = "", second] = wordsOf(words);
  if (option.startsWith("-")) {
    const problem = `got ${JSON.stringify(option)} before the verb, want options after it`;
    return installerError("USAGE", problem, { hints: ["sealift help"] });
  }
  const names = [...commands.keys()];
  const seconds = names.filter((name) => name.startsWith(`${first} `)).map((name) => name.slice(first.length + 1));
  if (seconds.length > 0 && second === undefined) {
    const problem = `${JSON.stringify(first)} alone is no verb; want one of ${seconds.join(", ")} after it`;
    return installerError("USAGE", problem, { hints: [`sealift help ${first}`] });
  }
  const typed = [first, ...(second === undefined ? [] : [second])].join(" ");
  const near = nearest(typed, names) ?? nearest(first, names);
  const shown = seconds.length > 0 ? typed : first;
  const guess = near === undefined ? "" : `; the nearest is ${JSON.stringify(near)}`;
  return installerError("USAGE", `there is no verb ${JSON.stringify(shown)}${guess}`, {
    hints: [
      ...(near === undefined ? [] : [`sealift help ${near}`]),
      seconds.length > 0 ? `sealift help ${first}` : "sealift help",
    ],
  });
}

/** What of `names` a person may have meant by `typed`: one that few slips of the fingers lead to. */
export function nearest(typed: string, names: readonly string[]): string | undefined {
  const slipsMax = Math.min(2, Math.floor(typed.length / 4));
  const [first] = names
    .filter((name) => Math.abs(name.length - typed.length) <= slipsMax)
    .map((name) => ({ name, slips: slipsBetween(typed, name) }))
    .filter(({ slips }) => slips <= slipsMax)
    .sort((a, b) => a.slips - b.slips);
  return first?.name;
}

/** Letters that are one too many, missing, another, or changed with their neighbour. */
function slipsBetween(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? Number.POSITIVE_INFINITY;
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j += 1) {
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          at(i - 1, j) + 1,
          at(i, j - 1) + 1,
          at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
          isSwapped ? at(i - 2, j - 2) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
  }
  return at(a.length, b.length);
}
