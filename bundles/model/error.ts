import { errorArea } from "./sealift-error.ts";

export const modelError = errorArea({
  OCI_MALFORMED: 3,
  OCI_TOO_LARGE: 3,
  RELEASE_MALFORMED: 3,
  APPLIANCE_MALFORMED: 2,
  LOCK_MALFORMED: 2,
  ATTEST_OVMF_MALFORMED: 3,
  KEY_MALFORMED: 2,
  KEY_NOT_P256: 2,
  FILE_EXISTS: 4,
});
