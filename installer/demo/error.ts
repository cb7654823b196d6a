import { errorArea } from "../../bundles/model/sealift-error.ts";

export const demoError = errorArea({
  DEMO_NO_CHECKOUT: 4,
  DEMO_NOT_ROOT: 4,
  DEMO_RUNNING: 4,
  DEMO_WORKDIR_UNUSABLE: 4,
  DEMO_HOST_NOT_READY: 4,
  DEMO_STEP_FAILED: 5,
  DEMO_NOT_REMOVED: 6,
});
