import { known } from "../call.ts";
import { GATEWAY_PROBLEMS } from "../problems.ts";
import type { Gate } from "./gate.ts";
import { tooMany } from "./identity.ts";

export const RATE: Gate = {
  id: "GW-05",
  name: "rate",
  promise: "A key makes so many requests a second, and so many at once, and no more; so does the whole gateway.",
  owner: "operators: `requestsPerMinute`, `requestsAtOnce`",
  assumes: "one gateway counts for itself: two during a change of colour",
  rows: ["SR-45", "X-14"],
  problems: [GATEWAY_PROBLEMS.rate, GATEWAY_PROBLEMS.busy],
  test: "test/compose/services/gateway/gates.test.ts",
  check(call, { rates, room }) {
    const { keyId } = known(call.login);
    const wait = rates.take(keyId);
    if (wait > 0) return tooMany(wait);
    const place = room.enter(keyId);
    if (place === "key-full") return tooMany(1);
    if (place === "full") return GATEWAY_PROBLEMS.busy;
    call.hold(place.leave);
    call.place = place;
    return undefined;
  },
};
