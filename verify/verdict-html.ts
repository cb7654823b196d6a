/**
 * A verdict as one HTML file that a reviewer can keep, print and open anywhere: nothing is loaded, and
 * everything is there with scripting off. The one inline script only hides rows that are filtered out; the
 * page's own policy names it, and the style, by hash, so that nothing else could ever run.
 */
import { createHash } from "node:crypto";
import { contentsHtml } from "./contents-html.ts";
import { filterPlace, html, table } from "./html.ts";
import type { ReleaseContents } from "./release-contents.ts";
import { CHECKS, type Finding, type Verdict, type VerdictProvenance, type VerdictSignature } from "./verdict.ts";
import { CHECK_QUESTIONS, clockName, countFindings, expiryWarning, releaseName } from "./verdict-facts.ts";

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --dim: #8882; --bad: #b3261e; --good: #1b6e3c; --open: #8a5a00 }
@media (prefers-color-scheme: dark) { :root { --bad: #ff897d; --good: #7bd69b; --open: #ffc25c } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1.5rem }
h1 { font-size: 1.5rem; margin: 0 0 .25rem }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem }
.decision { font-weight: 700; border: 2px solid; border-radius: .4rem; padding: .1rem .6rem; margin-right: .5rem }
.allow, .pass { color: var(--good) }
.deny, .fail, .error { color: var(--bad) }
.not-checked { color: var(--open) }
.warning { border-left: 4px solid var(--open); padding: .3rem .8rem; background: var(--dim) }
code, td.code { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: baseline; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600 }
td { overflow-wrap: anywhere }
td.status { font-weight: 600 }
td.name, td.status, td.status + td { white-space: nowrap }
.facts th { width: 11rem }
.scroll { overflow-x: auto }
.scroll table:not(.facts) { min-width: 44rem }
.filter { margin: .5rem 0 }
.filter label { margin: 0 1rem 0 0 }
.filter input[type=search] { margin-right: 1rem; font: inherit }
[hidden] { display: none }
@media print {
  :root { color-scheme: light; --bad: #000; --good: #000; --open: #000 }
  body { font-size: 10pt; max-width: none; padding: 0 }
  .filter { display: none }
  .scroll table:not(.facts) { min-width: 0 }
  thead { display: table-header-group }
  tr, .warning { break-inside: avoid }
  h2, h3 { break-after: avoid }
  tr[hidden] { display: table-row }
}
`;

const SCRIPT = `
for (const place of document.querySelectorAll("[data-filters]")) {
  const rows = [...document.querySelectorAll("#" + place.dataset.filters + " tr[data-status]")];
  const unwanted = new Set();
  let text = "";
  const show = () => rows.forEach((row) => {
    row.hidden = unwanted.has(row.dataset.status) || !row.textContent.toLowerCase().includes(text);
  });
  const find = Object.assign(document.createElement("input"), { type: "search", placeholder: "find", ariaLabel: "find" });
  find.addEventListener("input", () => { text = find.value.toLowerCase(); show(); });
  place.append(find);
  const counts = new Map();
  for (const { dataset: { status } } of rows) counts.set(status, (counts.get(status) ?? 0) + 1);
  if (counts.size < 2) continue;
  for (const [status, count] of counts) {
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
    box.addEventListener("change", () => { unwanted[box.checked ? "delete" : "add"](status); show(); });
    const label = document.createElement("label");
    label.append(box, " " + status + " (" + count + ")");
    place.append(label);
  }
}
`;

const hashOf = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const CONTENT_POLICY = [
  "default-src 'none'",
  `style-src ${hashOf(STYLE)}`,
  `script-src ${hashOf(SCRIPT)}`,
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

const STATUS_NAMES = { pass: "pass", fail: "FAIL", error: "ERROR", "not-checked": "not checked" } as const;

/** The whole file, UTF-8. `sealiftVersion` made the verdict; `contents` is what is in the release, if it could be told. */
export function renderVerdictHtml(verdict: Verdict, sealiftVersion: string, contents?: ReleaseContents): string {
  const counts = countFindings(verdict);
  const title = `${verdict.decision === "allow" ? "ALLOWED" : "DENIED"}: ${releaseName(verdict)}`;
  const wrong = verdict.findings.filter(({ status }) => status === "fail" || status === "error");
  const unmade = verdict.findings.filter(({ status }) => status === "not-checked");
  const warning = expiryWarning(verdict);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${CONTENT_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${html(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1><span class="decision ${verdict.decision}">${verdict.decision === "allow" ? "ALLOWED" : "DENIED"}</span>${html(releaseName(verdict))}</h1>
<p>${counts.wrong} wrong, ${counts.passed} passed, ${counts.unmade} not checked.</p>
${verdict.scope === "advisory" ? '<p class="warning">Advisory: made with a trust, a policy or a time that somebody chose. It authorizes nothing on a site.</p>' : ""}
${warning === undefined ? "" : `<p class="warning">${html(warning)}</p>`}
${facts(verdict, sealiftVersion)}
${wrong.length === 0 ? "" : `<h2>What is wrong</h2>\n${findingTable(wrong)}`}
<h2>Who signed</h2>
${signatureTable(verdict.signatures)}
<h2>Where it was made</h2>
${provenanceTable(verdict.provenance)}
<h2>What was not checked, and why</h2>
${unmade.length === 0 ? "<p>Every check was made.</p>" : findingTable(unmade)}
<h2>Every finding</h2>
${filterPlace("findings")}
${findingTable(verdict.findings, "findings")}
${contents ? contentsHtml(contents) : "<h2>What is in the release</h2>\n<p>Not shown: it was not asked for, or an earlier check failed.</p>"}
<h2>What each check asks</h2>
<div class="scroll"><table>
${CHECKS.map((check) => `<tr><th scope="row">${check}</th><td>${html(CHECK_QUESTIONS[check])}</td></tr>`).join("\n")}
</table></div>
<p>This page is a copy of what one verification found. It proves nothing by itself: verify the bundle again, or
with tools that are not ours (runbooks/verify-independently.md).</p>
</main>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

function facts(verdict: Verdict, sealiftVersion: string): string {
  const { subject, trust, policy, time } = verdict;
  const fingerprint = trust.rootFingerprint === null ? "-" : (trust.rootFingerprint.match(/.{8}/g) ?? []).join(" ");
  const rows: [string, string][] = [
    ["Release", subject.digest ?? "unknown"],
    ["Release trust", `root ${trust.rootVersion ?? "-"}, targets ${trust.targetsVersion ?? "-"}`],
    ["First root (compare with paper)", fingerprint],
    ["Trust expires", trust.expires ?? "-"],
    ["Policy", policy.digest],
    ["Judged as of", `${time.at} (${clockName(verdict)})`],
    ["Verifier", `Sealift ${sealiftVersion}`],
  ];
  const lines = rows.map(
    ([name, value]) => `<tr><th scope="row">${name}</th><td class="code">${html(value)}</td></tr>`,
  );
  return `<div class="scroll"><table class="facts">\n${lines.join("\n")}\n</table></div>`;
}

function signerCell(key: string, certificate: VerdictSignature["certificate"]): string {
  if (certificate === null) return key;
  const { identity, issuer, at } = certificate;
  return `<bdi>${html(identity)}</bdi> of <bdi>${html(issuer)}</bdi>, ${html(at)}`;
}

function signatureTable(signatures: readonly VerdictSignature[]): string {
  if (signatures.length === 0) return "<p>No signature holds.</p>";
  const rows = signatures.map(
    ({ name, predicateType, role, holder, key, certificate }) =>
      `<tr><td><bdi>${html(name)}</bdi></td><td>${role}</td><td><bdi>${html(holder)}</bdi></td><td class="code">${signerCell(key, certificate)}</td><td class="code">${html(predicateType)}</td></tr>`,
  );
  return table(["Signed", "Role", "Holder", "Key (SHA-256 of its SPKI)", "Statement"], rows);
}

function provenanceTable(provenance: readonly VerdictProvenance[]): string {
  const [first] = provenance;
  if (first === undefined) return "<p>No provenance holds.</p>";
  const ofRelease = ({ name }: VerdictProvenance): boolean => name === "release";
  const sorted = [...provenance.filter(ofRelease), ...provenance.filter((one) => !ofRelease(one))];
  const rows = sorted.map(({ name, builder, buildType, inputs, locked, source, slsaBuildLevel }) => {
    const program =
      source === null ? "" : `${source.digest}${source.commit === null ? "" : ` commit ${source.commit}`}`;
    return `<tr><td class="name"><bdi>${html(name)}</bdi></td><td class="code"><bdi>${html(builder)}</bdi></td><td class="code">${html(program)}</td><td class="code"><bdi>${html(buildType)}</bdi></td><td>${locked} of ${inputs}</td><td class="name">Build L${slsaBuildLevel}</td></tr>`;
  });
  const columns = ["Built", "Builder", "Builder's program", "Build type", "Inputs accounted for", "SLSA"];
  return `${table(columns, rows)}\n<p>Why no higher SLSA level: ${html(first.levelReason)}.</p>`;
}

function findingTable(findings: readonly Finding[], id = ""): string {
  const rows = findings.map(({ check, subject, status, code, message, reason }) => {
    const what = status === "not-checked" ? reason : message;
    const tail = code === "" || status === "not-checked" ? "" : ` <code>${html(code)}</code>`;
    const mark = id !== "" ? ` data-status="${status}"` : "";
    return `<tr${mark}><td class="status ${status}">${STATUS_NAMES[status]}</td><td>${check}</td><td><bdi>${html(subject)}</bdi></td><td><bdi>${html(what)}</bdi>${tail}</td></tr>`;
  });
  return table(["Status", "Check", "About", "Found"], rows, id);
}
