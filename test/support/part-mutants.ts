/**
 * Seeded mutants of the small signed bundle in media parts, with two parity files and a list: by accidents, which
 * parity may make good, and by an attacker who has everything but a signing key, and so makes parts, parity and list
 * that agree with each other.
 */
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { partName } from "../../bundles/layout/parts.ts";
import type { TarBytes } from "../../bundles/layout/tar-bytes.ts";
import { md5, type PacketType, setId } from "../../bundles/transfer/par2-packet.ts";
import { hostPartsDisk } from "../../bundles/transfer/parts-disk.ts";
import { splitBundle } from "../../bundles/transfer/split.ts";
import { type DirectoryMutant, type Lain, layEntries } from "./directory-mutants.ts";
import { Dice, makeMutant, otherGoodBundles, unmutated } from "./mutants.ts";
import { MAGIC, packetOf, packetsIn, recoveryOf } from "./par2-packets.ts";

export interface PartMutant {
  readonly kind: string;
  /** What was done, for the message of a failed test. */
  readonly what: string;
  readonly entries: DirectoryMutant;
  /**
   * `accepted`: no part was touched, so the bundle is as good as it was. `repairable`: what is lost is less than
   * parity, so repair must make it whole. `open`: nothing but that the content is the original if it is accepted.
   */
  readonly expected: "accepted" | "repairable" | "open";
  /** Parity and list agree with each other on other bytes: repair believes them, and only `verify` finds out. */
  readonly maySpoil?: true;
}

type Files = Map<string, Lain>;
type Made = Omit<PartMutant, "kind" | "entries"> & { readonly files: Files };

const NAME = "test-1.0.0-12345678";
/** Four parts, also where signatures are a few bytes longer or shorter. */
const PART_MAX_BYTES = 26_000;
const SETTINGS = { name: NAME, parity: 2, onProgress: (): void => {} };
/** What is made here lives for a moment, and need not be on stable storage. */
export const hastyDisk = { ...hostPartsDisk, sync: (): void => {} };

const bytesOf = (tar: Buffer): TarBytes => ({
  size: tar.length,
  *chunks() {
    yield tar;
  },
});

