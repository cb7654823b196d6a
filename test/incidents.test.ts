import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";

const RUNBOOKS = new URL("../runbooks/", import.meta.url);
const PAGE = readFileSync(new URL("incident.md", RUNBOOKS), "utf8");
const PARTS = ["Trigger", "Owner", "At once", "Then", "Evidence", "Way back"];
const sections = PAGE.split(/^## /m).slice(1);

test("each incident has what starts it, who owns it, what to type, what to keep, and the way back", () => {
  assert.ok(sections.length >= 6);
  for (const section of sections) {
    const [title = "", ...lines] = section.trim().split("\n");
    const items = lines.filter((line) => line !== "");
    const parts = items.map((line) => /^- \*\*([^*]+)\*\*: \S+ \S/.exec(line)?.[1]);
    assert.deepEqual(parts, PARTS, title);
    const doing = items.filter((line) => /^- \*\*(?:At once|Then)\*\*/.test(line)).join("\n");
    assert.match(doing, /`sealift [^`]+`/, `${title}: nothing to type`);
  }
});

test("what incidents refer to is there", () => {
  const links = [...PAGE.matchAll(/\]\(([^)#]+)/g)].map(([, path = ""]) => path);
  assert.ok(links.length > 0);
  for (const path of links) assert.ok(existsSync(new URL(path, RUNBOOKS)), path);
  for (const [, title = ""] of PAGE.matchAll(/"([A-Z][^"]+)"/g)) {
    assert.ok(
      sections.some((section) => section.startsWith(`${title}\n`)),
      title,
    );
  }
});
