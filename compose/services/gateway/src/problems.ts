/** What the gateway can answer beside what every service can. Names are permanent. */
import type { Problem } from "@sealift/service-kit/problem.ts";

export const GATEWAY_PROBLEMS = {
  unauthorized: {
    status: 401,
    name: "unauthorized",
    title: "The API key is missing, unknown or no longer good",
    headers: { "www-authenticate": 'Bearer realm="sealift"' },
  },
  capability: { status: 403, name: "capability-missing", title: "The API key may not be used for this" },
  model: { status: 403, name: "model-not-allowed", title: "The role of this API key may not use this model" },
  personalData: {
    status: 422,
    name: "personal-data",
    title: "The request holds personal data of a kind that is kept out",
  },
  personalDataOut: {
    status: 502,
    name: "personal-data-in-answer",
    title: "The answer held personal data of a kind that is kept in",
  },
  rate: { status: 429, name: "rate-limited", title: "Too many requests" },
  busy: { status: 503, name: "overloaded", title: "Too much is under way", headers: { "retry-after": "1" } },
  bodyTooLarge: { status: 413, name: "body-too-large", title: "The request's body is too large" },
  bodyCut: { status: 400, name: "body-cut", title: "The request's body ended early" },
  notJson: { status: 400, name: "body-not-json", title: "The request's body is not a JSON object" },
  form: { status: 400, name: "request-malformed", title: "The request is not one that this service takes" },
  audit: {
    status: 503,
    name: "audit-unavailable",
    title: "Nothing is done that cannot be recorded, and nothing can be recorded now",
    headers: { "retry-after": "5" },
  },
  pii: {
    status: 503,
    name: "inspection-unavailable",
    title: "Nothing is sent that was not inspected, and nothing can be inspected now",
    headers: { "retry-after": "5" },
  },
  noModel: { status: 503, name: "no-model", title: "There is no model at the moment", headers: { "retry-after": "5" } },
  modelRefused: { status: 400, name: "model-refused", title: "The model did not take the request" },
  modelFailed: { status: 502, name: "model-failed", title: "The model failed" },
  modelSilent: { status: 504, name: "model-silent", title: "The model did not answer in time" },
} as const satisfies Record<string, Problem>;
