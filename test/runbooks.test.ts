/** The runbooks' links lead somewhere, and the error codes that they name exist. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const DIRECTORY = join(ROOT, "runbooks");
const names = readdirSync(DIRECTORY).filter((name) => name.endsWith(".md"));
const CODES = new Set(headings("errors.md").map((line) => line.replace(/^#+ /, "")));

function read(name: string): string {
  return readFileSync(join(DIRECTORY, name), "utf8");
}

function headings(name: string): string[] {
  return read(name)
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

for (const name of names.filter((one) => one !== "errors.md")) {
  test(`links in runbooks/${name} lead to a file and a heading that are there`, () => {
    for (const [, target = ""] of read(name).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [file = "", anchor] = target.split("#");
      const path = file === "" ? name : file;
      assert.ok(existsSync(join(DIRECTORY, path)), target);
      if (anchor !== undefined) assert.ok(headings(path).map(anchorOf).includes(anchor), target);
    }
  });

  test(`error codes in runbooks/${name} are in errors.md`, () => {
    const prose = read(name).replaceAll(/^```.*?^```$/gms, "");
    const found = [...prose.matchAll(/\b(?!SEALIFT_)[A-Z]{3,}(?:_[A-Z0-9]+)+\b(?!…)/g)].map(([code]) => code);
    assert.deepEqual(
      found.filter((code) => !CODES.has(code)),
      [],
    );
  });
}

test("README's links lead to files that are there", () => {
  const targets = [...readFileSync(join(ROOT, "README.md"), "utf8").matchAll(/\]\(([^)\s#]+)\)/g)];
  for (const [, target = ""] of targets) {
    assert.ok(/^https?:/.test(target) || existsSync(join(ROOT, target)), target);
  }
});
