import { errorArea } from "../model/sealift-error.ts";

export const transferError = errorArea({
  SPLIT_SIZE_UNUSABLE: 2,
  PARTS_DIRECTORY_IN_USE: 4,
  PARTS_DISK_FULL: 4,
  PARTS_WRITE_FAILED: 5,
  PARTS_UNREPAIRABLE: 5,
  INVENTORY_MALFORMED: 3,
});
