import { errorArea } from "../../../bundles/model/sealift-error.ts";

export const supportError = errorArea({
  SUPPORT_SECRET_FOUND: 1,
  SUPPORT_TOO_LARGE: 5,
});
