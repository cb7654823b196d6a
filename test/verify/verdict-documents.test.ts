import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import test from "node:test";
import { runInNewContext } from "node:vm";
import { Ajv } from "ajv";
import { digestOf } from "../../bundles/model/digest.ts";
import { schemaProblem } from "../../bundles/model/schema.ts";
import { verdictSchema } from "../../verify/cage/protocol.ts";
import type { ReleaseContents } from "../../verify/release-contents.ts";
import { CHECKS, failed, notChecked, passed, type Verdict } from "../../verify/verdict.ts";
import { CHECK_QUESTIONS, expiryWarning } from "../../verify/verdict-facts.ts";
import { renderVerdictHtml } from "../../verify/verdict-html.ts";
import { renderVerdictSarif } from "../../verify/verdict-sarif.ts";
import { renderVerdictText } from "../../verify/verdict-text.ts";

/** Of what a bundle could carry to act on a terminal, a browser or a viewer. */
const HOSTILE =
  "\u001b]0;x\u0007\u202e</td><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & [here](https://evil.invalid) {0} \n\r";

/** Control and format characters, but for the end of a line. */
const ACTING = /[^\P{Cc}\n]|\p{Cf}/u;

const verdict: Verdict = {
  schemaVersion: 1,
  decision: "deny",
  scope: "advisory",
  subject: { digest: digestOf("release"), appliance: HOSTILE, version: HOSTILE },
  policy: { digest: digestOf("policy") },
  trust: { rootVersion: 1, targetsVersion: 2, rootFingerprint: "ab".repeat(32), expires: "2026-06-11T00:00:00Z" },
  time: { at: "2026-06-01T00:00:00.000Z", source: "host-clock" },
  signatures: [
    {
      subject: digestOf("release"),
      name: HOSTILE,
      predicateType: HOSTILE,
      role: "release",
      holder: HOSTILE,
      key: "cd".repeat(32),
      certificate: null,
      objects: [digestOf("object")],
    },
    {
      subject: digestOf("release"),
      name: HOSTILE,
      predicateType: HOSTILE,
      role: "release",
      holder: HOSTILE,
      key: "ce".repeat(32),
      certificate: { identity: HOSTILE, issuer: HOSTILE, at: HOSTILE },
      objects: [digestOf("other object")],
    },
  ],
  provenance: [
    {
      name: HOSTILE,
      subject: digestOf("release"),
      builder: HOSTILE,
      buildType: HOSTILE,
      inputs: 3,
      locked: 2,
      source: { digest: HOSTILE, commit: HOSTILE },
      slsaBuildLevel: 1,
      levelReason: HOSTILE,
    },
  ],
  findings: [
    ...CHECKS.map((check) => passed(check, "release", "good")),
    failed("layout", HOSTILE, "LAYOUT_FOREIGN_FILE", HOSTILE),
    notChecked("scan", HOSTILE, HOSTILE),
    { check: "images", subject: HOSTILE, status: "error", code: "INTERNAL", message: HOSTILE, reason: "" },
  ],
};

const good: Verdict = {
  ...verdict,
  decision: "allow",
  scope: "site",
  subject: { digest: digestOf("release"), appliance: "gateway", version: "1.0.0" },
  signatures: [],
  findings: CHECKS.map((check) => passed(check, "release", "good")),
};

test("the published schema accepts these verdicts, and none without its signatures or with something more", () => {
  for (const one of [verdict, good]) assert.equal(schemaProblem(verdictSchema, one), undefined);
  const { signatures: _, ...without } = good;
  assert.notEqual(schemaProblem(verdictSchema, without), undefined);
  assert.notEqual(schemaProblem(verdictSchema, { ...good, comment: "" }), undefined);
});

