import { errorArea } from "../model/sealift-error.ts";

export const kitError = errorArea({
  KIT_PLATFORM_UNSUPPORTED: 2,
  KIT_ENGINE_UNSUPPORTED: 4,
  KIT_CHECKOUT_MISSING: 4,
  KIT_SOURCE_REFUSED: 4,
  KIT_WRITE_FAILED: 5,
});
