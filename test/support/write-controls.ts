/** Writes runbooks/controls.md from the gateway's own list of controls. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CONTROLS, GATES } from "../../compose/services/gateway/src/gates/controls.ts";
import type { Control } from "../../compose/services/gateway/src/gates/gate.ts";
import { EVENT_TYPES } from "../../compose/services/gateway/src/records.ts";

export const CONTROLS_PAGE = join(import.meta.dirname, "../../runbooks/controls.md");

const HEAD = `# The gateway's controls

Generated from \`compose/services/gateway/src/gates/controls.ts\`, which the gateway itself runs over:
\`node_modules/.bin/node test/support/write-controls.ts\`. A request meets the controls in this order. The
first one that stops it answers, and no later one sees it.

| Control | Promise | Owner | Assumes | Answers of its own | Record | Requirements | Shown by |
|---|---|---|---|---|---|---|---|
`;

/** What the controls are not, said plainly. */
const TAIL = `
Not there yet: identity by OIDC or SAML, licences, budgets of tokens and money, policies for tools, reversible
replacement of personal data, other APIs than chat completions and models. A model may be given tools; which
ones, nobody restricts. Rates and numbers of requests are counted by each gateway for itself and start anew
with it: during an upgrade two count side by side.
`;

export function controlsPage(): string {
  return `${HEAD}${CONTROLS.map(row).join("")}\nTypes of records: ${EVENT_TYPES.map((type) => `\`${type}\``).join(", ")}.\n${TAIL}`;
}

function row({ id, name, promise, owner, assumes, problems, rows, test }: Control): string {
  const answers = problems.map(({ status, name: problem }) => `${status} ${problem}`).join(", ") || "none";
  const cells = [`${id} ${name}`, promise, owner, assumes, answers, recordOf(name), rows.join(" "), `\`${test}\``];
  return `| ${cells.join(" | ")} |\n`;
}

function recordOf(name: string): string {
  if (GATES.some((gate) => gate.name === name)) return `\`request.refused.${name}\``;
  if (name === "decision") return "`request.allowed`, `request.refused.*`";
  return name === "dispatch" || name === "answer" || name === "settlement" ? "`request.settled`" : "none";
}

if (import.meta.main) writeFileSync(CONTROLS_PAGE, controlsPage());