test("the text names signer, trust, time and clock, and lets no character act", () => {
  const lines = renderVerdictText(verdict);
  const text = lines.join("\n");
  assert.match(text, /^DENIED/);
  assert.match(text, /^ {2}FAIL .*\[([A-Z_]+)\]\n(?:.*\n)*? {2}what it means: sealift help \1\n/m);
  assert.doesNotMatch(renderVerdictText(good).join("\n"), /sealift help/);
  assert.match(text, /trust {5}root 1, targets 2/);
  assert.match(text, /2026-06-01T00:00:00.000Z \(this machine's clock\)/);
  assert.match(text, new RegExp(`signed {4}release .*key ${"cd".repeat(32)}`));
  assert.match(text, /warning {3}the release trust expires on 2026-06-11T00:00:00Z, in 10 days/);
  assert.doesNotMatch(text, ACTING);
  assert.equal(lines.filter((line) => line.includes("\n")).length, 0);
});

test("expiry is warned about ahead, and not when it is far away", () => {
  const expiring = (expires: string | null) => expiryWarning({ ...good, trust: { ...good.trust, expires } });
  assert.equal(expiring(null), undefined);
  assert.equal(expiring("2027-06-01T00:00:00Z"), undefined);
  assert.match(expiring("2026-07-30T00:00:00Z") ?? "", /in 59 days/);
});

function script(html: string): string {
  return /<script>(.*)<\/script>/s.exec(html)?.[1] ?? "";
}

test("the HTML holds every finding, loads nothing, and its policy allows its own script and style only", () => {
  for (const one of [verdict, good]) {
    const html = renderVerdictHtml(one, "0.1.0");
    const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(html)?.[1] ?? "";
    const style = /<style>(.*)<\/style>/s.exec(html)?.[1] ?? "";
    assert.equal(
      policy,
      `default-src 'none'; style-src ${hash(style)}; script-src ${hash(script(html))}; base-uri 'none'; form-action 'none'`,
    );
    assert.equal(html.match(/<script/g)?.length, 1);
    assert.doesNotMatch(
      html,
      /<(?:img|link|iframe|object|embed|form|base)\b|<[^>]*\s(?:src|href|style|on[a-z]+)\s*=|url\(|@import/,
    );
    const rows = html.match(/<tr data-status=/g)?.length;
    assert.equal(rows, one.findings.length);
    for (const { rootFingerprint } of [one.trust]) {
      for (const group of rootFingerprint?.match(/.{8}/g) ?? []) assert.ok(html.includes(group));
    }
    assert.ok(html.includes(one.policy.digest) && html.includes(one.time.at));
  }
});

const contents: ReleaseContents = {
  images: [
    {
      name: HOSTILE,
      digest: digestOf("image"),
      sbom: digestOf("sbom"),
      packages: [
        { kind: HOSTILE, name: HOSTILE, version: HOSTILE, licences: HOSTILE },
        { kind: "npm", name: "left-pad", version: "1.0.0", licences: "MIT" },
      ],
    },
  ],
  records: HOSTILE,
  vulnerabilities: [
    { image: "app", id: "CVE-1", level: "high 7.5", package: "pkg:npm/a@1", fixed: "2", status: "open", said: "" },
    { image: HOSTILE, id: HOSTILE, level: HOSTILE, package: HOSTILE, fixed: "", status: "suppressed", said: HOSTILE },
  ],
  comparison: {
    against: HOSTILE,
    images: [
      {
        name: HOSTILE,
        presence: "added",
        unchanged: 0,
        rows: [{ kind: HOSTILE, package: HOSTILE, from: HOSTILE, to: HOSTILE, detail: HOSTILE }],
      },
    ],
    alarms: 1,
    isScanned: true,
    records: HOSTILE,
  },
  leftOut: 3,
};

test("the page says what is in the release: packages, vulnerabilities, changes, an alarm and what was left out", () => {
  const html = renderVerdictHtml(good, "0.1.0", contents);
  assert.match(html, /<tr data-status="npm"><td><bdi>npm<\/bdi><\/td><td><bdi>left-pad<\/bdi>/);
  assert.match(html, /<tr data-status="high"><td><bdi>high 7\.5<\/bdi><\/td><td><bdi>CVE-1<\/bdi>/);
  assert.match(html, /1 open, 1 suppressed/);
  assert.match(html, /ALARM: 1 packages/);
  assert.match(html, /3 rows are left out/);
  assert.match(renderVerdictHtml(good, "0.1.0"), /Not shown: it was not asked for, or an earlier check failed/);
});

test("nothing that the page describes is markup, ends a line or turns the text around", () => {
  const html = renderVerdictHtml(good, "0.1.0", contents);
  const body = html.slice(html.indexOf("<body>")).replace(script(html), "");
  assert.doesNotMatch(body, /<script>alert|<img/);
  assert.doesNotMatch(body, ACTING);
  assert.equal(html.match(/<script/g)?.length, 1);
  assert.doesNotMatch(html, /<[^>]*\s(?:src|href|style|on[a-z]+)\s*=/);
});

/** As much of a page as the script asks for. */
class Part {
  readonly dataset: Record<string, string>;
  readonly children: unknown[] = [];
  readonly listeners = new Map<string, () => void>();
  readonly textContent: string;
  hidden = false;
  checked = true;
  value = "";
  constructor(dataset: Record<string, string> = {}, textContent = "") {
    this.dataset = dataset;
    this.textContent = textContent;
  }
  append(...parts: unknown[]): void {
    this.children.push(...parts);
  }
  addEventListener(name: string, listener: () => void): void {
    this.listeners.set(name, listener);
  }
}

test("the one script filters each table by text and by status, and leaves the other tables alone", () => {
  const html = renderVerdictHtml(good, "0.1.0", contents);
  const rowsOf = (id: string): Part[] => {
    const table = new RegExp(`<table id="${id}">(.*?)</table>`, "s").exec(html)?.[1] ?? "";
    return [...table.matchAll(/<tr data-status="([^"]*)">(.*?)<\/tr>/gs)].map(
      ([, status = "", text = ""]) => new Part({ status }, text.replace(/<[^>]*>/g, " ")),
    );
  };
  const places = [...html.matchAll(/data-filters="([^"]*)"/g)].map(([, filters = ""]) => new Part({ filters }));
  assert.deepEqual(
    places.map(({ dataset }) => dataset["filters"]),
    ["findings", "vulnerabilities", "changes", "packages-0"],
  );
  const tables = new Map(places.map(({ dataset: { filters = "" } }) => [filters, rowsOf(filters)]));
  const document = {
    querySelectorAll: (selector: string) =>
      selector === "[data-filters]" ? places : tables.get(/^#(\S+) tr\[data-status\]$/.exec(selector)?.[1] ?? ""),
    createElement: () => new Part(),
  };
  runInNewContext(script(html), { document });
  const shown = (id: string): number => tables.get(id)?.filter(({ hidden }) => !hidden).length ?? -1;
  assert.deepEqual([shown("packages-0"), shown("vulnerabilities")], [2, 2]);
  const find = places.at(-1)?.children.find((one) => one instanceof Part);
  assert.ok(find instanceof Part);
  find.value = "LEFT-pad";
  find.listeners.get("input")?.();
  assert.deepEqual([shown("packages-0"), shown("vulnerabilities")], [1, 2]);
  const label = places[1]?.children.find(
    (one) => one instanceof Part && String(one.children[1]).includes("high"),
  ) as Part;
  const [box] = label.children as [Part];
  box.checked = false;
  box.listeners.get("change")?.();
  assert.equal(shown("vulnerabilities"), 1);
  box.checked = true;
  box.listeners.get("change")?.();
  assert.equal(shown("vulnerabilities"), 2);
});

test("in the HTML no string of the bundle is markup, ends a line or turns the text around", () => {
  const html = renderVerdictHtml(verdict, "0.1.0");
  const body = html.slice(html.indexOf("<body>")).replace(script(html), "");
  assert.doesNotMatch(body, /<script>alert|<img/);
  assert.doesNotMatch(body, ACTING);
  assert.match(body, /&lt;script&gt;alert\(1\)&lt;\/script&gt;/);
  assert.match(body, /\\u\{202e\}/);
});

interface Result {
  readonly ruleId: string;
  readonly ruleIndex: number;
  readonly kind: string;
  readonly level: string;
  readonly message: { readonly text: string };
}

interface Log {
  readonly runs: readonly {
    readonly tool: { readonly driver: { readonly rules: readonly { readonly id: string }[] } };
    readonly invocations: readonly { readonly executionSuccessful: boolean; readonly exitCode: number }[];
    readonly results: readonly Result[];
    readonly properties: object;
  }[];
}

test("the SARIF log has a rule for each check and a result for each finding, and says what was not checked", () => {
  const [run] = (renderVerdictSarif(verdict, "0.1.0") as Log).runs;
  assert.ok(run);
  assert.deepEqual(
    run.tool.driver.rules.map(({ id }) => id),
    [...CHECKS],
  );
  assert.equal(run.results.length, verdict.findings.length);
  for (const { ruleId, ruleIndex } of run.results) assert.equal(ruleId.split("/")[0], CHECKS[ruleIndex]);
  const [failure, unmade, broken] = run.results.slice(-3);
  assert.deepEqual([failure?.ruleId, failure?.kind, failure?.level], ["layout/LAYOUT_FOREIGN_FILE", "fail", "error"]);
  assert.deepEqual([unmade?.kind, unmade?.level], ["open", "none"]);
  assert.match(unmade?.message.text ?? "", /^not checked: /);
  assert.deepEqual([broken?.kind, broken?.level], ["fail", "error"]);
  assert.deepEqual([run.invocations[0]?.executionSuccessful, run.invocations[0]?.exitCode], [false, 3]);
  assert.partialDeepStrictEqual(run.properties, { decision: "deny", scope: "advisory", trust: verdict.trust });
  const [fine] = (renderVerdictSarif(good, "0.1.0") as Log).runs;
  assert.deepEqual([fine?.invocations[0]?.executionSuccessful, fine?.invocations[0]?.exitCode], [true, 0]);
});

test("in SARIF no string of the bundle is a link or a placeholder, or acts on a terminal", () => {
  const text = JSON.stringify(renderVerdictSarif(verdict, "0.1.0"));
  assert.doesNotMatch(text, /\\u001b/);
  assert.doesNotMatch(text, ACTING);
  const [run] = (renderVerdictSarif(verdict, "0.1.0") as Log).runs;
  for (const { message } of run?.results ?? []) {
    assert.doesNotMatch(message.text, /(?<!\\)\[|(?<!\{)\{0\}(?!\})/);
  }
});

const SARIF_SCHEMA = new URL(
  "../../node_modules/@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json",
  import.meta.url,
);

test("the SARIF log is valid by the schema of OASIS", {
  skip: existsSync(SARIF_SCHEMA) ? false : "the SARIF schema (@microsoft/jest-sarif) is not installed",
}, () => {
  const ajv = new Ajv({ strict: false, validateFormats: false, unicodeRegExp: false });
  // Draft 4, of which it uses nothing that draft 7 reads otherwise but these two names.
  const { $schema: _, id, ...schema } = JSON.parse(readFileSync(SARIF_SCHEMA, "utf8")) as { [name: string]: unknown };
  assert.match(String(id), /sarif/);
  const validate = ajv.compile(schema);
  for (const one of [verdict, good]) {
    assert.ok(validate(JSON.parse(JSON.stringify(renderVerdictSarif(one, "0.1.0")))), JSON.stringify(validate.errors));
  }
  assert.equal(validate({ version: "2.1.0", runs: [{}] }), false);
});

test("every check has a question", () => {
  assert.deepEqual(Object.keys(CHECK_QUESTIONS), [...CHECKS]);
});
