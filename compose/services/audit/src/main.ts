import { createLog } from "@sealift/service-kit/log.ts";
import { runService } from "@sealift/service-kit/run.ts";
import { startAudit } from "./service.ts";
import { readSettings } from "./settings.ts";

const log = createLog("audit", (line) => process.stdout.write(line));
await runService(log, async () => startAudit(readSettings(process.env), log));
