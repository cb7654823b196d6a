/**
 * The variables of a Compose template. The installer fills them in itself, so a name that it does not
 * know is an error and never the environment of whoever starts Compose. Only `${SEALIFT_…}` and `$$`
 * (a dollar) are written; Compose's other forms, with defaults or without braces, are refused.
 */

/** The release's version. */
export const RELEASE_VARIABLE = "SEALIFT_RELEASE";
/** `blue` or `green`. */
export const COLOUR_VARIABLE = "SEALIFT_COLOUR";
/** The directory of the site's secrets. */
export const SECRETS_VARIABLE = "SEALIFT_SECRETS";
/** The directory of the file that tells the front which colour is live. */
export const SWITCH_VARIABLE = "SEALIFT_SWITCH";

const FIXED_VARIABLES = [RELEASE_VARIABLE, COLOUR_VARIABLE, SECRETS_VARIABLE, SWITCH_VARIABLE];
const FILE_PREFIX = "SEALIFT_FILE_";
const TOKEN = /\$\$|\$\{(SEALIFT_[A-Z0-9_]+)\}|\$.{0,20}/gs;

/** The host's path of the carried file `name`: `my-model` is SEALIFT_FILE_MY_MODEL. */
export function fileVariable(name: string): string {
  return FILE_PREFIX + name.replace(/[^a-z0-9]/g, "_").toUpperCase();
}

/** The site's setting `name`: `clientPort` is SEALIFT_CLIENT_PORT. */
export function settingVariable(name: string): string {
  return `SEALIFT_${name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase()}`;
}

/** Whether its value is another one in another release or colour. */
export function changesWithRelease(variable: string): boolean {
  return variable === RELEASE_VARIABLE || variable === COLOUR_VARIABLE || variable.startsWith(FILE_PREFIX);
}

/** All variables of a release with these carried files and settings. Two with one name are in it twice. */
export function knownVariables(files: readonly string[], settings: readonly string[]): string[] {
  return [...FIXED_VARIABLES, ...files.map(fileVariable), ...settings.map(settingVariable)];
}

/** The settings that a release's configuration schema names. */
export function settingNames(configSchema: unknown): string[] {
  const properties = (configSchema as { readonly properties?: unknown } | null)?.properties;
  return typeof properties === "object" && properties !== null ? Object.keys(properties) : [];
}

export interface VariableUses {
  readonly names: readonly string[];
  /** What looks like a variable and is none of ours. */
  readonly malformed: readonly string[];
}

/** The variables in all texts of `value`; in the name of a member each dollar is malformed. */
export function variableUses(value: unknown): VariableUses {
  const names: string[] = [];
  const malformed: string[] = [];
  const look = (inner: unknown): void => {
    if (typeof inner === "string") {
      for (const [token, name] of inner.matchAll(TOKEN)) {
        if (name !== undefined) names.push(name);
        else if (token !== "$$") malformed.push(token);
      }
    } else if (typeof inner === "object" && inner !== null) {
      if (!Array.isArray(inner)) malformed.push(...Object.keys(inner).filter((member) => member.includes("$")));
      Object.values(inner).forEach(look);
    }
  };
  look(value);
  return { names, malformed };
}

/**
 * `value` with each variable replaced by what `meaningOf` gives. `$$` stays, and a dollar in what is put in
 * is doubled: Compose reads the result once more. The variables must be well formed.
 */
export function substituteVariables(value: unknown, meaningOf: (name: string) => string): unknown {
  if (typeof value === "string") {
    return value.replace(TOKEN, (token, name?: string) =>
      name === undefined ? token : meaningOf(name).replaceAll("$", "$$$$"),
    );
  }
  if (Array.isArray(value)) return value.map((item) => substituteVariables(item, meaningOf));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([member, inner]) => [member, substituteVariables(inner, meaningOf)]),
  );
}
