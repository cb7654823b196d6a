/**
 * What a compiled program says about itself, found while its bytes stream by: the build information that
 * Go's linker writes (debug/buildinfo; Go 1.18 and newer), and the version of Node.js.
 */
import { createHash } from "node:crypto";

export interface GoFacts {
  readonly kind: "go";
  /** Such as `go1.22.1`; undefined if the build information has a form that is not read. */
  readonly toolchain: string | undefined;
  /** Lines of the module information: path, mod, dep, =>, build; "" if the program was built without modules. */
  readonly modules: string;
  /** Of the whole file, in hexadecimal. */
  readonly sha512: string;
}

export interface NodeFacts {
  readonly kind: "node";
  /** Without the leading v. */
  readonly version: string;
  readonly sha512: string;
}

export type BinaryFacts = GoFacts | NodeFacts;

const ELF = Buffer.from("\x7fELF", "latin1");
const GO = Buffer.from("\xff Go buildinf:", "latin1");
const GO_HEADER_BYTES = 32;
/** The programs with the most modules known have some 60 KiB. */
const GO_MAX_BYTES = 1024 * 1024;
/** The header's bit for strings that follow in place; without it they are elsewhere in memory. */
const GO_INLINE = 2;
/** Go frames the modules' text with sixteen bytes before and after. */
const FRAME_BYTES = 16;

const NODE = Buffer.from("https://nodejs.org/download/release/v", "latin1");
const NODE_TAIL = /^(\d{1,3}\.\d{1,3}\.\d{1,3})\/node-v\1\.tar\.gz$/;
const NODE_TAIL_MAX_BYTES = 64;

/** A mark and what must follow it may lie so far over the edge between two pieces. */
const EDGE_BYTES = Math.max(GO.length, NODE.length + NODE_TAIL_MAX_BYTES);

export function startsLikeProgram(start: Uint8Array): boolean {
  return start.byteLength >= ELF.length && ELF.compare(start, 0, ELF.length) === 0;
}

/** Give it the program's bytes in any pieces, then ask. Chunks are only lent. */
export class BinaryProbe {
  /** The end of what was seen, in which a mark may begin. */
  #rest: Buffer = Buffer.alloc(0);
  /** What follows Go's mark, from the mark on. */
  #go: Buffer[] | undefined;
  #goBytes = 0;
  #node: string | undefined;
  readonly #hash = createHash("sha512");

  write(chunk: Uint8Array): void {
    const piece = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    this.#hash.update(piece);
    // Only the edge is put together: a copy of every piece would be a copy of every program.
    const edge = Buffer.concat([this.#rest, piece.subarray(0, EDGE_BYTES)]);
    if (this.#go) {
      if (this.#goBytes < GO_MAX_BYTES) this.#keep(Buffer.from(piece));
    } else {
      this.#findGo(edge, piece);
    }
    this.#findNode(edge);
    this.#findNode(piece);
    const tail = piece.length < EDGE_BYTES ? edge : piece;
    this.#rest = Buffer.from(tail.subarray(Math.max(0, tail.length - EDGE_BYTES)));
  }

  /** To be called once. */
  facts(): BinaryFacts | undefined {
    if (this.#node !== undefined) return { kind: "node", version: this.#node, sha512: this.#hash.digest("hex") };
    const go = this.#go ? readGo(Buffer.concat(this.#go)) : undefined;
    return go && { kind: "go", ...go, sha512: this.#hash.digest("hex") };
  }

  /** The mark is also in programs that look for it; the real one is aligned and has a header. */
  #findGo(edge: Buffer, piece: Buffer): void {
    const before = edge.indexOf(GO);
    if (before >= 0 && before < this.#rest.length) {
      this.#keep(Buffer.concat([edge.subarray(before, this.#rest.length), piece]));
      return;
    }
    const at = piece.indexOf(GO);
    if (at >= 0) this.#keep(Buffer.from(piece.subarray(at)));
  }

  #keep(bytes: Buffer): void {
    this.#go ??= [];
    this.#go.push(bytes);
    this.#goBytes += bytes.length;
  }

  #findNode(window: Buffer): void {
    for (let at = window.indexOf(NODE); at >= 0 && this.#node === undefined; at = window.indexOf(NODE, at + 1)) {
      const start = at + NODE.length;
      const text = window.toString("latin1", start, start + NODE_TAIL_MAX_BYTES);
      const end = text.indexOf(".tar.gz");
      this.#node = end < 0 ? undefined : NODE_TAIL.exec(text.slice(0, end + ".tar.gz".length))?.[1];
    }
  }
}

function readGo(bytes: Buffer): Pick<GoFacts, "toolchain" | "modules"> | undefined {
  if (bytes.length < GO_HEADER_BYTES) return undefined;
  const [pointerBytes = 0, flags = 0] = bytes.subarray(GO.length, GO.length + 2);
  if ((flags & GO_INLINE) === 0) {
    // Before Go 1.18 the header holds pointers of four or eight bytes.
    return pointerBytes === 4 || pointerBytes === 8 ? { toolchain: undefined, modules: "" } : undefined;
  }
  const version = readString(bytes, GO_HEADER_BYTES);
  if (!version || !/^(?:go\d|devel )[ -~]{0,127}$/.test(version.text)) return undefined;
  const framed = readString(bytes, version.end);
  if (!framed) return { toolchain: undefined, modules: "" };
  const isFramed = framed.bytes.length >= 2 * FRAME_BYTES + 1 && framed.bytes.at(-FRAME_BYTES - 1) === 0x0a;
  const modules = isFramed ? framed.bytes.subarray(FRAME_BYTES, -FRAME_BYTES).toString("utf8") : "";
  return { toolchain: version.text, modules };
}

/** A varint of the length, then the bytes. */
function readString(
  bytes: Buffer,
  start: number,
): { readonly text: string; readonly bytes: Buffer; readonly end: number } | undefined {
  let length = 0;
  let at = start;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at];
    if (byte === undefined || shift > 28) return undefined;
    at += 1;
    length += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
  }
  if (at + length > bytes.length) return undefined;
  const content = bytes.subarray(at, at + length);
  return { text: content.toString("utf8"), bytes: content, end: at + length };
}
