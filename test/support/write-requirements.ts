/** Writes runbooks/requirements.md: each row of the source documents, where it stands and which test shows it. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";

const ROOT = join(import.meta.dirname, "../..");
export const REQUIREMENTS_SOURCE = join(ROOT, "runbooks/requirements.yaml");
export const REQUIREMENTS_PAGE = join(ROOT, "runbooks/requirements.md");

const STATUSES = ["done", "partly", "not-yet"] as const;
export type Status = (typeof STATUSES)[number];

export interface Requirement {
  readonly id: string;
  readonly needs: string;
  readonly status: Status;
  /** What is not there, or why nothing is. */
  readonly missing?: string;
  readonly tests: readonly TestName[];
}

/** As it stands in the file, placeholders of a template included. */
export interface TestName {
  readonly file: string;
  readonly title: string;
}

/** The source documents: which rows each has, numbered from 1. */
const DOCUMENTS: readonly { readonly prefix: string; readonly rows: number; readonly title: string }[] = [
  { prefix: "SR", rows: 49, title: "A. Runtime governance and release trust (SR)" },
  { prefix: "SP", rows: 72, title: "B. Security primitives and personal data (SP)" },
  { prefix: "CL", rows: 26, title: "C. Private operation and reviewable evidence (CL)" },
  { prefix: "AS", rows: 36, title: "D. Permissions, confidential computing, lifecycle of data (AS)" },
  { prefix: "RT", rows: 30, title: "E. Routing, metadata only, supply chain (RT)" },
  { prefix: "X", rows: 14, title: "F. What the others need in order to hold (X)" },
];

const IDS = DOCUMENTS.flatMap(({ prefix, rows }) =>
  Array.from({ length: rows }, (_, index) => `${prefix}-${String(index + 1).padStart(2, "0")}`),
);

/** Each row once, in order. @throws Error that names every row that is wrong */
export function readRequirements(source: string): Requirement[] {
  const rows = parse(source) as Readonly<Record<string, unknown>>;
  const problems: string[] = [];
  const ids = Object.keys(rows);
  if (ids.join() !== IDS.join()) {
    const missing = IDS.filter((id) => !ids.includes(id));
    const unknown = ids.filter((id) => !IDS.includes(id));
    problems.push(
      `rows: missing ${missing.join(" ") || "none"}, unknown ${unknown.join(" ") || "none"}, or not in order`,
    );
  }
  const requirements = ids.map((id) => readRow(id, rows[id], problems));
  if (problems.length > 0) throw new Error(problems.join("\n"));
  return requirements;
}

function readRow(id: string, row: unknown, problems: string[]): Requirement {
  const { needs, status, missing, tests = [], ...rest } = (row ?? {}) as Readonly<Record<string, unknown>>;
  const say = (problem: string): void => void problems.push(`${id}: ${problem}`);
  if (Object.keys(rest).length > 0) say(`unknown member ${Object.keys(rest).join(", ")}`);
  if (typeof needs !== "string" || needs === "") say("no needs");
  if (missing !== undefined && (typeof missing !== "string" || missing === "")) say("missing is no text");
  const known = STATUSES.find((one) => one === status);
  const names = (Array.isArray(tests) ? tests : [tests]).map((name) => readTestName(String(name)));
  if (known === undefined) say(`status: got ${JSON.stringify(status)}, want ${STATUSES.join(", ")}`);
  if (known === "done" && (names.length === 0 || missing !== undefined))
    say("done without a test, or with something missing");
  if (known === "partly" && missing === undefined) say("partly, and does not say what is missing");
  if (known === "not-yet" && names.length > 0) say("not-yet, and names a test");
  for (const name of names) if (!isThere(name)) say(`no test "${name.file} › ${name.title}"`);
  return {
    id,
    needs: String(needs),
    status: known ?? "not-yet",
    ...(typeof missing === "string" && { missing }),
    tests: names,
  };
}

function readTestName(text: string): TestName {
  const [file = "", ...title] = text.split(" › ");
  return { file, title: title.join(" › ") };
}

const sources = new Map<string, string>();

function isThere({ file, title }: TestName): boolean {
  const path = join(ROOT, file);
  if (!/^test\/[a-z0-9/-]+\.test\.ts$/.test(file) || !existsSync(path)) return false;
  const source = sources.get(file) ?? readFileSync(path, "utf8");
  sources.set(file, source);
  return new RegExp(`\\b(?:it|test)\\(\\s*(["'\`])${RegExp.escape(title)}\\1`).test(source);
}

export function requirementsPage(requirements: readonly Requirement[]): string {
  const count = (status: Status): number => requirements.filter((row) => row.status === status).length;
  const sections = DOCUMENTS.map(({ prefix, title }) => {
    const rows = requirements.filter(({ id }) => id.startsWith(`${prefix}-`));
    const done = rows.filter(({ status }) => status === "done").length;
    return `\n## ${title}\n${rows.length} rows, ${done} done.\n\n${TABLE_HEAD}${rows.map(line).join("")}`;
  });
  return `# Requirements

Generated from \`runbooks/requirements.yaml\`: \`node_modules/.bin/node test/support/write-requirements.ts\`. A unit
test holds this page to it, and each test named here exists, below \`test/\`; that they pass is for \`npm test\` to say.

| status | rows | means |
|---|---|---|
| **done** | ${count("done")} | the tests show it |
| **partly** | ${count("partly")} | the tests show a part; what is missing is said |
| not yet | ${count("not-yet")} | nothing shows it, whatever else a document of ours says |
| | ${requirements.length} | |

Where a title holds \`\${…}\` there are several tests of that form.
${sections.join("")}`;
}

const TABLE_HEAD = "| Row | Needs | Status | Missing | Shown by |\n|---|---|---|---|---|\n";

function line({ id, needs, status, missing, tests }: Requirement): string {
  const shown = tests.map(({ file, title }) => `\`${file.replace(/^test\//, "")}\` › ${title}`).join("<br>");
  const cells = [id, needs, status === "not-yet" ? "not yet" : `**${status}**`, missing ?? "", shown || "–"];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
}

if (import.meta.main) {
  writeFileSync(REQUIREMENTS_PAGE, requirementsPage(readRequirements(readFileSync(REQUIREMENTS_SOURCE, "utf8"))));
}
