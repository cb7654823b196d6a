import { type Call, known } from "../call.ts";
import { addFindings, type Inspector } from "../inspector.ts";
import { GATEWAY_PROBLEMS } from "../problems.ts";
import type { TextPlace } from "../text-places.ts";
import type { Gate } from "./gate.ts";

export const PERSONAL_DATA: Gate = {
  id: "GW-08",
  name: "personal-data",
  promise:
    "Every string of a request is inspected for personal data before the model sees it: blocked, replaced or counted, as the tenant's policy says.",
  owner: "operators: `piiPolicy`",
  assumes: "what the detectors find is not all that there is: their recall is measured, and not 1",
  rows: ["SP-11", "X-08"],
  problems: [GATEWAY_PROBLEMS.personalData, GATEWAY_PROBLEMS.pii],
  test: "test/compose/services/gateway/gates.test.ts",
  async check(call, { inspector }) {
    if (call.operation !== "chat") return undefined;
    const { texts } = known(call.chat);
    try {
      for (let from = 0; from < texts.length; from += TEXTS_AT_ONCE) {
        const passes = await inspectAndReplace(call, inspector, texts.slice(from, from + TEXTS_AT_ONCE));
        if (!passes) return GATEWAY_PROBLEMS.personalData;
      }
      return undefined;
    } catch {
      return GATEWAY_PROBLEMS.pii;
    }
  },
};

/** What the service takes in one question. */
const TEXTS_AT_ONCE = 1_000;

async function inspectAndReplace(call: Call, inspector: Inspector, places: readonly TextPlace[]): Promise<boolean> {
  const inspection = await inspector.inspect({
    principal: known(call.principal),
    channel: "request",
    texts: places.map(({ text }) => ({ text })),
  });
  call.policy = inspection.policy;
  call.findings = addFindings(call.findings, inspection.findings);
  if (inspection.decision === "deny") return false;
  return inspection.texts.every(({ text }, index) => {
    if (text === undefined) return true;
    // The name of a member cannot be replaced without changing what the request means.
    const replace = places[index]?.replace;
    replace?.(text);
    return replace !== undefined;
  });
}
