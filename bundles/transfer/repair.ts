/**
 * Says which media parts are damaged or missing, and makes them again. Damage is found and made good by the
 * block (split-plan.ts), so a scratch costs a block and not a part. What is made has its name only when its
 * hash is right.
 */
import { closeSync } from "node:fs";
import { dirname, join } from "node:path";
import { layoutError } from "../layout/error.ts";
import {
  type FoundFile,
  findParts,
  hashOf,
  type Listed,
  listName,
  openPart,
  type PartsFound,
  partName,
  readLists,
} from "../layout/parts.ts";
import { readAt } from "../layout/read-at.ts";
import { blockConstants, power, product } from "./gf16.ts";
import { type Block, multiplyBlocks } from "./multiply.ts";
import { inSetOrder } from "./par2-packet.ts";
import { readParity } from "./par2-reader.ts";
import { chunksOf, hashOfOpen, type WantedParity, writeParityFiles, writerOf } from "./parity-files.ts";
import { PartHasher } from "./part-hashes.ts";
import { hostPartsDisk, PartialFile, type PartsDisk, requireRoom } from "./parts-disk.ts";
import { dataBlocks, writeList } from "./split.ts";
import { blockBytesOf } from "./split-plan.ts";
import {
  damagedError,
  type PartState,
  parityFiles,
  readPart,
  type Survey,
  survey,
  unrepairable,
  type Wrong,
} from "./survey.ts";

const CHUNK_BYTES = 1024 * 1024;

export interface RepairOptions {
  /** A directory with parts, or one of them. */
  readonly path: string;
  /** Where new files go; undefined: in the place of the damaged ones, beside the others. */
  readonly out?: string | undefined;
  /** Look and say, write nothing. */
  readonly checkOnly: boolean;
  readonly onProgress: (what: "read" | "made", doneBytes: number, totalBytes: number) => void;
  readonly disk?: PartsDisk;
}

/** What was wrong, and is right now. */
export interface RepairResult extends Wrong {
  readonly name: string;
  /** Paths of what was written. */
  readonly written: readonly string[];
}

/**
 * Reads everything once, and makes again what is damaged or missing: parts, parity files that a list names, and
 * the list.
 * @throws PARTS_DAMAGED for `checkOnly`, if it could be repaired | PARTS_UNREPAIRABLE, which names every part |
 * PARTS_MISSING if there are none | PARTS_MIXED | PARTS_DUPLICATE | PARTS_DISK_FULL | PARTS_WRITE_FAILED
 */
export function repairParts(options: RepairOptions): RepairResult {
  const found = findParts(options.path);
  if (!found) {
    throw layoutError("PARTS_MISSING", `${JSON.stringify(options.path)}: there are no media parts in it`);
  }
  const parity = readParity(found);
  if (!parity) return withoutParity(found, options);
  const states: PartState[] = [];
  try {
    const total = parity.set.files.reduce((sum, { size }) => sum + size, 0);
    for (const file of parity.set.files) {
      const before = states.reduce((sum, state) => sum + state.file.size, 0);
      const onBytes = (bytes: number): void => options.onProgress("read", before + bytes, total);
      states.push(readPart(file, partCalled(found, file.name), parity.set.blockBytes, onBytes));
    }
    return makeWhole(survey(found, parity, states, options.path), options);
  } finally {
    parity.close();
    for (const { fd } of states) if (fd !== undefined) closeSync(fd);
  }
}

function partCalled({ parts }: PartsFound, name: string): FoundFile | undefined {
  return [...parts.values()].find((part) => part.name.toLowerCase() === name.toLowerCase());
}

/** No parity file describes the set: all that can be said is what the list says, and of whole parts parity can be made. */
function withoutParity(found: PartsFound, options: RepairOptions): RepairResult {
  const { path, checkOnly, disk = hostPartsDisk } = options;
  const hashes = readLists(found);
  const names = Array.from({ length: found.count }, (_, i) => partName(found.name, i + 1, found.count));
  const parity = parityFiles(found, hashes);
  const parts = [...found.parts.values()];
  const isDamaged = (file: FoundFile): boolean => hashOf(file.path) !== hashes.get(file.name.toLowerCase())?.sha256;
  const unlisted = parts.filter(({ name }) => !hashes.has(name.toLowerCase())).map(({ name }) => name);
  const lostParts = names.filter((_, i) => !found.parts.has(i + 1));
  const badParts = parts.filter((file) => !unlisted.includes(file.name) && isDamaged(file)).map(({ name }) => name);
  const isHere = ({ name }: { readonly name: string }): boolean => found.parity.some((file) => file.name === name);
  const wrong = {
    missing: [...lostParts, ...parity.filter((file) => !isHere(file)).map(({ name }) => name)],
    damaged: [...badParts, ...parity.filter(isHere).map(({ name }) => name)],
  };
  if (lostParts.length + badParts.length + unlisted.length > 0) {
    const why = unlisted.length > 0 ? `no list and no parity says what ${unlisted.join(", ")} should be` : NO_PARITY;
    throw unrepairable(path, wrong, `; ${why}`);
  }
  const result = { name: found.name, ...wrong };
  if (parity.length === 0) return { ...result, written: [] };
  if (checkOnly) throw damagedError(path, wrong);
  const wanted = parity.map((file) => ({
    ...file,
    path: placeOf(
      file.name,
      found.parity.find(({ name }) => name === file.name),
      found,
      options,
    ),
  }));
  parityOfParts(found, hashes, wanted, { disk, onBytes: () => {} });
  return { ...result, written: wanted.map((file) => file.path) };
}

