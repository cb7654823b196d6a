/**
 * The controls of the gateway in the order in which a request meets them. Enforcement runs over GATES, and
 * the matrix of controls (runbooks/controls.md) and the types of audit events are made from here, so that
 * none of them can say something else than the others.
 */
import { PROBLEMS } from "@sealift/service-kit/problem.ts";
import { GATEWAY_PROBLEMS } from "../problems.ts";
import { CAPABILITY } from "./capability.ts";
import type { Control, Gate } from "./gate.ts";
import { IDENTITY } from "./identity.ts";
import { MODEL } from "./model.ts";
import { PERSONAL_DATA } from "./personal-data.ts";
import { RATE } from "./rate.ts";
import { REQUEST } from "./request.ts";

const BEFORE: readonly Control[] = [
  {
    id: "GW-01",
    name: "connection",
    promise: "Clients come through the front alone, and over TLS 1.2 or 1.3 with the ciphers named in listener.ts.",
    owner: "operators: `leastTls`, `tls renew`, `tls import`",
    assumes: "clients check the certificate; nobody but root is on the site's inner networks",
    rows: ["SR-02", "SR-47", "SP-37", "AS-15"],
    problems: [],
    test: "test/compose/services/service-kit/server.test.ts",
  },
  {
    id: "GW-02",
    name: "request-form",
    promise:
      "A request that two readers could read in two ways is refused, and each one has an id that every record names.",
    owner: "the publisher: nothing of it can be set",
    assumes: "the front hands connections on as they are",
    rows: ["SP-15", "SP-16", "X-07"],
    problems: [PROBLEMS.badRequest, PROBLEMS.requestLate, PROBLEMS.headersTooLarge],
    test: "test/compose/services/service-kit/server.test.ts",
  },
];

export const GATES: readonly Gate[] = [IDENTITY, CAPABILITY, RATE, REQUEST, MODEL, PERSONAL_DATA];

export const DECISION: Control = {
  id: "GW-09",
  name: "decision",
  promise: "No byte of an answer leaves before the record of the decision is on stable storage.",
  owner: "the publisher: nothing of it can be set",
  assumes: "the disk keeps what it says it has written",
  rows: ["SP-65", "AS-21", "SR-17", "RT-01", "RT-05", "RT-06", "RT-14"],
  problems: [GATEWAY_PROBLEMS.audit],
  test: "test/compose/services/gateway/serve.test.ts",
};

export const DISPATCH: Control = {
  id: "GW-10",
  name: "dispatch",
  promise: "The gateway speaks to one model's address, from its settings; no header, body or redirection changes it.",
  owner: "the publisher: the appliance's Compose file",
  assumes: "the model's container is the one that was proven when it started",
  rows: ["SR-01", "SR-10", "X-10", "AS-33", "RT-09"],
  problems: [
    GATEWAY_PROBLEMS.noModel,
    GATEWAY_PROBLEMS.modelRefused,
    GATEWAY_PROBLEMS.modelFailed,
    GATEWAY_PROBLEMS.modelSilent,
  ],
  test: "test/compose/services/gateway/serve.test.ts",
};

export const ANSWER: Control = {
  id: "GW-11",
  name: "answer",
  promise:
    "An answer is inspected before the client sees it where the tenant's policy keeps something in, and counted where it flags.",
  owner: "operators: `piiPolicy`",
  assumes: "as for GW-08; an answer that streams is judged piece by piece",
  rows: ["SP-11", "X-05"],
  problems: [GATEWAY_PROBLEMS.personalDataOut, GATEWAY_PROBLEMS.pii],
  test: "test/compose/services/gateway/serve.test.ts",
};

export const SETTLEMENT: Control = {
  id: "GW-12",
  name: "settlement",
  promise: "How each allowed request ended is recorded: status, tokens, size, time, also when the client went away.",
  owner: "the publisher: nothing of it can be set",
  assumes: "a gateway that is killed leaves its open requests without an outcome",
  rows: ["RT-02", "RT-04"],
  problems: [],
  test: "test/compose/services/gateway/serve.test.ts",
};

export const CONTROLS: readonly Control[] = [...BEFORE, ...GATES, DECISION, DISPATCH, ANSWER, SETTLEMENT];
