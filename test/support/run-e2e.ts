/**
 * Runs the test files that it is given, several at a time, the longest first: with one of them last, all the
 * others would have ended long before. (`node --test` takes files by their names.) Prints as its reporter `spec`.
 * Usage: run-e2e.ts FILE…
 */
import { basename } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";

/** On two processors: most files wait for containers half of their time. Memory is no limit: 1 GB each, and less. */
const AT_ONCE = 3;
/**
 * All that take over a minute, by how long they take; but the first one builds the releases that most of the others
 * need too (real-release.ts), and so those come beside it that need none. Whatever is not named comes after them.
 */
const LONGEST = [
  "deploy",
  "sbom-truth",
  "hostile-site-paths",
  "deploy-bad-input",
  "runbooks",
  "day-two",
  "demo",
  "deploy-mishaps",
  "deploy-kill",
  "backup-restore",
  "deploy-words",
  "day-two-kill",
  "deploy-approvals",
  "wizard",
  "launcher",
  "kit-engine",
  "readme",
  "images",
  "kit",
  "verify-cli",
];

const given = process.argv.slice(2);
if (given.length === 0) throw new Error("no files");
const isCalled = (name: string) => (path: string) => basename(path) === `${name}.test.ts`;
const first = LONGEST.flatMap((name) => given.filter(isCalled(name)));
const files = [...first, ...given.filter((path) => !first.includes(path))];

// Until all of them are known to have passed.
process.exitCode = 1;
run({ files, concurrency: AT_ONCE })
  .on("test:summary", ({ file, success }) => {
    if (file === undefined && success) process.exitCode = 0;
  })
  .compose(new spec())
  .pipe(process.stdout);
