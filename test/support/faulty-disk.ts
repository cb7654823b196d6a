/**
 * A disk that fails at its n-th call, or loses power there. After a power cut nothing more happens, and
 * what was not fsynced is gone in part: of a file any prefix of what was appended may be left, with
 * zeros or without, and of the names in a directory the last changes may be undone.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { type Disk, hostDisk } from "../../installer/site/disk.ts";

/** Thrown by every call from the cut on: the process "is dead", so whoever catches it changes nothing. */
export class PowerCut extends Error {}

export type Fault =
  | { readonly kind: "error"; readonly code: "EIO" | "ENOSPC"; readonly at: number; readonly forever: boolean }
  | { readonly kind: "kill"; readonly at: number }
  | { readonly kind: "power"; readonly at: number };

/** Numbers in [0, 1) that depend on the seed alone (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface OpenFile {
  readonly path: string;
  readonly isDirectory: boolean;
}

interface Tracked {
  /** As of the last fsync. */
  durable: Buffer;
  current: string;
}

interface NameChange {
  readonly directory: string;
  readonly undo: () => void;
}

export class FaultyDisk implements Disk {
  /** Calls so far. */
  calls = 0;
  #fault: Fault | undefined;
  readonly #random: () => number;
  #isDead = false;
  readonly #open = new Map<number, OpenFile>();
  readonly #files = new Map<number, Tracked>();
  #names: NameChange[] = [];

  constructor(fault?: Fault, seed = 1) {
    this.#fault = fault;
    this.#random = random(seed);
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Counts a call; true if this one is to be torn. */
  #turn(name: string): boolean {
    if (this.#isDead) throw new PowerCut(name);
    this.calls += 1;
    const fault = this.#fault;
    if (!fault || this.calls < fault.at) return false;
    if (fault.kind === "error") {
      if (!fault.forever) this.#fault = undefined;
      // Closing and cutting off work on a full disk, and names can be removed.
      if (fault.code === "ENOSPC" && !["write", "mkdir", "link"].includes(name)) return false;
      throw Object.assign(new Error(`${fault.code}: ${name} failed on purpose`), { code: fault.code });
    }
    return true;
  }

  #die(name: string): never {
    this.#isDead = true;
    for (const fd of this.#open.keys()) closeSync(fd);
    if (this.#fault?.kind === "power") this.#lose();
    throw new PowerCut(name);
  }

  /** What a power cut does to what was not fsynced. */
  #lose(): void {
    for (const { durable, current } of this.#files.values()) {
      const now = readFileSync(current);
      if (now.equals(durable)) continue;
      const kept = Math.floor(this.#random() * (now.length + 1));
      const left =
        now.length >= durable.length ? Buffer.from(now.subarray(0, Math.max(kept, durable.length))) : durable;
      // Some filesystems grow the file before its blocks arrive.
      const zeros = this.#random() < 0.3 ? Buffer.alloc(now.length - left.length) : Buffer.alloc(0);
      writeFileSync(current, Buffer.concat([left, zeros]));
    }
    const undone = Math.floor(this.#random() * (this.#names.length + 1));
    for (const change of this.#names.slice(this.#names.length - undone).reverse()) change.undo();
  }

  open(path: string, flags: number, mode: number): number {
    const torn = this.#turn("open");
    if (torn) this.#die("open");
    const isNew = (flags & constants.O_CREAT) !== 0;
    const fd = openSync(path, flags, mode);
    const stat = fstatSync(fd);
    this.#open.set(fd, { path, isDirectory: stat.isDirectory() });
    if (stat.isFile() && !this.#files.has(stat.ino)) {
      this.#files.set(stat.ino, { durable: readFileSync(path), current: path });
    }
    if (isNew) this.#changed(path, () => unlinkSync(path));
    return fd;
  }

  #changed(path: string, undo: () => void): void {
    this.#names.push({ directory: dirname(path), undo });
  }

  write(fd: number, bytes: Uint8Array, position: number): number {
    const torn = this.#turn("write");
    // Short writes are allowed at any time, and happen here now and then.
    const isShort = torn || this.#random() < 0.1;
    const length = isShort ? Math.ceil(this.#random() * bytes.length) : bytes.length;
    const written = writeSync(fd, bytes, 0, Math.max(length, 1), position);
    if (torn) this.#die("write");
    return written;
  }

  truncate(fd: number, size: number): void {
    if (this.#turn("truncate")) this.#die("truncate");
    ftruncateSync(fd, size);
  }

  chmod(fd: number, mode: number): void {
    if (this.#turn("chmod")) this.#die("chmod");
    fchmodSync(fd, mode);
  }

  chown(fd: number, uid: number, gid: number): void {
    if (this.#turn("chown")) this.#die("chown");
    fchownSync(fd, uid, gid);
  }

  sync(fd: number): void {
    if (this.#turn("sync")) this.#die("sync");
    const { path, isDirectory } = this.#open.get(fd) as OpenFile;
    if (isDirectory) {
      this.#names = this.#names.filter(({ directory }) => directory !== path);
      return;
    }
    const file = this.#files.get(fstatSync(fd).ino);
    if (file) file.durable = readFileSync(file.current);
  }

  close(fd: number): void {
    if (this.#isDead) return;
    hostDisk.close(fd);
    this.#open.delete(fd);
  }

  rename(from: string, to: string): void {
    if (this.#turn("rename")) this.#die("rename");
    const before = snapshot(to);
    const { ino } = lstatSync(from);
    const replaced = lstatSync(to, { throwIfNoEntry: false });
    if (replaced) this.#files.delete(replaced.ino);
    renameSync(from, to);
    const file = this.#files.get(ino);
    if (file) file.current = to;
    for (const inner of this.#files.values()) {
      if (inner.current.startsWith(`${from}/`)) inner.current = to + inner.current.slice(from.length);
    }
    this.#changed(to, () => {
      renameSync(to, from);
      before?.();
    });
  }

  link(existing: string, path: string): void {
    if (this.#turn("link")) this.#die("link");
    linkSync(existing, path);
    this.#changed(path, () => unlinkSync(path));
  }

  unlink(path: string): void {
    if (this.#turn("unlink")) this.#die("unlink");
    const before = snapshot(path);
    const stat = before && lstatSync(path);
    unlinkSync(path);
    if (stat) this.#files.delete(stat.ino);
    this.#changed(path, () => before?.());
  }

  mkdir(path: string, mode: number): void {
    if (this.#turn("mkdir")) this.#die("mkdir");
    mkdirSync(path, { mode });
    this.#changed(path, () => rmSync(path, { recursive: true }));
  }

  rmdir(path: string): void {
    if (this.#turn("rmdir")) this.#die("rmdir");
    rmdirSync(path);
    this.#changed(path, () => mkdirSync(path, { mode: 0o700 }));
  }

  /** The power goes now, between two calls. */
  cutPower(): void {
    this.#fault = { kind: "power", at: 0 };
    try {
      this.#die("now");
    } catch {}
  }
}

/** Puts back what is at `path` now. */
function snapshot(path: string): (() => void) | undefined {
  try {
    if (lstatSync(path).isSymbolicLink()) {
      const target = readlinkSync(path);
      return () => symlinkSync(target, path);
    }
    const bytes = readFileSync(path);
    return () => writeFileSync(path, bytes, { mode: 0o600 });
  } catch {
    return undefined;
  }
}
