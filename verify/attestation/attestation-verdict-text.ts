/** An attestation verdict for a person: the decision, what is wrong, every finding, and what was not checked. */
import { plain } from "../../bundles/model/plain-text.ts";
import type { AttestationFinding, AttestationVerdict } from "./attestation-verdict.ts";

const HEADINGS = {
  allow: "ALLOWED",
  deny: "DENIED",
  simulated: "SIMULATED – NOT AMD: this evidence was made by a simulator and proves nothing",
} as const;
const MARKS = { pass: "pass", fail: "FAIL", "not-checked": "not checked" } as const;

/** The lines, without colour. Text from the evidence is escaped. */
export function renderAttestationVerdict(verdict: AttestationVerdict): string[] {
  const { subject, policy, time, findings, claims } = verdict;
  const of = (status: AttestationFinding["status"]): AttestationFinding[] =>
    findings.filter((finding) => finding.status === status);
  return [
    HEADINGS[verdict.decision],
    `report    ${subject.report ?? "not read"}`,
    `evidence  ${subject.evidence}`,
    `policy    ${plain(policy.name)} ${policy.digest}`,
    ...(verdict.reference === null ? [] : [`release   ${verdict.reference}, whose launch digests had to be met`]),
    `time      ${plain(time.at)} (${time.source === "option" ? "given with --at" : "this machine's clock"})`,
    ...forecastLine(verdict),
    `cage      ${cageText(verdict.cage)}`,
    ...assuranceLines(verdict),
    "scope     advisory: this verdict authorizes nothing on a site",
    "",
    ...of("fail").map(findingLine),
    ...of("pass").map(findingLine),
    ...of("not-checked").map(findingLine),
    "",
    `${of("fail").length} failed, ${of("pass").length} passed, ${of("not-checked").length} not checked`,
    ...(claims === null
      ? []
      : ["", ...Object.entries(claims).map(([name, value]) => `${name.padEnd(20)}${plain(`${value}`)}`)]),
  ];
}

function forecastLine({ usableUntil, endsFirst }: AttestationVerdict): string[] {
  if (usableUntil === null) return [];
  return [`usable    this collateral will do until ${plain(usableUntil)}; then ends: ${plain(endsFirst ?? "")}`];
}

/** Three facts that are easily taken for one. */
function assuranceLines({ assurance }: AttestationVerdict): string[] {
  const { bootMeasured, rootfsMeasured, releaseAsserted, boundBy } = assurance;
  return [
    `boot      ${bootMeasured ? "measured" : "NOT measured"}`,
    `rootfs    ${rootfsMeasured ? "measured" : "NOT measured"}`,
    `release   ${releaseAsserted === null ? "none asserted" : `${releaseAsserted}, asserted by the VM and measured by nobody`}`,
    `bound by  ${boundBy.length === 0 ? "nothing: any machine that runs the same would do" : boundBy.join(", ")}`,
  ];
}

function findingLine({ check, status, code, message, reason }: AttestationFinding): string {
  const tail = status === "fail" ? ` [${plain(code)}]` : "";
  return `  ${MARKS[status].padEnd(12)}${check.padEnd(27)}${plain(status === "not-checked" ? reason : message)}${tail}`;
}

function cageText(cage: AttestationVerdict["cage"]): string {
  if (cage === null) return "none: the evidence was read in this very process";
  const missing = [...(cage.network ? [] : ["its own network"]), ...(cage.user ? [] : ["a user without rights"])];
  return missing.length === 0 ? "no network and no rights" : `this host did not give it ${missing.join(" and ")}`;
}