const NO_PARITY = "no parity file is here, or whole enough";

/** As `splitBundle` made it: of parts that are cut into as many blocks as it cuts them. */
function parityOfParts(
  { parts }: PartsFound,
  hashes: ReadonlyMap<string, Listed>,
  wanted: readonly WantedParity[],
  options: Parameters<typeof writeParityFiles>[3],
): void {
  const opened: { readonly name: string; readonly fd: number; readonly size: number }[] = [];
  try {
    for (const { name, path } of parts.values()) {
      // A medium may have changed its case, and it is in the parity file.
      opened.push({ name: hashes.get(name.toLowerCase())?.name ?? name, ...openPart(path) });
    }
    const blockBytes = blockBytesOf(Math.max(...opened.map(({ size }) => size)));
    const files = inSetOrder(
      opened.map(({ name, fd, size }) => {
        const hasher = new PartHasher(blockBytes);
        for (const chunk of chunksOf(fd, 0, size)) hasher.update(chunk);
        return hasher.end(name).file;
      }),
    );
    const byName = new Map(opened.map(({ name, fd }) => [name, fd]));
    const set = { blockBytes, files };
    const data = dataBlocks(
      set,
      files.map(({ name }) => byName.get(name) as number),
    );
    writeParityFiles(set, data, wanted, options);
  } finally {
    for (const { fd } of opened) closeSync(fd);
  }
}

function makeWhole(found: Survey, options: RepairOptions): RepairResult {
  const { missing, damaged } = found;
  const result = { name: found.found.name, missing, damaged };
  if (missing.length + damaged.length === 0) return { ...result, written: [] };
  if (options.checkOnly) throw damagedError(options.path, found);
  const { disk = hostPartsDisk } = options;
  const parts = makeParts(found, options, disk);
  try {
    const parity = makeLostParity(found, parts, options, disk);
    const list = found.isListWhole && found.found.lists.length > 0 && parity.every(({ isListed }) => isListed);
    const written = [...parts.made.map(({ path }) => path), ...parity.map(({ path }) => path)];
    return { ...result, written: list ? written : [...written, makeList(found, parts, parity, options, disk)] };
  } finally {
    for (const fd of parts.opened) closeSync(fd);
  }
}

interface MadeParts {
  readonly made: readonly { readonly path: string }[];
  /** Of every part in the order of the set: its whole file, and its hash. */
  readonly whole: readonly { readonly fd: number; readonly sha256: string }[];
  readonly opened: readonly number[];
}

/** Where a file goes: in the place of a damaged one, or beside the others. */
function placeOf(
  name: string,
  here: FoundFile | undefined,
  { parts, parity }: PartsFound,
  { out }: RepairOptions,
): string {
  if (out !== undefined) return join(out, name);
  const [neighbour] = [...parts.values(), ...parity];
  return here?.path ?? join(dirname((neighbour as FoundFile).path), name);
}

function makeParts(found: Survey, options: RepairOptions, disk: PartsDisk): MadeParts {
  const { states, parity } = found;
  const wrong = states.filter(({ sha256 }) => sha256 === undefined);
  const files = new Map<PartState, PartialFile>();
  const opened: number[] = [];
  try {
    const places = wrong.map((state) => placeOf(state.file.name, state.found, found.found, options));
    const [place] = places;
    if (place !== undefined)
      requireRoom(
        dirname(place),
        wrong.reduce((sum, { file }) => sum + file.size, 0),
      );
    for (const [i, state] of wrong.entries()) files.set(state, new PartialFile(disk, places[i] as string));
    for (const [state, file] of files) copyWholeBlocks(state, file, parity.set.blockBytes);
    makeBlocks(found, files, options);
    for (const [{ file }, made] of files) {
      if (hashOfOpen(made.fd, "md5", 0, file.size).equals(file.md5)) continue;
      throw unrepairable(options.path, found, `; ${file.name} was made again with other bytes than it had`);
    }
    for (const [{ file }, made] of files) made.finish(file.size);
    const whole = states.map((state) => {
      const made = files.get(state);
      if (!made) return { fd: state.fd as number, sha256: state.sha256 as string };
      const { fd } = openPart(made.path);
      opened.push(fd);
      return { fd, sha256: hashOfOpen(fd, "sha256", 0, state.file.size).toString("hex") };
    });
    return { made: [...files.values()], whole, opened };
  } catch (cause) {
    for (const file of files.values()) file.discard();
    for (const fd of opened) closeSync(fd);
    throw cause;
  }
}

