import { errorArea } from "../../bundles/model/sealift-error.ts";

export const auditError = errorArea({
  AUDIT_LOG_NOT_FOUND: 4,
  AUDIT_KEY_MALFORMED: 2,
  AUDIT_CHECKPOINT_MALFORMED: 3,
  AUDIT_SIGNATURE_INVALID: 3,
  AUDIT_LOG_INCOMPLETE: 3,
  AUDIT_ENTRY_CHANGED: 3,
  AUDIT_TILE_CHANGED: 3,
  AUDIT_ROOT_DIFFERS: 3,
  AUDIT_LOG_REWOUND: 3,
  AUDIT_LOG_FORKED: 3,
});
