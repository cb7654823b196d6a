/**
 * Asks a gateway with the official client, over TLS: `ask-gateway.ts BASE_URL MODEL`, the key in API_KEY, the
 * authority in NODE_EXTRA_CA_CERTS, the prompt in PROMPT. Prints what came as JSON.
 */
import OpenAI from "openai";

const [, , baseURL = "", model = ""] = process.argv;
const openai = new OpenAI({ baseURL, apiKey: process.env["API_KEY"] ?? "", maxRetries: 0 });
const messages = [{ role: "user" as const, content: process.env["PROMPT"] ?? "" }];

const models = (await openai.models.list()).data.map(({ id }) => id);
const whole = await openai.chat.completions.create({ model, messages, max_tokens: 16 });
let pieces = 0;
let finish: string | null | undefined;
for await (const piece of await openai.chat.completions.create({ model, messages, max_tokens: 64, stream: true })) {
  pieces += 1;
  finish = piece.choices[0]?.finish_reason ?? finish;
}
const refused = await openai.chat.completions.create({ model: "another", messages }).then(
  () => "nothing",
  (error: unknown) => (error instanceof OpenAI.APIError ? error.code : String(error)),
);
const { response } = await openai.models.list().withResponse();
console.log(
  JSON.stringify({
    models,
    usage: whole.usage?.completion_tokens,
    pieces,
    finish,
    refused,
    release: response.headers.get("sealift-release"),
  }),
);