function copyWholeBlocks({ file, fd, isWhole }: PartState, to: PartialFile, blockBytes: number): void {
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, blockBytes));
  for (const [i, isRight] of isWhole.entries()) {
    if (!isRight || fd === undefined) continue;
    const end = Math.min(file.size, (i + 1) * blockBytes);
    for (let position = i * blockBytes; position < end; position += chunk.length) {
      const wanted = chunk.subarray(0, Math.min(chunk.length, end - position));
      readAt(fd, wanted, position);
      to.write(wanted, position);
    }
  }
}

/** Each lost block as the sum of recovery blocks and whole data blocks. */
function makeBlocks(
  { states, parity, lost, solution = [], exponents }: Survey,
  files: ReadonlyMap<PartState, PartialFile>,
  { onProgress }: RepairOptions,
): void {
  if (lost.length === 0) return;
  const isLost = new Set(lost);
  const fds = states.map((state) => files.get(state)?.fd ?? (state.fd as number));
  const blocks = dataBlocks(parity.set, fds);
  const used = exponents
    .map((exponent, i) => ({ exponent, i }))
    .filter(({ i }) => solution.some((row) => row[i] !== 0));
  const known = blocks.map((block, i) => ({ block, i })).filter(({ i }) => !isLost.has(i));
  const from = [
    ...used.map(({ exponent }) => parity.recovery.get(exponent) as Block),
    ...known.map(({ block }) => block),
  ];
  const constants = blockConstants(blocks.length);
  const factors = new Uint16Array(lost.length * from.length);
  for (const [row, combination] of solution.entries()) {
    for (const [column, { i }] of used.entries()) factors[row * from.length + column] = combination[i] as number;
    for (const [column, { i }] of known.entries()) {
      let factor = 0;
      for (const { exponent, i: at } of used) {
        factor ^= product(combination[at] as number, power(constants[i] as number, exponent));
      }
      factors[row * from.length + used.length + column] = factor;
    }
  }
  const total = from.length * parity.set.blockBytes;
  let done = 0;
  const onBytes = (bytes: number): void => {
    done += bytes;
    onProgress("made", done, total);
  };
  const to = lost.map((i) => blocks[i] as Block);
  multiplyBlocks({ blockBytes: parity.set.blockBytes, from, to, factors }, writerOf([...files.values()]), onBytes);
}

interface MadeParity {
  readonly name: string;
  readonly path: string;
  readonly sha256: string;
  readonly isListed: boolean;
}

function makeLostParity(found: Survey, { whole }: MadeParts, options: RepairOptions, disk: PartsDisk): MadeParity[] {
  const { lostParity, parity } = found;
  if (lostParity.length === 0) return [];
  const hashes = readLists(found.found);
  const wanted = lostParity.map(({ name, first, count }) => {
    const here = found.found.parity.find((file) => file.name === name);
    return { path: placeOf(name, here, found.found, options), first, count };
  });
  const data = dataBlocks(
    parity.set,
    whole.map(({ fd }) => fd),
  );
  const made = writeParityFiles(parity.set, data, wanted, { disk, onBytes: () => {} });
  return lostParity.map(({ name }, i) => ({
    name,
    path: (wanted[i] as { path: string }).path,
    sha256: made[i] as string,
    isListed: hashes.get(name.toLowerCase())?.sha256 === made[i],
  }));
}

/** A list of all that is whole now. */
function makeList(
  found: Survey,
  { whole }: MadeParts,
  made: readonly MadeParity[],
  options: RepairOptions,
  disk: PartsDisk,
): string {
  const name = listName(found.found.name);
  const path = placeOf(name, found.found.lists[0], found.found, options);
  const others = found.found.parity.filter((file) => !made.some((one) => one.name === file.name));
  const files = [
    ...found.states.map(({ file }, i) => ({ name: file.name, sha256: (whole[i] as { sha256: string }).sha256 })),
    ...made.map(({ name: parity, sha256 }) => ({ name: parity, sha256 })),
    ...others.map((file) => ({ name: file.name, sha256: hashOf(file.path) ?? "" })),
  ];
  writeList(
    disk,
    path,
    files.sort((a, b) => (a.name < b.name ? -1 : 1)),
  );
  return path;
}
