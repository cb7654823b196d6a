/** A verdict for a person: what was decided, what is wrong first, then every finding, then what was not checked. */

import { plain } from "../bundles/model/plain-text.ts";
import type { Finding, Verdict } from "./verdict.ts";

const MARKS = { pass: "pass", fail: "FAIL", error: "ERROR", "not-checked": "not checked" } as const;

/** The lines, without colour. Text from the bundle is escaped. */
export function renderVerdictText(verdict: Verdict): string[] {
  const { subject, trust, time, findings } = verdict;
  const wrong = findings.filter(({ status }) => status === "fail" || status === "error");
  const unmade = findings.filter(({ status }) => status === "not-checked");
  const name = subject.appliance === null ? "unread release" : `${subject.appliance} ${subject.version}`;
  return [
    `${verdict.decision === "allow" ? "ALLOWED" : "DENIED"}  ${plain(name)}`,
    `release   ${subject.digest ?? "unknown"}`,
    `trust     root ${trust.rootVersion ?? "-"}, targets ${trust.targetsVersion ?? "-"}; policy ${verdict.policy.digest}`,
    `time      ${plain(time.at)} (${time.source === "option" ? "given with --at" : "this machine's clock"})`,
    ...(verdict.scope === "advisory" ? ["scope     advisory: this verdict authorizes nothing on a site"] : []),
    "",
    ...wrong.map(findingLine),
    ...(wrong.length > 0 ? [""] : []),
    ...findings.filter(({ status }) => status === "pass").map(findingLine),
    ...unmade.map(findingLine),
    "",
    `${wrong.length} wrong, ${findings.length - wrong.length - unmade.length} passed, ${unmade.length} not checked`,
  ];
}

function findingLine({ check, subject, status, code, message, reason }: Finding): string {
  const what = status === "not-checked" ? reason : message;
  const tail = code === "" || status === "not-checked" ? "" : ` [${plain(code)}]`;
  return `  ${MARKS[status].padEnd(12)}${check.padEnd(12)}${plain(subject)}: ${plain(what)}${tail}`;
}
