/**
 * Allow lists as functions: each gives back what may be shown of a value, and undefined for what may not. What a
 * list does not name does not come through, also what nobody thought of when the list was written.
 */
export type Allowed = (value: unknown) => unknown;

/** Of one list; what is more is left out. */
const LIST_MAX = 1_000;

/** A text that matches whole. `pattern` is anchored by its author. */
export function text(pattern: RegExp): Allowed {
  return (value) => (typeof value === "string" && pattern.test(value) ? value : undefined);
}

export const number: Allowed = (value) => (typeof value === "number" && Number.isFinite(value) ? value : undefined);

export const boolean: Allowed = (value) => (typeof value === "boolean" ? value : undefined);

export function oneOf(...words: readonly string[]): Allowed {
  return (value) => (words.includes(value as string) ? value : undefined);
}

/** The first that takes it. */
export function either(...choices: readonly Allowed[]): Allowed {
  return (value) => {
    for (const choice of choices) {
      const shown = choice(value);
      if (shown !== undefined) return shown;
    }
    return undefined;
  };
}

export const nothing: Allowed = (value) => (value === null ? null : undefined);

export function list(item: Allowed, most = LIST_MAX): Allowed {
  return (value) => (Array.isArray(value) ? value.slice(0, most).flatMap((one) => item(one) ?? []) : undefined);
}

/** These members, and no others. */
export function object(members: Readonly<Record<string, Allowed>>): Allowed {
  return (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    const shown = Object.entries(members).flatMap(([name, allowed]) => {
      const member = allowed(Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined);
      return member === undefined ? [] : [[name, member] as const];
    });
    return Object.fromEntries(shown);
  };
}

/** Members whose names match, whatever they are called. */
export function map(names: RegExp, item: Allowed): Allowed {
  return (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    const shown = Object.entries(value)
      .slice(0, LIST_MAX)
      .flatMap(([name, one]) => {
        const member = names.test(name) ? item(one) : undefined;
        return member === undefined ? [] : [[name, member] as const];
      });
    return Object.fromEntries(shown);
  };
}

/** Of an object only which members it has. */
export function namesOnly(names: RegExp): Allowed {
  return (value) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.keys(value)
          .filter((name) => names.test(name))
          .sort()
      : undefined;
}

export const DIGEST = text(/^sha256:[0-9a-f]{64}$/);
/** Of a site or a deployment; secrets have twice as many digits. */
export const ID = text(/^[0-9a-f]{32}$/);
export const TIME = text(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/);
export const VERSION = text(/^\d{1,6}\.\d{1,6}\.\d{1,6}(?:[-+~.][0-9A-Za-z.+~-]{1,40})?$/);
/** Of services, volumes, steps: words that a release or Sealift itself chose, too short for a key. */
export const NAME = text(/^[a-z][a-z0-9]{0,23}(?:[.-][a-z0-9]{1,24}){0,6}$/);
export const CODE = text(/^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$/);
export const PATH = text(/^\/[a-z0-9._/-]{0,200}$/i);
