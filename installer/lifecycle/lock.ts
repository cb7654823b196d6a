/**
 * One operation at a time. The lock is the kernel's (flock), so it ends with its holder however that ends
 * and there is nothing stale to judge; the file's text only says who holds it, or who died holding it.
 */
import { spawnSync } from "node:child_process";
import { closeSync, constants, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { plain } from "../../bundles/model/plain-text.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { lifecycleError } from "./error.ts";

export interface LockHolder {
  readonly pid: number;
  readonly user: string;
  readonly host: string;
  /** What it does, e.g. `upgrade to 1.1.0`. */
  readonly what: string;
  readonly since: string;
}

export interface SiteLock {
  /** Who held the lock before and ended without releasing it: killed, or power went. */
  readonly abandoned: LockHolder | undefined;
  release(): void;
}

const TEXT_MAX_BYTES = 4096;
const FLOCK_HELD = 1;
/** The place of our descriptor in the child. */
const CHILD_FD = 3;

/** Takes the lock or says who has it; never waits. @throws LOCK_HELD | LOCK_UNAVAILABLE */
export function acquireLock(path: string, what: string, now = new Date()): SiteLock {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (cause) {
    throw lifecycleError("LOCK_UNAVAILABLE", `lock ${JSON.stringify(path)}: ${reasonOf(cause)}`, { cause });
  }
  try {
    // flock(2) belongs to the open file, which the child shares: it takes the lock, ends, and we keep it.
    // Node opens with O_CLOEXEC, so no other child holds on to it.
    const { status, error } = spawnSync("flock", ["-x", "-n", String(CHILD_FD)], {
      stdio: ["ignore", "ignore", "ignore", fd],
      env: { PATH: "/usr/bin:/bin" },
    });
    const holder = readHolder(fd);
    if (error || (status !== 0 && status !== FLOCK_HELD)) {
      const reason = error ? reasonOf(error) : `flock ended with ${status}`;
      throw lifecycleError("LOCK_UNAVAILABLE", `lock ${JSON.stringify(path)}: ${reason}`, {
        hints: ["the state directory must be on a local filesystem; flock comes with util-linux"],
      });
    }
    if (status === FLOCK_HELD)
      throw lifecycleError("LOCK_HELD", `the site is busy: ${describe(holder)}`, {
        hints: ["wait until it is done; a lock whose holder died is free at once"],
      });
    writeHolder(fd, { pid: process.pid, user: userName(), host: hostname(), what, since: now.toISOString() });
    let isHeld = true;
    return {
      abandoned: holder,
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        try {
          ftruncateSync(fd, 0);
        } finally {
          closeSync(fd);
        }
      },
    };
  } catch (cause) {
    closeSync(fd);
    throw cause;
  }
}

function describe(holder: LockHolder | undefined): string {
  if (!holder) return "another process holds its lock";
  const { pid, user, host, what, since } = holder;
  return plain(`${user} on ${host} runs ${JSON.stringify(what)} since ${since} (pid ${pid})`);
}

function readHolder(fd: number): LockHolder | undefined {
  const bytes = Buffer.alloc(TEXT_MAX_BYTES);
  const text = bytes.toString("utf8", 0, readSync(fd, bytes, 0, TEXT_MAX_BYTES, 0));
  try {
    const { pid, user, host, what, since } = JSON.parse(text) as Record<keyof LockHolder, unknown>;
    return { pid: Number(pid), user: String(user), host: String(host), what: String(what), since: String(since) };
  } catch {
    // Empty, or torn while it was written: the text is for people, the lock is the kernel's.
    return undefined;
  }
}

/** A full disk must not keep anybody from recovering: the text may stay away. */
function writeHolder(fd: number, holder: LockHolder): void {
  try {
    ftruncateSync(fd, 0);
    writeSync(fd, JSON.stringify(holder), 0);
    fsyncSync(fd);
  } catch {}
}

function userName(): string {
  try {
    return process.env["SUDO_USER"] ?? userInfo().username;
  } catch {
    return `uid ${process.getuid?.()}`;
  }
}
