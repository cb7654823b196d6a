import { errorArea } from "../../bundles/model/sealift-error.ts";

export const hostError = errorArea({
  HOST_NOT_ROOT: 4,
  HOST_UNSUPPORTED: 4,
  HOST_SOURCES_UNKNOWN: 4,
  HOST_DEBS_UNUSABLE: 4,
  HOST_SETUP_DECLINED: 5,
  HOST_SETUP_FAILED: 5,
  HOST_ENGINE_NOT_STARTED: 5,
});
