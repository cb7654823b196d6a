import { errorArea } from "../model/sealift-error.ts";

export const assembleError = errorArea({
  APPLIANCE_NOT_FOUND: 4,
  APPLIANCE_FILE_MISSING: 4,
  LOCK_MISSING: 4,
  LOCK_STALE: 4,
  LOCK_WRITE_FAILED: 5,
  VERSION_MALFORMED: 2,
  COMPOSE_REFUSED: 2,
  REBUILD_DIFFERS: 3,
});
