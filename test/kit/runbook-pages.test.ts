/** The runbooks as pages: the project's own, as a kit has them, and texts that nobody should have written. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { runbookPages } from "../../bundles/kit/runbook-pages.ts";
import { coded } from "../support/test-trust.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const OWN = globSync(["SECURITY.md", "LICENSE", "runbooks/**/*.{md,yaml}"], { cwd: ROOT });
const TEXTS = new Map(
  OWN.filter((path) => path.endsWith(".md")).map((path) => [path, readFileSync(`${ROOT}${path}`, "utf8")]),
);
const PATHS = new Set(OWN);

const idsOf = (html: string): string[] => [...html.matchAll(/ id="([^"]*)"/g)].map(([, id = ""]) => id);

test("each runbook is a page that runs nothing and loads nothing", async () => {
  const pages = await runbookPages(TEXTS, PATHS);
  assert.ok(TEXTS.size > 60);
  for (const path of TEXTS.keys()) {
    const html = pages.get(path.replace(/\.md$/, ".html")) ?? assert.fail(path);
    assert.match(
      html,
      /^<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Sec/,
    );
    assert.match(html, /content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"/);
    assert.match(html, /<title>[^<]{3,}<\/title>/);
    assert.doesNotMatch(html, /<(?:script|img|iframe|object|embed|link|svg|form)\b|\s(?:on[a-z]+|src|style)=/i, path);
    const ids = idsOf(html);
    assert.deepEqual(ids, [...new Set(ids)], path);
  }
  assert.deepEqual(await runbookPages(TEXTS, PATHS), pages);
});

test("every link between pages leads from a file to a file, and to a heading that it has", async () => {
  const pages = await runbookPages(TEXTS, PATHS);
  let followed = 0;
  for (const [path, html] of pages) {
    for (const [, href = ""] of html.matchAll(/<a href="([^"]*)"/g)) {
      if (/^https:\/\//.test(href)) continue;
      const [file = "", anchor] = href.split("#");
      const target = file === "" ? path : posix.join(posix.dirname(path), file);
      const to = pages.get(target);
      assert.ok(to !== undefined || PATHS.has(target), `${path}: ${href}`);
      assert.doesNotMatch(target, /\.md$/, `${path}: ${href}`);
      if (anchor !== undefined) assert.ok(idsOf(to ?? "").includes(anchor), `${path}: ${href}`);
      followed += 1;
    }
  }
  assert.ok(followed > 150, `${followed} links`);
  for (const path of [
    "runbooks/errors.html",
    "SECURITY.html",
    "runbooks/adr/index.html",
    "runbooks/adr/0001-no-build-step.html",
  ]) {
    const start = posix.relative(posix.dirname(path), "runbooks/README.html");
    assert.ok(pages.get(path)?.includes(`<nav><a href="${start}">`), path);
  }
  assert.ok(!pages.get("runbooks/README.html")?.includes("<nav>"));
});

const one = async (text: string, more: Readonly<Record<string, string>> = {}): Promise<string> => {
  const texts = new Map(Object.entries({ "a.md": text, ...more }));
  return (await runbookPages(texts, new Set(texts.keys()))).get("a.html") ?? "";
};

test("HTML in a text is shown and not taken, in headings and titles too", async () => {
  const html = await one('# A <script>1</script> & "b"\n\n<img src=x onerror=alert(1)>\n\nin <b>line</b> `<i>`\n');
  assert.doesNotMatch(html, /<script|<img|<b>|<i>/);
  assert.match(html, /<title>A &lt;script&gt;1&lt;\/script&gt; &amp; &quot;b&quot;<\/title>/);
  assert.match(html, /&lt;img src=x onerror=alert\(1\)&gt;/);
});

test("headings are named as GitHub names them, twice the same with a number", async () => {
  const html = await one("# The `CODE_ONE`, now\n\n## Same\n\n## Same\n\n## 1. Say where: *things* are?\n");
  assert.deepEqual(idsOf(html), ["the-code_one-now", "same", "same-1", "1-say-where-things-are"]);
});

test("a link to a page keeps its place there; one to nothing is refused", async () => {
  const more = { "b/c.md": "# C\n\n[back](../a.md#top)\n" };
  const html = await one("[c](b/c.md#x) [dir](b/) [out](https://example.com/x.md) [here](#y)\n", more);
  const links = [...html.matchAll(/href="([^"]*)"/g)].map(([, href]) => href);
  assert.deepEqual(links, ["b/c.html#x", "b/index.html", "https://example.com/x.md", "#y"]);
  for (const href of ["gone.md", "../a.md", "b/gone.yaml#x", "d/"]) {
    await assert.rejects(one(`[x](${href})\n`, more), coded("KIT_SOURCE_REFUSED"), href);
  }
});
