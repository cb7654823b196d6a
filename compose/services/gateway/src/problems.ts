/** What the gateway can answer beside what every service can. Names are permanent. */
import type { Problem } from "@sealift/service-kit/problem.ts";

export const GATEWAY_PROBLEMS = {
  bodyTooLarge: { status: 413, name: "body-too-large", title: "The request's body is too large" },
  notJson: { status: 400, name: "body-not-json", title: "The request's body is not a JSON object" },
  noModel: { status: 503, name: "no-model", title: "There is no model at the moment", headers: { "retry-after": "5" } },
  modelSilent: { status: 504, name: "model-silent", title: "The model did not answer in time" },
} as const satisfies Record<string, Problem>;
