/** Public keys as files. Apart from key-file.ts, so that who only verifies loads nothing that opens private ones. */
import type { KeyObject } from "node:crypto";
import { parsePublicKey } from "../model/public-key.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { signError } from "./error.ts";

// Not imported, as in installer/host/read-file.ts: that would load Node's streams.
const { closeSync, openSync, readSync } = process.getBuiltinModule("node:fs");

export type PublicKey = KeyObject;

const KEY_FILE_MAX_BYTES = 16 * 1024;

/** @throws KEY_NOT_FOUND | KEY_UNREADABLE | KEY_MALFORMED | KEY_NOT_P256 */
export function loadPublicKey(path: string): PublicKey {
  return parsePublicKey(readKeyText(path), `key ${JSON.stringify(path)}`);
}

/** The text of a key's file, public or private. @throws KEY_NOT_FOUND | KEY_UNREADABLE */
export function readKeyText(path: string): string {
  try {
    const fd = openSync(path, "r");
    try {
      const buffer = Buffer.alloc(KEY_FILE_MAX_BYTES + 1);
      let length = 0;
      for (let got = 1; got > 0 && length < buffer.length; length += got) {
        got = readSync(fd, buffer, length, buffer.length - length, null);
      }
      if (length > KEY_FILE_MAX_BYTES) throw new RangeError(`larger than ${KEY_FILE_MAX_BYTES} bytes`);
      return buffer.toString("utf8", 0, length);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code === "ENOENT" ? "KEY_NOT_FOUND" : "KEY_UNREADABLE";
    throw signError(code, `key ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
}
