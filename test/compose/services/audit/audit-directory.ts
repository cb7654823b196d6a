/** An audit log in a directory of its own, with a key of its own, and ways to look at and to break it. */
import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { constants, type FileHandle } from "node:fs/promises";
import { AuditLog, type AuditLogOptions } from "../../../../compose/services/audit/src/audit-log.ts";
import { hostDisk, type LogDisk } from "../../../../compose/services/audit/src/durable-files.ts";

export const ORIGIN = "site.example/audit";

export const testKey: KeyObject = generateKeyPairSync("ed25519").privateKey;

/** An Ed25519 key from its 32 secret bytes. */
export function keyFromSeed(seed: Buffer): KeyObject {
  const prefix = Buffer.from("302e020100300506032b657004220420", "hex");
  return createPrivateKey({ key: Buffer.concat([prefix, seed]), format: "der", type: "pkcs8" });
}

/** Small segments, and a checkpoint only when it is asked for. */
export function openLog(directory: string, options: Partial<AuditLogOptions> = {}): Promise<AuditLog> {
  return AuditLog.open({
    directory,
    signer: { origin: ORIGIN, privateKey: testKey },
    log: () => {},
    segmentBytes: 64 * 1024,
    disk: breakableDisk(),
    checkpointEntries: 1_000_000,
    checkpointMs: 3_600_000,
    ...options,
  });
}

export function entry(number: number, size = 40): Buffer {
  return Buffer.from(JSON.stringify({ id: `entry-${number}`, pad: "x".repeat(size) }));
}

/** A disk that can be told to fail; `calls` counts writes and syncs. */
export interface BreakableDisk extends LogDisk {
  calls: number;
  /** Told the number of each call before it is made. */
  onCall: (calls: number) => void;
  /** The code of the failure of each call from now on. */
  failing: string | undefined;
  /** Whether a failing write leaves half of its bytes. */
  torn: boolean;
}

/** A disk that has room for segments alone: no entry gets into the tree. */
export function treelessDisk(): LogDisk {
  return {
    ...breakableDisk(),
    makeDirectory: (path) =>
      path.includes("/tile/") ? Promise.reject(new Error("no room for a tree")) : hostDisk.makeDirectory(path),
  };
}

export function breakableDisk(): BreakableDisk {
  const disk: BreakableDisk = {
    ...hostDisk,
    calls: 0,
    onCall: () => {},
    failing: undefined,
    torn: false,
    async write(file: FileHandle, bytes: Uint8Array, position: number) {
      disk.onCall(++disk.calls);
      if (disk.failing && disk.torn) await hostDisk.write(file, bytes.subarray(0, bytes.length / 2), position);
      fail();
      await hostDisk.write(file, bytes, position);
    },
    writeHere(file: FileHandle, bytes: Uint8Array, position: number) {
      disk.onCall(++disk.calls);
      if (disk.failing && disk.torn) hostDisk.writeHere(file, bytes.subarray(0, bytes.length / 2), position);
      fail();
      hostDisk.writeHere(file, bytes, position);
    },
    // No test cuts the power of the machine, so nothing has to wait for its disk.
    open: (path, flags) => hostDisk.open(path, typeof flags === "number" ? flags & ~constants.O_DSYNC : flags),
    async sync() {
      disk.onCall(++disk.calls);
      fail();
    },
  };
  const fail = (): void => {
    if (disk.failing) throw Object.assign(new Error("the disk fails"), { code: disk.failing });
  };
  return disk;
}
