import { errorArea } from "../../../bundles/model/sealift-error.ts";

/** What `fsck` finds that no other part of Sealift has a code for. */
export const fsckError = errorArea({
  FSCK_AUDIT_LOG_AMBIGUOUS: 4,
  FSCK_CERTIFICATE: 4,
  FSCK_FILE_MISSING: 4,
  FSCK_FILE_MODE: 3,
  FSCK_FILE_TYPE: 3,
  FSCK_FOREIGN_LINK: 4,
  FSCK_IDENTITY_UNUSABLE: 4,
  FSCK_IMAGE_FILES_DIFFER: 3,
  FSCK_IMAGE_MISSING: 4,
  FSCK_JOURNAL_CHANGED: 3,
  FSCK_LABEL_DIFFERS: 3,
  FSCK_LEFTOVER: 4,
  FSCK_NOT_RUNNING: 4,
  FSCK_SECRET_MISSING: 4,
  FSCK_SECRET_UNKNOWN: 4,
  FSCK_STORE_CHANGED: 3,
  FSCK_SWITCH_DIFFERS: 4,
  FSCK_TAG_MISSING: 4,
  FSCK_UNKNOWN_FILE: 4,
});
