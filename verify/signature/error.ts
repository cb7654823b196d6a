import { errorArea } from "../../bundles/model/sealift-error.ts";

export const signatureError = errorArea({
  SIGNATURE_MALFORMED: 3,
  SIGNATURE_UNKNOWN_KEY: 3,
  SIGNATURE_STATEMENT_REFUSED: 3,
});
