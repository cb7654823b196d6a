/**
 * A verdict for a person: what was decided, what is wrong first, who signed, then every finding, then what
 * was not checked.
 */
import { plain } from "../bundles/model/plain-text.ts";
import type { Finding, Verdict, VerdictSignature } from "./verdict.ts";
import { clockName, countFindings, expiryWarning, releaseName } from "./verdict-facts.ts";

const MARKS = { pass: "pass", fail: "FAIL", error: "ERROR", "not-checked": "not checked" } as const;

/** The lines, without colour. Text from the bundle is escaped. */
export function renderVerdictText(verdict: Verdict): string[] {
  const { subject, trust, time, findings, signatures } = verdict;
  const wrong = findings.filter(({ status }) => status === "fail" || status === "error");
  const unmade = findings.filter(({ status }) => status === "not-checked");
  const counts = countFindings(verdict);
  const warning = expiryWarning(verdict);
  const ofRelease = signatures.filter((signature) => signature.subject === subject.digest);
  return [
    `${verdict.decision === "allow" ? "ALLOWED" : "DENIED"}  ${plain(releaseName(verdict))}`,
    `release   ${subject.digest ?? "unknown"}`,
    `trust     root ${trust.rootVersion ?? "-"}, targets ${trust.targetsVersion ?? "-"}; policy ${verdict.policy.digest}`,
    `time      ${plain(time.at)} (${clockName(verdict)})`,
    ...(verdict.scope === "advisory" ? ["scope     advisory: this verdict authorizes nothing on a site"] : []),
    ...(warning === undefined ? [] : [`warning   ${warning}`]),
    ...new Set(ofRelease.map(signatureLine)),
    "",
    ...wrong.map(findingLine),
    ...(wrong.length > 0 ? [...explainers(wrong), ""] : []),
    ...findings.filter(({ status }) => status === "pass").map(findingLine),
    ...unmade.map(findingLine),
    "",
    `${counts.wrong} wrong, ${counts.passed} passed, ${counts.unmade} not checked`,
  ];
}

const EXPLAINED_MAX = 3;

/** What to type to know what a code means; of many the first are enough to begin with. */
function explainers(wrong: readonly Finding[]): string[] {
  const codes = new Set(wrong.map(({ code }) => code).filter((code) => code !== ""));
  return [...codes].slice(0, EXPLAINED_MAX).map((code) => `  what it means: sealift help ${plain(code)}`);
}

function signatureLine({ role, holder, key, certificate }: VerdictSignature): string {
  const by = certificate
    ? `as ${plain(certificate.identity)} of ${plain(certificate.issuer)} at ${plain(certificate.at)}`
    : `key ${key}`;
  return `signed    ${role.padEnd(9)} ${plain(holder)}, ${by}`;
}

function findingLine({ check, subject, status, code, message, reason }: Finding): string {
  const what = status === "not-checked" ? reason : message;
  const tail = code === "" || status === "not-checked" ? "" : ` [${plain(code)}]`;
  return `  ${MARKS[status].padEnd(12)}${check.padEnd(12)}${plain(subject)}: ${plain(what)}${tail}`;
}
