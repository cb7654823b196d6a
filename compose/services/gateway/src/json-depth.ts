/** Everything that walks a JSON value recurses, and neither a request nor an answer needs half of it. */
const DEPTH_MAX = 32;

/** Whether arrays and objects lie deeper in each other than any of this API do. */
export function isTooDeep(value: unknown, levels = DEPTH_MAX): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isTooDeep(inner, levels - 1));
}
