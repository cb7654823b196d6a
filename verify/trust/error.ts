import { errorArea } from "../../bundles/model/sealift-error.ts";

export const trustError = errorArea({
  TRUST_NOT_FOUND: 4,
  TRUST_UNREADABLE: 5,
  TRUST_MALFORMED: 3,
  TRUST_THRESHOLD: 3,
  TRUST_EXPIRED: 3,
  TRUST_ROLLBACK: 3,
  TRUST_REWRITTEN: 3,
  TRUST_FINGERPRINT_MISMATCH: 3,
  TRUST_KEY_REUSED: 3,
  TRUST_HOLDER_TWICE: 3,
  TRUST_ROLE_MISSING: 3,
  TRUST_REVOKED_IN_USE: 3,
});
