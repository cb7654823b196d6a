/** The configuration, asked member by member on a terminal, and looked over before it counts. */
import { plain } from "../../bundles/model/plain-text.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { type Config, type ConfigMember, completeConfig, configMembers, memberProblem } from "../site/config.ts";
import { askChoice, askText } from "./ask.ts";
import type { Terminal } from "./terminal.ts";

/**
 * What differs from site to site, each with its description and default, then every member of the schema for a
 * look, until the person agrees and the schema allows it as a whole. An empty answer leaves out what has no
 * default.
 */
export async function askConfig(terminal: Terminal, schema: JsonSchema): Promise<Config> {
  const members = configMembers(schema);
  if (members.length === 0) return {};
  terminal.note("");
  let config: Config = {};
  for (const member of members) {
    const { name, asked, defaultValue } = member;
    config = asked ? await answered(terminal, config, member) : { ...config, [name]: defaultValue };
  }
  for (;;) {
    const problem = wholeProblem(schema, config);
    const changed = await askChoice<ConfigMember | undefined>(
      problem === undefined ? "Is the configuration right?" : `This does not fit together: ${problem}`,
      [
        ...(problem === undefined ? [{ value: undefined, name: "Yes, go on" }] : []),
        ...members.map((member) => ({
          value: member,
          name: `Change ${member.name}: ${shownOr(config[member.name], "(left out)")}`,
          description: member.description,
        })),
      ],
    );
    if (!changed) return config;
    config = await answered(terminal, config, changed);
  }
}

async function answered(terminal: Terminal, config: Config, member: ConfigMember): Promise<Config> {
  const { name, description, defaultValue } = member;
  const proposal = config[name] ?? defaultValue;
  if (description !== "") terminal.paragraph(plain(description));
  const text = await askText(
    `${name}:`,
    (given) => {
      if (given === "" && proposal === undefined) return undefined;
      const problem = memberProblem(member, typed(member, given));
      return problem === undefined ? undefined : (wanted(member) ?? problem.replace(/^\/: /, ""));
    },
    proposal === undefined ? undefined : shown(proposal),
  );
  const { [name]: _, ...others } = config;
  return text === "" ? others : { ...others, [name]: typed(member, text) };
}

/** What the members are not to each other. */
function wholeProblem(schema: JsonSchema, config: Config): string | undefined {
  try {
    completeConfig(schema, config);
    return undefined;
  } catch (cause) {
    return reasonOf(cause);
  }
}

/** The schema's rule in words, as far as there are words for it: a pattern tells a person nothing. */
function wanted({ schema, description }: ConfigMember): string | undefined {
  const { type, minimum, maximum, enum: values, pattern } = schema as Readonly<Record<string, unknown>>;
  if (Array.isArray(values)) return `want one of ${values.map(shown).join(", ")}`;
  if (minimum !== undefined && maximum !== undefined) return `want ${String(type)} from ${minimum} to ${maximum}`;
  if (minimum !== undefined) return `want ${String(type)}, at least ${minimum}`;
  if (maximum !== undefined) return `want ${String(type)}, at most ${maximum}`;
  return pattern === undefined || description === "" ? undefined : `want: ${description}`;
}

function shownOr(value: unknown, absent: string): string {
  return value === undefined ? absent : shown(value);
}

function shown(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What a person typed, as the schema's type: a word stays a word, everything else is JSON. */
function typed({ schema }: ConfigMember, text: string): unknown {
  if (schema["type"] === "string") return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
