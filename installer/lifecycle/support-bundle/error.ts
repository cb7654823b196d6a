import { errorArea } from "../../../bundles/model/sealift-error.ts";

export const supportError = errorArea({
  SUPPORT_FILE_EXISTS: 4,
  SUPPORT_SECRET_FOUND: 1,
  SUPPORT_TOO_LARGE: 5,
});
