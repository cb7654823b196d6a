/**
 * Further mutants of the small signed bundle (mutants.ts): not random slips but the tricks by which archives,
 * JSON and media types are made to mean two things, cost too much, or act on whoever shows them.
 */
import { gzipSync, zstdCompressSync } from "node:zlib";
import { BLOCK_BYTES } from "../../bundles/layout/tar-format.ts";
import type { Dice } from "./mutants.ts";

/** What a terminal, a browser, a spreadsheet or a viewer could take for more than text. */
export const ACTING_TEXTS = [
  "\u001b]0;owned\u0007",
  "\u001b[2J\u001b[1;1Hverified",
  "\u202egnp.exe",
  "\u2066\u2069\u200b",
  "<script>alert(1)</script>",
  '"><img src=x onerror=alert(1)>',
  "=cmd|' /C calc'!A0",
  "[a](https://evil.invalid) {0}",
  "a\nALLOWED  demo 1.0.0\n",
  "\u0000\u0008\u007f\u0085",
  "__proto__",
  "../../../../etc/passwd",
  "\ud800",
] as const;

const TYPE_FLAGS = [..."1234567gxLKSVA\0"];
const NAMES = [
  "../escape",
  "/etc/cron.d/x",
  "blobs/sha256/../../x",
  "./index.json",
  "index.json/",
  "INDEX.JSON",
  "index.json\0hidden",
  "blobs\\sha256\\x",
  "oci-layout",
  "",
  "\u001b[31mred",
] as const;
const SIZES = [
  "77777777777\0",
  "-0000000001\0",
  "           \0",
  "0000000000x\0",
  "\u0080\0\0\0\0\0\0\0\xff\xff\xff\xff",
] as const;

/** A header block with its checksum made right again, so that only the trick is left to find. */
function sealed(block: Buffer): Buffer {
  block.fill(" ", 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function isHeader(block: Buffer): boolean {
  return block.toString("latin1", 257, 262) === "ustar";
}

/** A header that says another type, name or size; or a PAX or GNU header before it that says so for it. */
export function withTarTrick(tar: Buffer, dice: Dice): { readonly what: string; readonly tar: Buffer } {
  const starts = Array.from({ length: tar.length / BLOCK_BYTES }, (_, i) => i * BLOCK_BYTES).filter((at) =>
    isHeader(tar.subarray(at, at + BLOCK_BYTES)),
  );
  const at = dice.pick(starts);
  const header = Buffer.from(tar.subarray(at, at + BLOCK_BYTES));
  const around = (middle: Buffer): Buffer =>
    Buffer.concat([tar.subarray(0, at), middle, tar.subarray(at + BLOCK_BYTES)]);
  switch (dice.below(5)) {
    case 0: {
      const flag = dice.pick(TYPE_FLAGS);
      header.write(flag, 156, "latin1");
      if (dice.below(2) === 0) header.write(dice.pick(NAMES), 157, 100, "latin1");
      return { what: `type ${JSON.stringify(flag)} at ${at}`, tar: around(sealed(header)) };
    }
    case 1: {
      const name = dice.pick(NAMES);
      header.fill(0, 0, 100);
      header.write(name, 0, 100, "utf8");
      return { what: `name ${JSON.stringify(name)} at ${at}`, tar: around(sealed(header)) };
    }
    case 2: {
      const size = dice.pick(SIZES);
      header.write(size, 124, 12, "latin1");
      return { what: `size ${JSON.stringify(size)} at ${at}`, tar: around(sealed(header)) };
    }
    case 3: {
      const record = dice.pick(["path=index.json", "size=0", "linkpath=/etc/passwd", "GNU.sparse.size=9", "path=../x"]);
      const length = record.length + 2 + String(record.length + 2).length;
      const body = Buffer.alloc(BLOCK_BYTES);
      body.write(`${length} ${record}\n`);
      const pax = Buffer.from(header);
      pax.write("PaxHeader/x\0", 0, 100, "latin1");
      pax.write(`${length.toString(8).padStart(11, "0")}\0`, 124, "latin1");
      pax.write(dice.pick(["x", "g"]), 156, "latin1");
      return { what: `PAX ${record} before ${at}`, tar: around(Buffer.concat([sealed(pax), body, header])) };
    }
    default: {
      const long = Buffer.from(header);
      long.write("././@LongLink\0", 0, 100, "latin1");
      long.write("00000000006\0", 124, "latin1");
      long.write(dice.pick(["L", "K"]), 156, "latin1");
      const body = Buffer.alloc(BLOCK_BYTES);
      body.write("../x\0");
      return { what: `GNU long name before ${at}`, tar: around(Buffer.concat([sealed(long), body, header])) };
    }
  }
}

const MEGA = 1024 * 1024;
/** Made once: what is small on the medium and large in memory, or takes long to read. */
const bombs: Readonly<Record<string, () => Buffer>> = {
  "gzip bomb": () => gzipSync(Buffer.alloc(64 * MEGA), { level: 9 }),
  "zstd bomb": () => zstdCompressSync(Buffer.alloc(64 * MEGA)),
  "deep arrays": () => Buffer.from("[".repeat(200_000) + "]".repeat(200_000)),
  "deep objects": () => Buffer.from(`${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`),
  "many members": () => Buffer.from(`{${Array.from({ length: 200_000 }, (_, i) => `"k${i}":0`).join()}}`),
  "many elements": () => Buffer.from(`{"manifests":[${"{},".repeat(500_000)}{}]}`),
  "long string": () => Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: "x".repeat(3 * MEGA) })),
  "long number": () => Buffer.from(`{"size":${"9".repeat(1_000_000)}}`),
  "broken UTF-8": () => Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]),
  "a byte order mark": () => Buffer.from("\ufeff{}"),
};
const made = new Map<string, Buffer>();

