/** The configuration, asked member by member on a terminal. */
import { createPromptModule } from "inquirer";
import type { JsonSchema } from "../../bundles/model/schema.ts";
import { type Config, type ConfigMember, configMembers, memberProblem } from "../site/config.ts";

/** Every member of the schema with its description and default. An empty answer leaves out what has no default. */
export async function askConfig(schema: JsonSchema): Promise<Config> {
  const prompt = createPromptModule({ output: process.stderr });
  const config: Record<string, unknown> = {};
  for (const member of configMembers(schema)) {
    const { name, description, defaultValue } = member;
    const { answer } = await prompt<{ answer: string }>([
      {
        type: "input",
        name: "answer",
        message: `${name}: ${description}`,
        ...(defaultValue !== undefined && { default: shown(defaultValue) }),
        validate: (text: string) =>
          (text === "" && defaultValue === undefined) || (memberProblem(member, typed(member, text)) ?? true),
      },
    ]);
    if (answer !== "") config[name] = typed(member, answer);
  }
  return config;
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
