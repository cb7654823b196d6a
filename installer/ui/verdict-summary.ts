/** What a verification found, for the person who goes on: who signed what, and what nobody has checked. */
import { plain } from "../../bundles/model/plain-text.ts";
import type { Finding, Verdict } from "../../verify/verdict.ts";

const NAME_WIDTH = 12;

/** Of a verdict that allows. `sealift verify` has every finding. */
export function verdictSummary({ subject, trust, findings }: Verdict): string[] {
  const passed = findings.filter(({ status }) => status === "pass");
  const unmade = findings.filter(({ status }) => status === "not-checked");
  return [
    `${subject.appliance} ${subject.version}`,
    `release ${subject.digest ?? "unknown"}`,
    row("trust", `root ${trust.rootVersion ?? "-"}, targets ${trust.targetsVersion ?? "-"}`),
    ...passed.filter(isOfRelease).map(({ message }) => row("signed", signature(message))),
    row("passed", `${passed.length} checks`),
    ...unmade.map(({ check, reason }) => row("NOT CHECKED", `${check}: ${reason}`)),
  ].map(plain);
}

function row(name: string, text: string): string {
  return `  ${name.padEnd(NAME_WIDTH)} ${text}`;
}

function isOfRelease({ check, subject }: Finding): boolean {
  return check === "signatures" && subject === "release";
}

/** Without the name of the predicate, which tells a person nothing. */
function signature(message: string): string {
  return message.replace(/ over release \([^)]*\)/, "");
}
