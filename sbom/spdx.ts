/** SPDX license expressions (SPDX 2.3, annex D). */
import { createRequire } from "node:module";

const parse = createRequire(import.meta.url)("spdx-expression-parse") as (text: string) => unknown;

/** `text` is an expression of known SPDX ids and of LicenseRefs. Longer ones than 4,096 characters are not looked at. */
export function isSpdxExpression(text: string): boolean {
  if (text.length > 4096) return false;
  try {
    parse(text);
    return true;
  } catch {
    return false;
  }
}