/** Everything that `bundle split` makes of `tar`, by name. */
function split(tar: Buffer): Map<string, Buffer> {
  const out = mkdtempSync(join(tmpdir(), "sealift-split-"));
  try {
    const sizeBytes = Math.max(PART_MAX_BYTES, Math.ceil(tar.length / 3));
    splitBundle({ ...SETTINGS, sizeBytes, bundle: bytesOf(tar), out, disk: hastyDisk });
    return new Map(readdirSync(out).map((name) => [name, readFileSync(join(out, name))]));
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

const good = split(unmutated().bytes);
const others = otherGoodBundles();
const [olderFiles, againFiles] = [split(others.older.bytes), split(others.signedAgain.bytes)];
const LIST = `${NAME}.sha256`;
const isPart = (name: string): boolean => name.includes(".part");
const isParity = (name: string): boolean => name.endsWith(".par2");
const parts = [...good.keys()].filter(isPart).sort();
const parityNames = [...good.keys()].filter(isParity).sort();
const data = [...parts, ...parityNames];
if (parts.length !== 4) throw new RangeError(`got ${parts.length} parts, want 4`);

const bytes = (name: string): Buffer => good.get(name) as Buffer;
const changed = (...changes: readonly (readonly [string, Lain | undefined])[]): Files => {
  const files: Files = new Map(good);
  for (const [name, lain] of changes) {
    if (lain === undefined) files.delete(name);
    else files.set(name, lain);
  }
  return files;
};

/** What it takes to make a mutant of one file: less than parity, if that file is a part. */
const ofOne = (name: string, what: string, lain: Lain | undefined): Made => ({
  what: `${name}: ${what}`,
  files: changed([name, lain]),
  expected: isPart(name) ? "repairable" : "accepted",
});

function somewhere(content: Buffer, dice: Dice): number {
  const { length } = content;
  return dice.pick([0, 1, Math.floor(length / 2), length - 1, dice.below(length)]);
}

function flippedAt(content: Buffer, at: number, dice: Dice): Buffer {
  const copy = Buffer.from(content);
  copy[at] = (copy[at] as number) ^ (1 << dice.below(8));
  return copy;
}

/** Accidents to the bytes of one file. */
function hurt(content: Buffer, dice: Dice): { readonly what: string; readonly bytes: Buffer } {
  const at = somewhere(content, dice);
  const length = dice.pick([1, 4, 512, 4096]);
  switch (dice.below(5)) {
    case 0:
      return { what: `bit of byte ${at}`, bytes: flippedAt(content, at, dice) };
    case 1:
      return { what: `cut at ${at}`, bytes: content.subarray(0, at) };
    case 2: {
      const zeroed = Buffer.from(content);
      zeroed.fill(0xff, at, Math.min(content.length, at + length));
      return { what: `${length} bytes of 0xff at ${at}`, bytes: zeroed };
    }
    case 3:
      return {
        what: `${length} bytes put in at ${at}`,
        bytes: Buffer.concat([content.subarray(0, at), Buffer.alloc(length, 9), content.subarray(at)]),
      };
    default:
      return {
        what: `${length} bytes taken out at ${at}`,
        bytes: Buffer.concat([content.subarray(0, at), content.subarray(at + length)]),
      };
  }
}

/** Members of packets, by where they lie in one. */
const FIELDS: Readonly<Record<string, readonly [from: number, to: number]>> = {
  magic: [0, 8],
  length: [8, 16],
  hash: [16, 32],
  "set id": [32, 48],
  type: [48, 64],
  body: [64, 96],
};

/** Packets that are whole and lie about the good set. */
function lyingPacket(dice: Dice): { readonly what: string; readonly packet: Buffer } {
  const file = bytes(parityNames[0] as string);
  const found = dice.pick(packetsIn(file).filter(({ type }) => type !== "creator"));
  const set = Buffer.from(file.subarray(found.at + 32, found.at + 48));
  const body = Buffer.from(file.subarray(found.at + 64, found.at + found.length));
  const numbers = [0n, 1n, 3n, 4n, 2n ** 16n, 2n ** 32n - 1n, 2n ** 50n, 2n ** 53n, 2n ** 64n - 1n];
  const number = dice.pick(numbers);
  const own = (type: PacketType, changedBody: Buffer, id: Buffer = set): Buffer =>
    packetOf({ type, set: id, body: changedBody });
  switch (found.type) {
    case "main": {
      const how = dice.below(3);
      if (how === 0) body.writeBigUInt64LE(number, 0);
      if (how === 1) body.writeUInt32LE(Number(number & 0xffff_ffffn), 8);
      const longer = how === 2 ? Buffer.concat([body, Buffer.alloc(16 * dice.pick([1, 1000, 60_000]), 1)]) : body;
      if (how === 2) longer.writeUInt32LE((longer.length - 12) / 16, 8);
      // The id of a set is the hash of this packet's body: it is another set, which says so of itself.
      return {
        what: `main packet ${how} with ${number}`,
        packet: own("main", longer, dice.below(2) === 0 ? set : md5(longer)),
      };
    }
    case "file": {
      if (dice.below(2) === 0) {
        body.writeBigUInt64LE(number, 48);
        return { what: `size ${number} of a part`, packet: own("file", body) };
      }
      const called = dice.pick(HOSTILE_NAMES);
      const padded = Buffer.alloc(Math.ceil(called.length / 4) * 4);
      padded.write(called, "latin1");
      return {
        what: `part called ${JSON.stringify(called)}`,
        packet: own("file", Buffer.concat([body.subarray(0, 56), padded])),
      };
    }
    case "blocks": {
      const count = dice.pick([0, 1, 16, 40_000]);
      const sums =
        dice.below(2) === 0
          ? flippedAt(body, 16 + dice.below(body.length - 16), dice)
          : Buffer.concat([body.subarray(0, 16), Buffer.alloc(20 * count, 7)]);
      return { what: `sums of ${count} blocks`, packet: own("blocks", sums) };
    }
    default: {
      const exponent = dice.pick([0, 15, 31, 65_534, 65_535, 2 ** 32 - 1]);
      const block = dice.pick([body.subarray(4), Buffer.alloc(0), Buffer.alloc(4), Buffer.alloc(body.length - 4, 3)]);
      return {
        what: `block of ${block.length} bytes for exponent ${exponent}`,
        packet: recoveryOf(set, exponent, block),
      };
    }
  }
}

const HOSTILE_NAMES = [
  ...[
    "../../escaped.part01-of-01",
    "/tmp/escaped.part01-of-01",
    "..",
    ".",
    "",
    "a/b.part01-of-04",
    `${NAME}.part00-of-04`,
  ],
  ...["\u001b[2J.part01-of-04", `a\nALLOWED`, "<script>alert(1)</script>", `${NAME}.part99-of-04`, "x".repeat(5000)],
  ...[`${NAME}.part01-of-04\0.sh`, `${NAME.toUpperCase()}.PART01-OF-04`, "__proto__", "-rf"],
];

/** Names of which none is a part, parity or list of this bundle. */
const FOREIGN = [
  ...["readme.txt", ".hidden", "\u001b[2J", "a\nALLOWED", "\u202egnp", "-rf", "x".repeat(255), "lost+found/x"],
  ...[`${NAME}.part01-of-0`, `${NAME}.part1000-of-1000`, `${NAME}.part01-of-04.partial`, `${NAME}.par2`, `${NAME}.tar`],
  ...[`a/b/${partName(NAME, 1, 4)}`, "<script>.sha256", "__proto__/x", "constructor"],
];

const listLine = (name: string, dice: Dice): string => {
  const hash = dice.pick(["0".repeat(64), "f".repeat(64), "", "A".repeat(64), "0".repeat(63)]);
  return `${hash}${dice.pick(["  ", " *", " ", ""])}${name}`;
};

function lyingList(dice: Dice): { readonly what: string; readonly list: Buffer } {
  const lines = bytes(LIST).toString("latin1").trimEnd().split("\n");
  const at = dice.below(lines.length);
  switch (dice.below(6)) {
    case 0:
      lines.splice(at, 1);
      return { what: `without line ${at}`, list: Buffer.from(lines.join("\n")) };
    case 1: {
      const line = lines[at] as string;
      lines[at] = `${line[0] === "0" ? "1" : "0"}${line.slice(1)}`;
      return { what: `another hash in line ${at}`, list: Buffer.from(lines.join("\n")) };
    }
    case 2: {
      const named = dice.pick([...HOSTILE_NAMES, ...FOREIGN]);
      lines.splice(at, 0, listLine(named, dice));
      return {
        what: `a line for ${JSON.stringify(named).slice(0, 60)}`,
        list: Buffer.from(lines.join("\n"), "latin1"),
      };
    }
    case 3: {
      const many = Array.from(
        { length: dice.pick([50, 30_000]) },
        (_, i) => `${"0".repeat(64)}  ${NAME}.vol${i % 100_000}+${dice.pick([1, 16, 99_999])}.par2`,
      );
      return { what: `${many.length} parity files`, list: Buffer.from([...lines, ...many].join("\n")) };
    }
    case 4: {
      const [line, other] = [lines[at] as string, dice.pick(lines)];
      lines[at] = `${other.slice(0, 64)}${line.slice(64)}`;
      return { what: `the hash of ${other.slice(66)} in line ${at}`, list: Buffer.from(lines.join("\n")) };
    }
    default:
      return dice.pick([
        { what: "CR LF", list: Buffer.from(lines.join("\r\n")) },
        { what: "empty", list: Buffer.alloc(0) },
        { what: "2 MiB of one line", list: Buffer.alloc(2 * 1024 * 1024, "0") },
        { what: "every line twice", list: Buffer.from([...lines, ...lines].join("\n")) },
      ]);
  }
}

/** Files of another split in the place of some; which they are decides `pick`. */
function withFilesOf(other: ReadonlyMap<string, Buffer>, pick: (name: string) => boolean): Files {
  // Another bundle may have more parts or fewer: then its own names come with it.
  return changed(
    ...data.filter(pick).map((name) => [name, other.get(name) ?? Buffer.from(bytes(name))] as const),
    ...[...other].filter(([name]) => pick(name)),
  );
}

const KINDS: Readonly<Record<string, (dice: Dice) => Made>> = {
  "a part truncated": (dice) => {
    const name = dice.pick(parts);
    const at = somewhere(bytes(name), dice);
    return ofOne(name, `cut at ${at}`, bytes(name).subarray(0, at));
  },
  "files missing": (dice) => {
    const gone = data.filter(() => dice.below(4) === 0);
    const list = dice.below(4) === 0 ? [LIST] : [];
    const lost = gone.length > 2 ? "open" : "repairable";
    return {
      what: [...gone, ...list].join(", ") || "none",
      files: changed(...[...gone, ...list].map((name) => [name, undefined] as const)),
      expected: gone.some(isPart) ? lost : "accepted",
    };
  },
  "a part twice": (dice) => {
    const [one, other] = [dice.pick(parts), dice.pick(parts)];
    const wide = one.replace(/part(\d+)-of-(\d+)/, "part0$1-of-0$2");
    const under = dice.pick([`disc/${one}`, one.toUpperCase(), wide, `disc/${one.toUpperCase()}`, other]);
    const made = { what: `${one} as ${under}`, files: changed([under, bytes(one)]) };
    if (under === one) return { ...made, expected: "accepted" };
    return { ...made, expected: under === other ? "repairable" : "open" };
  },
  "names exchanged": (dice) => {
    const [i, j] = [dice.below(data.length), dice.below(data.length)];
    const [one, other] = [data[i] as string, data[j] as string];
    const expected = isPart(one) || isPart(other) ? "repairable" : "accepted";
    return {
      what: `${one} and ${other}`,
      files: changed([one, bytes(other)], [other, bytes(one)]),
      expected: i === j ? "accepted" : expected,
    };
  },
  "parts in another order": (dice) => {
    const by = 1 + dice.below(parts.length - 1);
    const turned = parts.map((name, i) => [name, bytes(parts[(i + by) % parts.length] as string)] as const);
    return { what: `turned by ${by}`, files: changed(...turned), expected: "open" };
  },
  "a name that says something else": (dice) => {
    const name = dice.pick(parts);
    const numbers = dice.pick(["00", "01", "05", "99", "0", "1e1", "-1", "01x"]);
    const count = dice.pick(["00", "01", "04", "05", "999", "9999"]);
    const called = dice.pick([
      ...[
        name.replace(/part\d+/, `part${numbers}`),
        name.replace(/of-\d+/, `of-${count}`),
        `disc/${name}`,
        name.toUpperCase(),
      ],
      ...[name.replace(NAME, "other-1.0.0-12345678"), `a/b/${name}`, `${name} `, `${name}.bak`, `.${name}`],
    ]);
    const files = changed([name, undefined], [called, bytes(name)]);
    const isSame = called === name || called.toLowerCase() === name || called === `disc/${name}`;
    return { what: `${name} as ${JSON.stringify(called)}`, files, expected: isSame ? "accepted" : "open" };
  },
  "files of an older release": (dice) => {
    const taken = new Set(data.filter(() => dice.below(2) === 0));
    if (dice.below(3) === 0) taken.add(LIST);
    return {
      what: [...taken].join(", "),
      files: withFilesOf(olderFiles, (name) => taken.has(name)),
      expected: [...taken].some(isPart) ? "open" : "accepted",
    };
  },
  "files of the same release, signed otherwise": (dice) => {
    const taken = new Set([...good.keys()].filter(() => dice.below(2) === 0));
    return {
      what: [...taken].join(", "),
      files: withFilesOf(againFiles, (name) => taken.has(name)),
      expected: [...taken].some(isPart) ? "open" : "accepted",
    };
  },
  "bits of a part": (dice) => {
    const name = dice.pick(parts);
    const { what, bytes: content } = hurt(bytes(name), dice);
    return ofOne(name, what, content);
  },
  "bits of a parity packet": (dice) => {
    const name = dice.pick(parityNames);
    const { at, type, length } = dice.pick(packetsIn(bytes(name)));
    const [field, [from, to]] = dice.pick(Object.entries(FIELDS));
    const end = Math.min(to, length);
    const place = at + Math.min(from, end - 1) + dice.below(Math.max(1, end - from));
    return ofOne(name, `${field} of a ${type} packet`, flippedAt(bytes(name), place, dice));
  },
  "parity packets moved, doubled or dropped, and a part lost": (dice) => {
    const name = dice.pick(parityNames);
    const file = bytes(name);
    const packets = packetsIn(file).map(({ at, length }) => file.subarray(at, at + length));
    const [i, j] = [dice.below(packets.length), dice.below(packets.length)];
    const [one] = packets.slice(i, i + 1) as [Buffer];
    const how = dice.below(4);
    if (how !== 1) packets.splice(i, 1);
    if (how !== 2) packets.splice(j, 0, one);
    if (how === 3) packets.reverse();
    // The other parity file is whole, and as long as a part.
    const files = changed([name, Buffer.concat(packets)], [dice.pick(parts), undefined]);
    return {
      what: `${name}: ${["move", "double", "drop", "reverse"][how]} packet ${i}`,
      files,
      expected: "repairable",
    };
  },
  "parity that lies": (dice) => {
    const lies = Array.from({ length: 1 + dice.below(3) }, () => lyingPacket(dice));
    const [name, gone] = [dice.pick(parityNames), dice.below(2) === 0];
    const junk = Buffer.concat(lies.map(({ packet }) => packet));
    const content = dice.pick([Buffer.concat([junk, bytes(name)]), Buffer.concat([bytes(name), junk]), junk]);
    const other = dice.below(2) === 0 ? [[parityNames.find((one) => one !== name) as string, undefined] as const] : [];
    const files = changed([name, content], ...other, ...(gone ? [[dice.pick(parts), undefined] as const] : []));
    return { what: lies.map(({ what }) => what).join("; "), files, expected: gone ? "open" : "accepted" };
  },
  "parity that costs": (dice) => {
    const set = setId({ blockBytes: 4, files: [] });
    const count = 1000 * (1 + dice.below(30));
    const [what, content] = dice.pick<readonly [string, () => Buffer]>([
      ["beginnings of packets", () => Buffer.alloc(64 * count, MAGIC)],
      [
        "packets within packets",
        () =>
          Buffer.alloc(
            64 * count,
            packetOf({ type: "recovery", set, body: Buffer.alloc(0), length: BigInt(32 * count) }),
          ),
      ],
      ["one block again and again", () => Buffer.alloc(72 * count, recoveryOf(set, 0, Buffer.alloc(4)))],
      [
        "many sets",
        () =>
          Buffer.concat(
            Array.from({ length: count }, (_, i) =>
              packetOf({ type: "creator", set: md5(Buffer.from(String(i))), body: Buffer.alloc(0) }),
            ),
          ),
      ],
    ]);
    const name = dice.pick(parityNames);
    const files = changed([name, Buffer.concat([content(), bytes(name)])]);
    return { what: `${count} times ${what} in ${name}`, files, expected: "accepted" };
  },
  "parity and list of other bytes, which agree with each other": (dice) => {
    const other = split(changedTar(dice));
    const withList = dice.below(2) === 0;
    const files = withFilesOf(other, (name) => isParity(name) || (withList && name === LIST));
    const lost = dice.below(3);
    for (const name of parts.slice(0, lost)) files.delete(name);
    return {
      what: `${lost} parts lost${withList ? "" : ", with the good list"}`,
      files,
      expected: lost === 0 ? "accepted" : "open",
      ...(withList && { maySpoil: true }),
    };
  },
  "all of it made anew": (dice) => {
    const number = dice.below(2 ** 20);
    const mutant = makeMutant(number, number);
    const files = new Map<string, Lain>(
      split(mutant.directory || mutant.bytes.length === 0 ? changedTar(dice) : mutant.bytes),
    );
    return { what: `${mutant.kind}: ${mutant.what}`, files, expected: "open" };
  },
  "a list that lies": (dice) => {
    const { what, list } = lyingList(dice);
    const gone = dice.below(3) === 0 ? dice.pick(data) : undefined;
    const files = changed([LIST, list], ...(gone === undefined ? [] : [[gone, undefined] as const]));
    return {
      what: `${what}${gone === undefined ? "" : `, without ${gone}`}`,
      files,
      expected: gone !== undefined && isPart(gone) ? "open" : "accepted",
    };
  },
  "links, pipes and devices": (dice) => {
    const name = dice.pick([...data, LIST]);
    const lain = dice.pick<Lain>([{ linkTo: bytes(name) }, "pipe", "directory", "dangling link", "device"]);
    const what = typeof lain === "string" ? lain : "a link";
    // A directory in a part's place is for a person to take away.
    const inPlace = ofOne(name, what, lain);
    if (dice.below(3) > 0) return lain === "directory" && isPart(name) ? { ...inPlace, expected: "open" } : inPlace;
    // In the way of a repair.
    const files = changed([name, undefined], [`${name}.partial`, lain]);
    return { what: `${what} as ${name}.partial`, files, expected: isPart(name) ? "open" : "accepted" };
  },
  "foreign files beside them": (dice) => {
    const name = dice.pick(FOREIGN);
    const lain = dice.pick<Lain>([Buffer.alloc(0), bytes(dice.pick(data)), unmutated().bytes, "pipe", "dangling link"]);
    return { what: JSON.stringify(name), files: changed([name, lain]), expected: "open" };
  },
  "a layout in the same place": (dice) => {
    const bad = Buffer.from('{"imageLayoutVersion":"1.0.0"}');
    const files = changed(["oci-layout", bad], ["index.json", dice.pick([bad, Buffer.from("{}"), Buffer.alloc(0)])]);
    if (dice.below(2) === 0) files.set(`blobs/sha256/${"0".repeat(64)}`, bad);
    return { what: `${files.size} files`, files, expected: "open" };
  },
  "many parts": (dice) => {
    const count = dice.pick([12, 100, 999]);
    const size = Math.ceil(unmutated().bytes.length / count);
    const named = Array.from(
      { length: count },
      (_, i) => [partName(NAME, i + 1, count), unmutated().bytes.subarray(i * size, (i + 1) * size)] as const,
    );
    const gone = dice.below(3) === 0 ? dice.below(count) : undefined;
    const twice = dice.below(3) === 0 ? dice.below(count) : undefined;
    const files: Files = new Map(named);
    if (gone !== undefined) files.delete((named[gone] as (typeof named)[number])[0]);
    if (twice !== undefined) files.set((named[twice] as (typeof named)[number])[0], Buffer.alloc(size, 1));
    const isWhole = gone === undefined && twice === undefined;
    return {
      what: `${count}, without ${gone}, other bytes in ${twice}`,
      files,
      expected: isWhole ? "accepted" : "open",
    };
  },
  "damage everywhere": (dice) => {
    const files: Files = new Map(good);
    const hits = 2 + dice.below(6);
    for (let i = 0; i < hits; i += 1) {
      const name = dice.pick([...good.keys()]);
      const lain = files.get(name);
      if (Buffer.isBuffer(lain) && lain.length > 0) files.set(name, hurt(lain, dice).bytes);
    }
    return { what: `${hits} places`, files, expected: "open" };
  },
};

/** A tar of the same size with a bit of it turned: no signature holds over it. */
function changedTar(dice: Dice): Buffer {
  const { bytes: tar } = unmutated();
  return flippedAt(tar, dice.below(tar.length), dice);
}

/** The mutant `number` of `seed`. Some leave every byte of every part as it was: `expected` says so. */
export function makePartMutant(seed: number, number: number): PartMutant {
  const kinds = Object.entries(KINDS);
  const [kind, make] = kinds[number % kinds.length] as (typeof kinds)[number];
  const { files, ...made } = make(new Dice(Math.imul(seed, 0x9e3779b1) + number));
  return { kind, ...made, entries: [...files] };
}

/** Everything that was split, of the bundle of which mutants are made. */
export function unmutatedParts(): ReadonlyMap<string, Buffer> {
  return good;
}

/** SHA-256 of each tar that was signed, in hexadecimal, and the release in it. */
export function signedContents(): ReadonlyMap<string, string> {
  return contents;
}

const contents = new Map(
  [unmutated(), others.signedAgain, others.older].map(({ bytes: tar, digest }) => [
    createHash("sha256").update(tar).digest("hex"),
    digest,
  ]),
);

export const PART_KINDS: number = Object.keys(KINDS).length;

/** Lays `mutant` down at `path`, in place of what is there. */
export function layPartMutant(path: string, { entries }: PartMutant): void {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { recursive: true });
  layEntries(path, entries);
}
