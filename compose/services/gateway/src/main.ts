import { createLog } from "@sealift/service-kit/log.ts";
import { runService } from "@sealift/service-kit/run.ts";
import { startGateway } from "./gateway.ts";
import { readSettings } from "./settings.ts";

const log = createLog("gateway", (line) => process.stdout.write(line));
await runService(log, async () => startGateway(readSettings(process.env), log));
