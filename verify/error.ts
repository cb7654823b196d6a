import { errorArea } from "../bundles/model/sealift-error.ts";

export const verifyError = errorArea({
  POLICY_NOT_FOUND: 4,
  POLICY_MALFORMED: 2,
  APPROVAL_UNREADABLE: 5,
  APPROVAL_OTHER: 3,
  APPROVE_DENIED: 3,
  CAGE_FAILED: 1,
  SCAN_DATABASE_NOT_SIGNED: 3,
  RELEASE_DENIED: 3,
  RELEASE_ADVISORY: 3,
  RELEASE_UNMEASURED: 3,
  RELEASE_EXCHANGED: 3,
});
