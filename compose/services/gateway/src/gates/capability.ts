import { known } from "../call.ts";
import { GATEWAY_PROBLEMS } from "../problems.ts";
import type { Gate } from "./gate.ts";

/** The capability that a request needs is named like what it asks for. */
export const CAPABILITY: Gate = {
  id: "GW-04",
  name: "capability",
  promise: "A key is good only for what its capabilities name.",
  owner: "operators: `api-key add --can`",
  assumes: "whoever makes a key gives it no more than its use needs",
  rows: ["SR-08", "SP-27"],
  problems: [GATEWAY_PROBLEMS.capability],
  test: "test/compose/services/gateway/gates.test.ts",
  check: (call) => (known(call.login).capabilities.includes(call.operation) ? undefined : GATEWAY_PROBLEMS.capability),
};
