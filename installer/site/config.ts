/** The site's configuration: what the operator chose, judged by the schema that the release brings. */
import { parse } from "yaml";
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { siteError } from "./error.ts";

export type Config = Readonly<Record<string, unknown>>;

export const CONFIG_MAX_BYTES = 256 * 1024;
/** Whole and canonical: an operator signs a plan that shows all of it. */
const COMPLETE_MAX_BYTES = 30 * 1024;

/** One member of a configuration, as the schema describes it to a person. */
export interface ConfigMember {
  readonly name: string;
  readonly description: string;
  readonly schema: JsonSchema;
  readonly defaultValue: unknown;
  /** What differs from site to site: the wizard asks it, and for the others only shows the default. */
  readonly asked: boolean;
}

/**
 * Those that the schema's `x-ask` names, in its order, then the others by name: a release keeps its schema as
 * canonical JSON, whose own order says nothing. Nested objects are one member.
 */
export function configMembers(schema: JsonSchema): ConfigMember[] {
  const { $defs } = schema;
  const properties = propertiesOf(schema);
  const first = ((schema["x-ask"] ?? []) as readonly string[]).filter((name) => Object.hasOwn(properties, name));
  const others = Object.keys(properties).filter((name) => !first.includes(name));
  return [...first, ...others.sort()].map((name) => {
    const member = properties[name] ?? {};
    return {
      name,
      description: String(member["description"] ?? ""),
      schema: $defs === undefined ? member : { ...member, $defs },
      defaultValue: member["default"],
      asked: first.includes(name) || member["default"] === undefined,
    };
  });
}

/** YAML or JSON, as a person wrote it. @throws CONFIG_MALFORMED */
export function parseConfigFile(bytes: Uint8Array, name: string): Config {
  let value: unknown;
  try {
    value = parse(Buffer.from(bytes).toString("utf8"), { maxAliasCount: 0, uniqueKeys: true }) ?? {};
  } catch (cause) {
    const reason = reasonOf(cause).split("\n")[0];
    throw siteError("CONFIG_MALFORMED", `configuration ${JSON.stringify(name)}: ${reason}`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw siteError("CONFIG_MALFORMED", `configuration ${JSON.stringify(name)}: want members with values`);
  }
  return value as Config;
}

/**
 * `given` with every default filled in, if the schema allows it.
 * @throws CONFIG_MALFORMED; the message names the member, never its value, which may be a secret
 */
export function completeConfig(schema: JsonSchema, given: Config): Config {
  const completed: Record<string, unknown> = { ...given };
  for (const { name, defaultValue } of configMembers(schema)) {
    if (!Object.hasOwn(completed, name) && defaultValue !== undefined) completed[name] = defaultValue;
  }
  const problem = schemaProblem(schema, completed);
  if (problem !== undefined) {
    throw siteError("CONFIG_MALFORMED", `configuration: ${problem}`, {
      hints: [`it has the members ${Object.keys(propertiesOf(schema)).join(", ") || "(none)"}`],
    });
  }
  const { length } = configBytes(completed);
  if (length > COMPLETE_MAX_BYTES) {
    throw siteError("CONFIG_MALFORMED", `configuration: got ${length} bytes, want at most ${COMPLETE_MAX_BYTES}`);
  }
  return completed;
}

/** What is wrong with one answer of the wizard, or undefined. */
export function memberProblem(member: ConfigMember, value: unknown): string | undefined {
  return schemaProblem(member.schema, value);
}

export function configBytes(config: Config): Buffer {
  return canonicalJson(config);
}

export function configDigest(config: Config): Digest {
  return digestOf(configBytes(config));
}

/** @throws STATE_DAMAGED for bytes that are not what `want` names */
export function readConfigBytes(bytes: Uint8Array | undefined, want: Digest): Config {
  const value = bytes && digestOf(bytes) === want ? parseCanonicalJson(bytes) : undefined;
  if (value === undefined) {
    throw siteError("STATE_DAMAGED", `configuration: got ${bytes ? digestOf(bytes) : "no file"}, want ${want}`, {
      hints: ["somebody edited or removed it; sealift ledger show names the last one that was authorized"],
    });
  }
  return value as Config;
}

function propertiesOf(schema: JsonSchema): Record<string, JsonSchema> {
  return (schema["properties"] ?? {}) as Record<string, JsonSchema>;
}
