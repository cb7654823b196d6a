/**
 * The task that makes the appliance's first API key, run by the installer once the first release works.
 * Connects as the database's owner. MODELS are the names, with commas, of the models that the key's role may
 * use; API_KEY_PEPPER_FILE is the gateway's too; API_KEY_DAYS is how long the key is good for (90). Prints
 * FirstKeyResult (database/first-key.ts) as one line, with the key in it, which nobody can show again.
 */
import { readSecret } from "@sealift/service-kit/settings.ts";
import { makeFirstKey } from "./database/first-key.ts";
import { runTask } from "./database/run-task.ts";

await runTask(
  {
    name: "gateway-credentials",
    settings: (reader) => ({
      pepperFile: reader.text("API_KEY_PEPPER_FILE"),
      models: reader.text("MODELS").split(","),
      validDays: reader.integer("API_KEY_DAYS", 90, 1, 3_650),
    }),
    run: async (client, { pepperFile, models, validDays }) => {
      return makeFirstKey(client, { pepper: await readSecret(pepperFile), models, validDays });
    },
  },
  process.env,
);
