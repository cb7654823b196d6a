import { known } from "../call.ts";
import { GATEWAY_PROBLEMS } from "../problems.ts";
import type { Gate } from "./gate.ts";

export const MODEL: Gate = {
  id: "GW-07",
  name: "model",
  promise: "A role reaches the models that its tenant allows it, by exact name, and no other.",
  owner: "operators: `tenant models`",
  assumes: "the model behind a name is the release's, which its signers answer for",
  rows: ["SR-09", "RT-16"],
  problems: [GATEWAY_PROBLEMS.model],
  test: "test/compose/services/gateway/gates.test.ts",
  check(call) {
    if (call.operation !== "chat") return undefined;
    return known(call.login).models.includes(known(call.chat).model) ? undefined : GATEWAY_PROBLEMS.model;
  },
};
