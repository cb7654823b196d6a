/** The documents' links lead somewhere, the files and the error codes that they name exist. */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const documents = globSync(["*.md", "runbooks/**/*.md", "test/**/*.md"], {
  cwd: ROOT,
  exclude: ["**/node_modules/**"],
}).sort();
const CODES = new Set(headings("runbooks/errors.md").map((line) => line.replace(/^#+ /, "")));
/** Names files below test/, and has a test of its own. */
const REQUIREMENTS = "runbooks/requirements.md";
/** What an attacker writes, or what a checkout does not have. */
const NO_FILES = ["compose/../elsewhere"];

function read(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

function prose(path: string): string {
  return read(path).replaceAll(/^```.*?^```$/gms, "");
}

function headings(path: string): string[] {
  return prose(path)
    .split("\n")
    .filter((line) => /^#+ /.test(line));
}

function anchorOf(heading: string): string {
  return heading
    .replace(/^#+ /, "")
    .toLowerCase()
    .replaceAll(/[^\w -]/g, "")
    .replaceAll(" ", "-");
}

/** What is wrong with a link in the document at `path`, if anything is. */
function brokenLink(path: string, target: string): string | undefined {
  if (/^https?:/.test(target)) return undefined;
  const [file = "", anchor] = target.split("#");
  const to = file === "" ? path : normalize(join(dirname(path), file));
  if (!existsSync(join(ROOT, to))) return `${target}: no such file`;
  if (anchor === undefined || headings(to).map(anchorOf).includes(anchor)) return undefined;
  return `${target}: no such heading`;
}

for (const path of documents) {
  test(`links in ${path} lead to a file and a heading that are there`, () => {
    const targets = [...prose(path).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
    assert.deepEqual(
      targets.flatMap((target) => brokenLink(path, target) ?? []),
      [],
    );
  });

  if (path === REQUIREMENTS) continue;
  test(`files of ours that ${path} names are there`, () => {
    const named = read(path).matchAll(
      /(?<![\w/.-])(?:bundles|compose|installer|runbooks|sbom|test|verify)\/[\w./-]*\w/g,
    );
    assert.deepEqual(
      [...named].map(([name]) => name).filter((name) => !NO_FILES.includes(name) && !existsSync(join(ROOT, name))),
      [],
    );
  });
}

/** Of operators and reviewers; decisions name codes and constants of others. */
const forPeople = documents.filter((path) => !/\/adr\/|\/vectors\/|errors\.md$/.test(path));
for (const path of forPeople) {
  test(`error codes in ${path} are in errors.md`, () => {
    const found = [...prose(path).matchAll(/\b(?!SEALIFT_|TLS_)[A-Z]{3,}(?:_[A-Z0-9]+)+\b(?!…)/g)].map(
      ([code]) => code,
    );
    assert.deepEqual(
      found.filter((code) => !CODES.has(code)),
      [],
    );
  });
}

/** The test that runs the `sh` blocks of each. */
const RUN_BY: Readonly<Record<string, string>> = {
  "audit-log": "compose/services/audit/tree",
  "backup-restore": "e2e/backup-restore",
  "day-two": "e2e/runbooks",
  install: "e2e/runbooks",
  kit: "e2e/kit",
  policy: "e2e/key-runbooks",
  recover: "e2e/runbooks",
  "release-trust": "e2e/key-runbooks",
  rollback: "e2e/runbooks",
  upgrade: "e2e/runbooks",
  "verify-independently": "e2e/verify-independently",
};

test("each block of commands in a runbook says whether a test runs it, and that test is there", () => {
  const runbooks = documents.filter((path) => /^runbooks\/[\w-]+\.md$/.test(path));
  const opened = (path: string): string[] =>
    [...read(path).matchAll(/^ *```([^\n]*)\n.*?^ *```$/gms)].map(([, language = ""]) => language);
  assert.deepEqual(
    runbooks.filter((path) => opened(path).includes("")),
    [],
    "blocks without a language",
  );
  const withCommands = runbooks.filter((path) => opened(path).some((language) => /^sh\b/.test(language)));
  assert.deepEqual(
    withCommands,
    Object.keys(RUN_BY).map((name) => `runbooks/${name}.md`),
  );
  for (const [name, by] of Object.entries(RUN_BY)) {
    const source = read(`test/${by}.test.ts`);
    assert.ok(source.includes(`${name}.md`) || source.includes(`"${name}"`), `${by} reads ${name}.md`);
  }
});

test("a link that leads nowhere would be found", () => {
  assert.equal(brokenLink("README.md", "runbooks/nowhere.md"), "runbooks/nowhere.md: no such file");
  assert.equal(brokenLink("README.md", "SECURITY.md#nowhere"), "SECURITY.md#nowhere: no such heading");
  assert.equal(brokenLink("runbooks/media.md", "#nowhere"), "#nowhere: no such heading");
  assert.equal(brokenLink("runbooks/adr/0001-no-build-step.md", "../errors.md#trust_expired"), undefined);
});
