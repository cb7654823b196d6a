/** What a request's headers must be before anybody reads them: what two readers could read in two ways is refused. */
import { PROBLEMS, type Problem } from "./problem.ts";

/** Node takes the first of some of these, the last of others, and joins none. */
const ONCE = new Set(["host", "authorization", "content-length", "content-type", "transfer-encoding", "x-request-id"]);
const HEADERS_MAX = 64;

/** `raw` as Node's `rawHeaders`: name, value, name, value… */
export function headersProblem(raw: readonly string[]): Problem | undefined {
  if (raw.length > 2 * HEADERS_MAX) return PROBLEMS.headersTooLarge;
  const seen = new Set<string>();
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] ?? "").toLowerCase();
    if (!ONCE.has(name)) continue;
    if (seen.has(name)) return PROBLEMS.badRequest;
    seen.add(name);
  }
  return undefined;
}
