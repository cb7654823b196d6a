/**
 * POST /v1/checkpoint, for who looks after the site alone: 200 `{"size"}` once all that is durable now is under a
 * checkpoint, so that a backup need not leave out what came in the last minute. 403 for others, 503 if it cannot be
 * written; then the last one stands.
 */
import type { IncomingMessage } from "node:http";
import { readBody } from "@sealift/service-kit/body.ts";
import { errorCode, type Log } from "@sealift/service-kit/log.ts";
import { type Problem, sendJson, sendProblem } from "@sealift/service-kit/problem.ts";
import type { Route } from "@sealift/service-kit/server.ts";
import type { AuditLog } from "./audit-log.ts";
import { INSTALLER } from "./event.ts";

const BODY_MAX_BYTES = 1024;
const PROBLEMS = {
  other: { status: 403, name: "checkpoint-not-yours", title: "This service has no checkpoints made" },
  failed: { status: 503, name: "checkpoint-failed", title: "No checkpoint can be written at the moment" },
} as const satisfies Record<string, Problem>;

export interface CheckpointMeans {
  readonly auditLog: Pick<AuditLog, "checkpoint" | "checkpointSize">;
  readonly log: Log;
  readonly serviceOf: (request: IncomingMessage) => string | undefined;
}

export function checkpointRoute({ auditLog, log, serviceOf }: CheckpointMeans): Route {
  return {
    method: "POST",
    path: "/v1/checkpoint",
    quiet: true,
    handle: async ({ request, response, requestId }) => {
      await readBody(request, BODY_MAX_BYTES);
      if (serviceOf(request) !== INSTALLER) {
        sendProblem(response, PROBLEMS.other, requestId);
        return;
      }
      try {
        await auditLog.checkpoint();
      } catch (cause) {
        log("error", "checkpoint-failed", { code: errorCode(cause), size: auditLog.checkpointSize });
        sendProblem(response, PROBLEMS.failed, requestId);
        return;
      }
      sendJson(response, 200, { size: auditLog.checkpointSize });
    },
  };
}
