import { createLog } from "@sealift/service-kit/log.ts";
import { runService } from "@sealift/service-kit/run.ts";
import { startPii } from "./service.ts";
import { readSettings } from "./settings.ts";

const log = createLog("pii", (line) => process.stdout.write(line));
await runService(log, async () => startPii(readSettings(process.env), log));