export function bomb(dice: Dice): { readonly what: string; readonly bytes: Buffer } {
  const what = dice.pick(Object.keys(bombs));
  const bytes = made.get(what) ?? bombs[what]?.() ?? Buffer.alloc(0);
  made.set(what, bytes);
  return { what, bytes };
}

const MEDIA_TYPES = [
  "application/vnd.docker.distribution.manifest.v1+prettyjws",
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
  "application/vnd.oci.image.layer.v1.tar+gzip",
  "application/vnd.dev.sigstore.bundle+json;version=0.1",
  "application/vnd.dev.cosign.simplesigning.v1+json",
  "application/vnd.sealift.release.v0+json",
  "application/vnd.oci.empty.v1+json",
  "text/plain",
  "",
] as const;

/** Each string of a JSON document, with a way to set it. */
function stringsOf(root: unknown): { readonly holder: Record<string, unknown>; readonly key: string }[] {
  if (typeof root !== "object" || root === null) return [];
  const holder = root as Record<string, unknown>;
  return Object.entries(holder).flatMap(([key, value]) =>
    typeof value === "string" ? [{ holder, key }] : stringsOf(value),
  );
}

/** A type in a document, exchanged for another that some reader would take too. */
export function withOtherType(bytes: Buffer, dice: Dice): { readonly what: string; readonly bytes: Buffer } {
  const root = JSON.parse(bytes.toString("utf8")) as unknown;
  const types = stringsOf(root).filter(({ key }) => /type$/i.test(key));
  if (types.length === 0) return withActingText(bytes, dice);
  const { holder, key } = dice.pick(types);
  const before = holder[key];
  holder[key] = dice.pick(MEDIA_TYPES.filter((type) => type !== before));
  return { what: `${key} ${before} is ${holder[key]}`, bytes: Buffer.from(JSON.stringify(root)) };
}

/** A string in a document that acts on whoever shows it. */
export function withActingText(bytes: Buffer, dice: Dice): { readonly what: string; readonly bytes: Buffer } {
  const root = JSON.parse(bytes.toString("utf8")) as unknown;
  const strings = stringsOf(root);
  const text = dice.pick(ACTING_TEXTS);
  if (strings.length === 0) return { what: "instead of all", bytes: Buffer.from(JSON.stringify({ [text]: text })) };
  const { holder, key } = dice.pick(strings);
  if (dice.below(3) === 0) holder[text] = text;
  else holder[key] = dice.below(2) === 0 ? text : `${String(holder[key])}${text}`;
  return { what: `${key}: ${JSON.stringify(text)}`, bytes: Buffer.from(JSON.stringify(root)) };
}
