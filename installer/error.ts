import { errorArea } from "../bundles/model/sealift-error.ts";

export const installerError = errorArea({
  USAGE: 2,
  INTERNAL: 1,
  FILE_NOT_FOUND: 4,
  FILE_UNREADABLE: 5,
  FILE_WRITE_FAILED: 5,
  OUTPUT_WRITE_FAILED: 5,
});
