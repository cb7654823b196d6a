/** On a terminal: the operator sees the plan, picks a key of the agent, touches it, done. */

import { createInterface } from "node:readline/promises";
import { plain } from "../../bundles/model/plain-text.ts";
import type { PlanSubject } from "../lifecycle/authorization.ts";
import { planLines } from "../lifecycle/plan-text.ts";
import type { Site } from "../lifecycle/site.ts";
import { agentKeys } from "../lifecycle/ssh-keygen.ts";
import type { Terminal } from "./terminal.ts";

/**
 * Shows the plan and asks which of the agent's keys that are operators' shall sign. Returns the
 * line of the public key chosen, or undefined if none was or the agent has none.
 */
export async function pickAgentKey(terminal: Terminal, site: Site, subject: PlanSubject): Promise<string | undefined> {
  const held = await agentKeys();
  const choices = site.authority.operators.flatMap(({ principal, key }) => {
    const line = held.find((text) => text.split(" ")[1] === key.base64);
    return line === undefined ? [] : [{ principal, fingerprint: key.fingerprint, line }];
  });
  if (choices.length === 0) {
    terminal.note("no key of an operator is in the SSH agent; name one with --key FILE");
    return undefined;
  }
  terminal.note(`site ${site.siteId}`);
  for (const line of planLines(subject)) terminal.note(line);
  for (const [i, { principal, fingerprint }] of choices.entries()) {
    terminal.note(`  ${i + 1}  ${plain(principal)}  ${fingerprint}`);
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const closed = new Promise<string>((resolve) => lines.once("close", () => resolve("")));
    const answer = await Promise.race([lines.question(`Sign with key 1-${choices.length} (empty: no)? `), closed]);
    const chosen = choices[Number(answer.trim()) - 1];
    return chosen?.line;
  } finally {
    lines.close();
  }
}
