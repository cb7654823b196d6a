/**
 * A disk that forgets what was not synced. The files lie on the host, as whoever reads them before a power cut
 * sees them; beside it is kept what a power cut would leave for sure, and what it could leave or not: each
 * page that was written and not synced, and each change to a directory that was not synced, apart from all
 * others. Of two changes to one name the later one cannot be left without the earlier one's being overwritten.
 */
import { constants, type FileHandle, mkdir, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { hostDisk, type LogDisk } from "../../../../compose/services/audit/src/durable-files.ts";

const PAGE_BYTES = 4096;

interface Write {
  readonly position: number;
  readonly bytes: Buffer;
}

interface File {
  kind: "file";
  durable: Buffer;
  unsynced: Write[];
}

interface Directory {
  kind: "directory";
  readonly durable: Map<string, Node>;
  /** What is there now. */
  readonly names: Map<string, Node>;
  /** Each changes one name or, as a rename does, two. */
  unsynced: ReadonlyMap<string, Node | undefined>[];
}

type Node = File | Directory;

/** Whether one thing that was not synced outlives the power cut: `page`, or the names that a change was about. */
export type Survives = (what: string) => boolean;

interface Opened {
  path: string;
  readonly node: Node;
  readonly isDurable: boolean;
}

export class PowerCutDisk implements LogDisk {
  readonly #path: string;
  readonly #root = newDirectory();
  readonly #open = new Map<FileHandle, Opened>();
  /** Counts everything that is asked of the disk. */
  calls = 0;
  /**
   * Told the number of each call and what it is, as `sync segments`. What it throws is the call's failure, before
   * anything was done; of a write, when its bytes can be read and are not durable.
   */
  onCall: (calls: number, what: string) => void = () => {};

  /** For the empty directory at `path`. */
  constructor(path: string) {
    this.#path = path;
  }

  /** What a power cut now leaves, written to the directory `to`, which must not be there. */
  async cutPower(to: string, survives: Survives): Promise<void> {
    await materialize(this.#root, to, survives);
  }

  async open(path: string, flags: string | number): Promise<FileHandle> {
    this.#call("open", path);
    const isDurable = typeof flags === "number" && (flags & constants.O_DSYNC) !== 0;
    const file = await hostDisk.open(path, isDurable ? flags & ~constants.O_DSYNC : flags);
    let node = this.#find(path);
    if (!node) {
      node = { kind: "file", durable: Buffer.alloc(0), unsynced: [] };
      this.#change(dirname(path), new Map([[basename(path), node]]));
    } else if (flags === "w" && node.kind === "file") {
      node.unsynced.push({ position: -1, bytes: Buffer.alloc(0) });
    }
    this.#open.set(file, { path, node, isDurable });
    return file;
  }

  async write(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
    await hostDisk.write(file, bytes, position);
    this.#wrote(file, bytes, position);
  }

  writeHere(file: FileHandle, bytes: Uint8Array, position: number): void {
    hostDisk.writeHere(file, bytes, position);
    this.#wrote(file, bytes, position);
  }

  async sync(file: FileHandle): Promise<void> {
    const opened = this.#open.get(file);
    this.#call("sync", opened?.path ?? "");
    if (opened) settle(opened.node);
  }

  async makeDirectory(path: string): Promise<void> {
    this.#call("makeDirectory", path);
    await hostDisk.makeDirectory(path);
    for (let above = this.#path, rest = relative(this.#path, path).split("/"); rest.length > 0; rest = rest.slice(1)) {
      const [name = ""] = rest;
      const next = join(above, name);
      if (!this.#find(next)) this.#change(above, new Map([[name, newDirectory()]]));
      above = next;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    this.#call("rename", to);
    await hostDisk.rename(from, to);
    for (const opened of this.#open.values()) if (opened.path === from) opened.path = to;
    const changes = new Map<string, Node | undefined>([[basename(to), this.#find(from)]]);
    changes.set(basename(from), undefined);
    this.#change(dirname(to), changes);
  }

  async remove(path: string): Promise<void> {
    this.#call("remove", path);
    await hostDisk.remove(path);
    if (this.#find(path)) this.#change(dirname(path), new Map([[basename(path), undefined]]));
  }

  #call(what: string, path: string): void {
    this.onCall(++this.calls, `${what} ${relative(this.#path, path)}`);
  }

  /** A write that is cut leaves some of its pages. */
  #wrote(file: FileHandle, bytes: Uint8Array, position: number): void {
    const opened = this.#open.get(file);
    if (opened?.node.kind !== "file") throw new Error("written to what is no file");
    for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
      opened.node.unsynced.push({ position: position + at, bytes: Buffer.from(bytes.subarray(at, at + PAGE_BYTES)) });
    }
    this.#call("write", opened.path);
    if (opened.isDurable) settle(opened.node);
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const name of relative(this.#path, path).split("/")) {
      if (name === "") continue;
      node = node?.kind === "directory" ? node.names.get(name) : undefined;
    }
    return node;
  }

  #change(path: string, changes: ReadonlyMap<string, Node | undefined>): void {
    const directory = this.#find(path);
    if (directory?.kind !== "directory") throw new Error("changed what is no directory");
    apply(directory.names, changes);
    directory.unsynced.push(changes);
  }
}

function newDirectory(): Directory {
  return { kind: "directory", durable: new Map(), names: new Map(), unsynced: [] };
}

function apply(names: Map<string, Node>, changes: ReadonlyMap<string, Node | undefined>): void {
  for (const [name, node] of changes) {
    if (node) names.set(name, node);
    else names.delete(name);
  }
}

function settle(node: Node): void {
  if (node.kind === "file") node.durable = contentOf(node, () => true);
  else for (const changes of node.unsynced) apply(node.durable, changes);
  node.unsynced = [];
}

function contentOf({ durable, unsynced }: File, survives: Survives): Buffer {
  let bytes = Buffer.from(durable);
  for (const write of unsynced) {
    if (!survives("page")) continue;
    if (write.position < 0) {
      bytes = Buffer.alloc(0);
      continue;
    }
    const end = write.position + write.bytes.length;
    if (end > bytes.length) bytes = Buffer.concat([bytes, Buffer.alloc(end - bytes.length)]);
    write.bytes.copy(bytes, write.position);
  }
  return bytes;
}

async function materialize(node: Node, path: string, survives: Survives): Promise<void> {
  if (node.kind === "file") {
    await writeFile(path, contentOf(node, survives));
    return;
  }
  await mkdir(path);
  const names = new Map(node.durable);
  for (const changes of node.unsynced) if (survives([...changes.keys()].join(" "))) apply(names, changes);
  for (const [name, below] of names) await materialize(below, join(path, name), survives);
}
