/**
 * The verdict as HTML in a real browser: it loads nothing, its one script only hides rows, without scripting and
 * in print all is there, and it fits a narrow window. SEALIFT_SCREENSHOTS names a directory for pictures to look at.
 */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { renderVerdictHtml } from "../../verify/verdict-html.ts";
import { badBundles, type Exhibit, goodExhibit } from "../support/bad-bundles.ts";
import { Page } from "../support/browser.ts";
import { judge } from "../support/judge.ts";
import { skipWithout } from "../support/peers.ts";
import { scratch } from "../support/scratch.ts";

const skip = skipWithout("chromium");
const SCREENSHOTS = process.env["SEALIFT_SCREENSHOTS"];
const bad = badBundles.find(({ code }) => code === "COMPOSE_NOT_PINNED") as (typeof badBundles)[number];

/** The verdict on `exhibit` as a file, opened in a page that records what it asks for and complains of. */
async function opened(t: TestContext, exhibit: Exhibit, scripting = true): Promise<{ page: Page; url: string }> {
  const directory = await scratch(t);
  const [bundle, html] = [join(directory, "bundle"), join(directory, "verdict.html")];
  await writeFile(bundle, exhibit.bytes);
  const { policy, at } = exhibit;
  const options = { trustFiles: exhibit.trustFiles, ...(policy && { policy }), ...(at !== undefined && { at }) };
  await writeFile(html, renderVerdictHtml(await judge(bundle, options), "0.1.0"));
  const page = await Page.open(t);
  for (const domain of ["Network", "Log", "Runtime"]) await page.send(`${domain}.enable`);
  if (!scripting) await page.send("Emulation.setScriptExecutionDisabled", { value: true });
  const url = pathToFileURL(html).href;
  await page.go(url);
  return { page, url };
}

async function picture(page: Page, name: string): Promise<void> {
  if (SCREENSHOTS !== undefined) await page.screenshot(join(SCREENSHOTS, `${name}.png`));
}

const shownRows = (page: Page): Promise<unknown> =>
  page.value(`[...document.querySelectorAll("tr[data-status]")].filter((row) => row.offsetHeight > 0).length`);
const allRows = (page: Page): Promise<unknown> => page.value(`document.querySelectorAll("tr[data-status]").length`);

test("asks for nothing but itself, and breaks no rule of its own", { skip }, async (t) => {
  for (const [name, exhibit] of [
    ["allowed", goodExhibit],
    ["denied", bad.make()],
  ] as const) {
    const { page, url } = await opened(t, exhibit);
    const asked = page.events.flatMap(({ method, params }) =>
      method === "Network.requestWillBeSent" ? [(params?.["request"] as { url: string } | undefined)?.url] : [],
    );
    assert.deepEqual(asked, [url]);
    const complaints = page.events.filter(({ method }) =>
      ["Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"].includes(method ?? ""),
    );
    assert.deepEqual(complaints, []);
    assert.equal(await page.value(`document.querySelector(".decision").textContent`), name.toUpperCase());
    await picture(page, name);
    // What is put into the page later must not load or run either.
    await page.value(
      `document.body.insertAdjacentHTML("beforeend", "<img src=http://127.0.0.1:9/x onerror='window.ran = 1'>")`,
    );
    await new Promise((resolve) => setTimeout(resolve, 200));
    const log = page.events.filter(({ method }) => method === "Log.entryAdded");
    assert.match(JSON.stringify(log), /Content Security Policy/);
    assert.equal(await page.value("window.ran"), undefined);
  }
});

test("hides rows by status and by text, and shows them again", { skip }, async (t) => {
  const { page } = await opened(t, bad.make());
  const all = await allRows(page);
  assert.equal(await shownRows(page), all);
  const boxes = `[...document.querySelectorAll("#filter input, .filter input")].filter(({ type }) => type === "checkbox")`;
  await page.value(`${boxes}.forEach((box) => box.click())`);
  const hidden = Number(await shownRows(page));
  assert.ok(hidden < Number(all), `${hidden} of ${all} rows`);
  await picture(page, "filtered");
  // On paper all is there.
  await page.send("Emulation.setEmulatedMedia", { media: "print" });
  assert.equal(await shownRows(page), all);
  await picture(page, "print");
  await page.send("Emulation.setEmulatedMedia", { media: "" });
  await page.value(`${boxes}.forEach((box) => box.click())`);
  assert.equal(await shownRows(page), all);
});

test("says the same without scripting, in a narrow window and in the dark", { skip }, async (t) => {
  const { page } = await opened(t, bad.make(), false);
  assert.equal(await shownRows(page), await allRows(page));
  assert.equal(await page.value(`document.querySelectorAll("input").length`), 0);
  await page.send("Emulation.setDeviceMetricsOverride", {
    width: 420,
    height: 900,
    deviceScaleFactor: 1,
    mobile: false,
  });
  await page.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: "dark" }] });
  const [width, window_] = (await page.value("[document.documentElement.scrollWidth, innerWidth]")) as [number, number];
  assert.ok(width <= window_, `${width} of ${window_} pixels`);
  await picture(page, "narrow");
});

test("breaks no word that has a column of its own", { skip }, async (t) => {
  const { page } = await opened(t, bad.make());
  const broken = await page.value(`[...document.querySelectorAll("tr[data-status] td:nth-child(-n+2)")]
    .filter((cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      return new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1;
    }).map(({ textContent }) => textContent)`);
  assert.deepEqual(broken, []);
});
