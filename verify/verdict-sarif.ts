/**
 * A verdict as SARIF 2.1.0 (OASIS), for the viewers and gates that read it. One rule for each check, one
 * result for each finding, also for what passed and for what was not checked: a log without results would
 * read as "nothing wrong".
 */
import { digestOf, hexOf } from "../bundles/model/digest.ts";
import { plain } from "../bundles/model/plain-text.ts";
import { CHECKS, type Finding, type Verdict } from "./verdict.ts";
import { CHECK_QUESTIONS, expiryWarning, releaseName } from "./verdict-facts.ts";

const SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/** `open`: the tool could not tell. A check that was not made is no pass, whatever the policy accepts. */
const KINDS = { pass: "pass", fail: "fail", error: "fail", "not-checked": "open" } as const;

/** The SARIF log. `sealiftVersion` made the verdict. Strings from the bundle act on no viewer. */
export function renderVerdictSarif(verdict: Verdict, sealiftVersion: string): object {
  const { findings, subject, time, ...rest } = verdict;
  const warning = expiryWarning(verdict);
  const allowed = verdict.decision === "allow";
  return {
    $schema: SCHEMA,
    version: "2.1.0",
    runs: [
      {
        tool: {
          driver: {
            name: "Sealift",
            semanticVersion: sealiftVersion,
            rules: CHECKS.map((id) => ({
              id,
              shortDescription: { text: CHECK_QUESTIONS[id] },
              defaultConfiguration: { level: "error" },
            })),
          },
        },
        automationDetails: { id: `sealift/verify/${encodeURIComponent(releaseName(verdict))}/` },
        columnKind: "utf16CodeUnits",
        invocations: [
          {
            executionSuccessful: findings.every(({ status }) => status !== "error"),
            exitCode: allowed ? 0 : 3,
            exitCodeDescription: allowed ? "allowed" : "denied",
            endTimeUtc: new Date(time.at).toISOString(),
            toolExecutionNotifications: [
              ...(warning === undefined ? [] : [{ level: "warning", message: { text: message(warning) } }]),
              ...findings.filter(({ status }) => status === "error").map(notification),
            ],
          },
        ],
        results: findings.map(result),
        properties: shown({ ...rest, subject, time }),
      },
    ],
  };
}

function notification({ check, message: text }: Finding): object {
  return { level: "error", message: { text: message(text) }, associatedRule: { id: check } };
}

function result({ check, subject, status, code, message: text, reason }: Finding): object {
  const kind = KINDS[status];
  return {
    ruleId: code === "" || status === "not-checked" ? check : `${check}/${code}`,
    ruleIndex: CHECKS.indexOf(check),
    kind,
    // SARIF 3.27.10: any other kind than `fail` has the level `none`.
    level: kind === "fail" ? "error" : "none",
    message: { text: message(status === "not-checked" ? `not checked: ${reason}` : text) },
    locations: [{ logicalLocations: [{ fullyQualifiedName: plain(subject) }] }],
    partialFingerprints: { "sealift/v1": hexOf(digestOf(`${check}\n${subject}\n${code}`)) },
    properties: { status, code },
  };
}

/** In a SARIF message `[a](b)` is a link and `{0}` a placeholder (3.11.5, 3.11.6); here both are only text. */
function message(text: string): string {
  return plain(text)
    .replace(/[\\[\]]/g, "\\$&")
    .replace(/[{}]/g, "$&$&");
}

/** `value` with every string made harmless to show. */
function shown(value: unknown): unknown {
  if (typeof value === "string") return plain(value);
  if (Array.isArray(value)) return value.map(shown);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, shown(member)]));
}
