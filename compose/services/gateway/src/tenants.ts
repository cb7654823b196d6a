/**
 * The task by which an operator looks after tenants and API keys, run by the installer. Its one argument is
 * an Order as JSON (database/administration.ts). Connects as the database's owner; MODELS are the names, with
 * commas, of the release's models; API_KEY_PEPPER_FILE is the gateway's too. Prints one line of JSON: what was
 * done, with a new key in it, or `{"kind":"refused","reason":…}` where nothing was changed.
 */
import { readSecret } from "@sealift/service-kit/settings.ts";
import { carryOutOrder, type Order, OrderError, parseOrder } from "./database/administration.ts";
import { runTask } from "./database/run-task.ts";

await runTask(
  {
    name: "gateway-tenants",
    settings: (reader) => ({
      pepperFile: reader.text("API_KEY_PEPPER_FILE"),
      models: reader.text("MODELS").split(","),
      order: orderOf(process.argv[2] ?? "", (problem) => reader.refuse(problem)),
    }),
    run: async (client, { pepperFile, models, order }) => {
      try {
        return await carryOutOrder(client, order, { pepper: await readSecret(pepperFile), models });
      } catch (cause) {
        if (!(cause instanceof OrderError)) throw cause;
        return { kind: "refused", reason: cause.refusal };
      }
    },
  },
  process.env,
);

function orderOf(text: string, refuse: (problem: string) => void): Order {
  const order = parseOrder(text);
  if (!order) refuse("the argument is no order");
  return order ?? { do: "list", tenant: null };
}
