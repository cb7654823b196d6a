/** The page of requirements is what its source says, and every test that it names is there. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import {
  REQUIREMENTS_PAGE,
  REQUIREMENTS_SOURCE,
  readRequirements,
  requirementsPage,
} from "./support/write-requirements.ts";

const source = readFileSync(REQUIREMENTS_SOURCE, "utf8");

test("the page of requirements is what its source says, with tests that are there", () => {
  const page = requirementsPage(readRequirements(source));
  assert.equal(readFileSync(REQUIREMENTS_PAGE, "utf8"), page, "run test/support/write-requirements.ts");
});

/** The source with row SR-01 written anew. */
function withFirst(...lines: readonly string[]): string {
  return source.replace(/^SR-01:\n(?: .*\n)+/m, ["SR-01:", ...lines.map((line) => `  ${line}`), ""].join("\n"));
}

const NEEDS = "needs: x";
const HERE = "test/requirements.test.ts › the page of requirements is what its source says, with tests that are there";

for (const [what, reason, text] of [
  ["a row that is missing", /missing SR-01/, source.replace(/^SR-01:\n(?: .*\n)+/m, "")],
  ["a row that nobody asked for", /unknown SR-99/, `${source}SR-99: { needs: x, status: not-yet }\n`],
  ["a status of its own", /SR-01: status/, withFirst(NEEDS, "status: almost")],
  ["a member of its own", /SR-01: unknown member note/, withFirst(NEEDS, "status: not-yet", "note: x")],
  ["done without a test", /SR-01: done/, withFirst(NEEDS, "status: done")],
  ["done with something missing", /SR-01: done/, withFirst(NEEDS, "status: done", "missing: x", `tests: ["${HERE}"]`)],
  ["partly without what is missing", /SR-01: partly/, withFirst(NEEDS, "status: partly", `tests: ["${HERE}"]`)],
  ["not-yet with a test", /SR-01: not-yet/, withFirst(NEEDS, "status: not-yet", `tests: ["${HERE}"]`)],
  ["a test in no file", /SR-01: no test/, withFirst(NEEDS, "status: done", 'tests: ["test/none.test.ts › x"]')],
  ["a file that is no test", /SR-01: no test/, withFirst(NEEDS, "status: done", 'tests: ["test/check.sh › x"]')],
  [
    "a test by half of its title",
    /SR-01: no test/,
    withFirst(NEEDS, "status: done", `tests: ["${HERE.slice(0, -6)}"]`),
  ],
] as const) {
  test(`refuses ${what}`, () => {
    assert.throws(() => readRequirements(text), reason);
  });
}

test("takes a row that is done by a test of this file", () => {
  const [first] = readRequirements(withFirst(NEEDS, "status: done", `tests: ["${HERE}"]`));
  assert.deepEqual([first?.status, first?.tests.length], ["done", 1]);
});
