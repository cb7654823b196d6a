import { PROBLEMS, type Problem } from "@sealift/service-kit/problem.ts";
import { GATEWAY_PROBLEMS } from "../problems.ts";
import type { Gate } from "./gate.ts";

const BEARER = /^bearer +(\S{1,256})$/i;

export const IDENTITY: Gate = {
  id: "GW-03",
  name: "identity",
  promise: "Every request carries an API key that the database knows; it decides tenant, role and capabilities.",
  owner: "operators: `tenant`, `api-key`",
  assumes: "holders keep their keys; Postgres tells who holds one, and root does not write there",
  rows: ["SR-03", "SP-26", "SP-27", "SP-41", "SP-47"],
  problems: [GATEWAY_PROBLEMS.unauthorized, GATEWAY_PROBLEMS.rate, PROBLEMS.notReady],
  test: "test/compose/services/gateway/gates.test.ts",
  async check(call, { identities, failures }) {
    const source = call.source ?? "";
    // Whoever guesses keys must not keep the database busy.
    const wait = failures.wait(source);
    if (wait > 0) return tooMany(wait);
    const key = BEARER.exec(call.authorization ?? "")?.[1];
    try {
      call.login = key === undefined ? undefined : await identities.identify(key);
    } catch {
      return PROBLEMS.notReady;
    }
    if (call.login) return undefined;
    failures.take(source);
    return GATEWAY_PROBLEMS.unauthorized;
  },
};

export function tooMany(waitSeconds: number): Problem {
  return { ...GATEWAY_PROBLEMS.rate, headers: { "retry-after": String(Math.ceil(waitSeconds)) } };
}
