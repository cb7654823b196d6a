/** What JSON from outside may not be, whatever its shape: deeper than recursion bears, or without a canonical form. */

/** Canonical JSON and Ajv recurse, and nothing that we read needs half of it. */
const NESTING_MAX = 128;

/** Why `value`, as JSON.parse made it, cannot be worked with, or undefined if it can. */
export function unfitForCanonicalJson(value: unknown): string | undefined {
  if (isDeeperThan(NESTING_MAX, value)) return `nested deeper than ${NESTING_MAX} levels`;
  // RFC 8785, 3.2.2.2 and 3.2.2.3: half a surrogate pair has no canonical form, nor has what 1e999 becomes.
  if (!isUnicode(value)) return "a string that is no Unicode text";
  return isFiniteThroughout(value) ? undefined : "a number that is too large";
}

function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((member) => isDeeperThan(levels - 1, member));
}

/** Names of members too. `value` is not nested deep. */
function isUnicode(value: unknown): boolean {
  if (typeof value === "string") return value.isWellFormed();
  if (typeof value !== "object" || value === null) return true;
  return Array.isArray(value)
    ? value.every(isUnicode)
    : Object.entries(value).every(([name, member]) => name.isWellFormed() && isUnicode(member));
}

/** `value` is not nested deep. */
function isFiniteThroughout(value: unknown): boolean {
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.values(value).every(isFiniteThroughout);
}
