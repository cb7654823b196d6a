/** What is wrong with media parts, found by reading all of them once, and whether parity can put it right. */
import { layoutError } from "../layout/error.ts";
import {
  type FoundFile,
  hashOf,
  type Listed,
  listName,
  openPart,
  type PartsFound,
  parityExponents,
  parityName,
  readLists,
} from "../layout/parts.ts";
import { readAt } from "../layout/read-at.ts";
import { transferError } from "./error.ts";
import { blockConstants, solve } from "./gf16.ts";
import type { DataFile } from "./par2-packet.ts";
import type { ParityFound } from "./par2-reader.ts";
import { PartHasher } from "./part-hashes.ts";
import { PARITY_MAX, recoveryBlocks } from "./split-plan.ts";

const CHUNK_BYTES = 1024 * 1024;
/** Blocks that are made again at most; `splitBundle` makes parity for half of that. */
const LOST_MAX = 512;
/** Of its square times all blocks, a multiplication each: what `splitBundle` makes needs half of that. */
const FACTORS_MAX = 2 ** 31;
/** Recovery blocks that are tried beyond those that are needed. */
const SPARE_MAX = 64;

/** What was found of one part. */
export interface PartState {
  readonly file: DataFile;
  readonly found: FoundFile | undefined;
  /** Undefined if it is missing or cannot be opened. */
  readonly fd: number | undefined;
  /** Of each block whether its bytes are the right ones. */
  readonly isWhole: readonly boolean[];
  /** Of a part whose every byte is right. */
  readonly sha256: string | undefined;
}

/** Names of files, sorted. */
export interface Wrong {
  readonly missing: readonly string[];
  readonly damaged: readonly string[];
}

function wrongText({ missing, damaged }: Wrong): string {
  const part = (what: string, names: readonly string[]): string[] =>
    names.length > 0 ? [`${what} ${names.join(", ")}`] : [];
  return [...part("missing", missing), ...part("damaged", damaged)].join("; ");
}

export function unrepairable(path: string, wrong: Wrong, why: string): Error {
  return transferError("PARTS_UNREPAIRABLE", `media parts in ${JSON.stringify(path)}: ${wrongText(wrong)}${why}`, {
    hints: ["bring another copy of one of these parts, or of a .par2 file, and run the same command again"],
  });
}

export function damagedError(path: string, wrong: Wrong): Error {
  return layoutError("PARTS_DAMAGED", `media parts in ${JSON.stringify(path)}: ${wrongText(wrong)}`, {
    hints: [`sealift bundle repair ${path} makes them again`],
  });
}

/**
 * Reads a part to where it should end; what the medium does not give counts as a damaged block. Reads no further than
 * it goes, whatever parity says of its size.
 */
export function readPart(
  file: DataFile,
  found: FoundFile | undefined,
  blockBytes: number,
  onBytes: (doneBytes: number) => void,
): PartState {
  const missing = { file, found, fd: undefined, isWhole: file.blocks.map(() => false), sha256: undefined };
  if (!found) return missing;
  let opened: ReturnType<typeof openPart>;
  try {
    opened = openPart(found.path);
  } catch {
    return missing;
  }
  const { fd, size } = opened;
  const hasher = new PartHasher(blockBytes);
  const unread = new Set<number>();
  const end = Math.min(file.size, size);
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end));
  for (let position = 0; position < end; ) {
    const wanted = chunk.subarray(0, Math.min(CHUNK_BYTES, end - position));
    if (!readsWhole(fd, wanted, position)) {
      wanted.fill(0);
      const last = Math.floor((position + wanted.length - 1) / blockBytes);
      for (let block = Math.floor(position / blockBytes); block <= last; block++) unread.add(block);
    }
    hasher.update(wanted);
    position += wanted.length;
    onBytes(position);
  }
  const got = hasher.end(file.name);
  const isThere = (block: number): boolean =>
    !unread.has(block) && Math.min(file.size, (block + 1) * blockBytes) <= end;
  const isWhole = file.blocks.map(({ md5 }, i) => isThere(i) && got.file.blocks[i]?.md5.equals(md5) === true);
  return { file, found, fd, isWhole, sha256: size === file.size && isWhole.every(Boolean) ? got.sha256 : undefined };
}

function readsWhole(fd: number, into: Buffer, position: number): boolean {
  try {
    return readAt(fd, into, position) === into.length;
  } catch {
    return false;
  }
}

/** What is wrong with the files, and what there is to put it right. */
export interface Survey extends Wrong {
  readonly found: PartsFound;
  readonly parity: ParityFound;
  readonly states: readonly PartState[];
  /** Numbers of lost blocks in the order of the set, and how they follow from recovery blocks. */
  readonly lost: readonly number[];
  readonly solution: readonly Uint16Array[] | undefined;
  readonly exponents: readonly number[];
  /** Parity files to be made again. */
  readonly lostParity: readonly { readonly name: string; readonly first: number; readonly count: number }[];
  readonly isListWhole: boolean;
}

/**
 * @throws PARTS_UNREPAIRABLE, which names `path` and every file that is missing or damaged | PARTS_MIXED if a part is
 * what the list says and not what parity says: whichever is right, it must not be written over
 */
export function survey(found: PartsFound, parity: ParityFound, states: readonly PartState[], path: string): Survey {
  const lost = states.flatMap(({ isWhole }) => isWhole).flatMap((isWhole, i) => (isWhole ? [] : [i]));
  const { exponents, solution } = solutionFor(lost, parity);
  const hashes = readLists(found);
  const lostParity = parityFiles(found, hashes).filter((file) => !isParityWhole(file, found, parity, hashes));
  const isListed = ({ file, sha256 }: PartState): boolean => {
    const listed = hashes.get(file.name.toLowerCase());
    return listed !== undefined && (sha256 === undefined || listed.sha256 === sha256);
  };
  const isParityListed = found.parity.every(({ name }) => hashes.has(name.toLowerCase()));
  const isListWhole = states.every(isListed) && isParityListed;
  const wrong = states.filter(({ sha256 }) => sha256 === undefined);
  requireOneWord(found, wrong, hashes);
  const isHere = ({ name }: { readonly name: string }): boolean => found.parity.some((file) => file.name === name);
  const missing = [
    ...wrong.filter((state) => !state.found).map(({ file }) => file.name),
    ...lostParity.filter((file) => !isHere(file)).map(({ name }) => name),
    ...(found.lists.length === 0 ? [listName(found.name)] : []),
  ].sort();
  const damaged = [
    ...wrong.flatMap((state) => (state.found ? [state.found.name] : [])),
    ...lostParity.filter(isHere).map(({ name }) => name),
    ...(found.lists.length > 0 && !isListWhole ? [listName(found.name)] : []),
  ].sort();
  if (!solution) {
    const why = `; ${lost.length} blocks of parts are lost, and ${parity.recovery.size} recovery blocks are whole`;
    throw unrepairable(path, { missing, damaged }, why);
  }
  return { found, parity, states, lost, solution, exponents, lostParity, isListWhole, missing, damaged };
}

function requireOneWord(found: PartsFound, wrong: readonly PartState[], hashes: ReadonlyMap<string, Listed>): void {
  const disputed = wrong.find(({ file, found: part }) => {
    const listed = hashes.get(file.name.toLowerCase());
    return part !== undefined && listed !== undefined && hashOf(part.path) === listed.sha256;
  });
  if (!disputed) return;
  throw layoutError(
    "PARTS_MIXED",
    `media parts of ${JSON.stringify(found.name)}: got parity files of another ${disputed.file.name} than ${listName(found.name)} and the part itself, want those of these parts`,
    { hints: ["take away the .par2 files that belong to something else"] },
  );
}

/** No solution either where there are too many: parity that asks for so much work was not made for this. */
function solutionFor(lost: readonly number[], { set, recovery }: ParityFound): Pick<Survey, "exponents" | "solution"> {
  const exponents = [...recovery.keys()].sort((a, b) => a - b).slice(0, lost.length + SPARE_MAX);
  const all = set.files.reduce((sum, { blocks }) => sum + blocks.length, 0);
  const isTooMuch = lost.length > Math.min(LOST_MAX, exponents.length) || lost.length ** 2 * all > FACTORS_MAX;
  if (isTooMuch) return { exponents, solution: undefined };
  const constants = blockConstants(all);
  const unknown = lost.map((i) => constants[i] as number);
  return { exponents, solution: solve(unknown, exponents) };
}

/** The parity files that the list names or that are here; of a damaged list only names that `splitBundle` gives. */
export function parityFiles(
  { name: set, parity }: PartsFound,
  hashes: ReadonlyMap<string, Listed>,
): Survey["lostParity"] {
  const names = new Map(parity.map(({ name }) => [name.toLowerCase(), name]));
  for (const [key, { name }] of hashes) if (!names.has(key)) names.set(key, name);
  return [...names.values()].sort().flatMap((name) => {
    const exponents = parityExponents(name);
    return exponents && isSplitName(set, name, exponents) ? [{ name, ...exponents }] : [];
  });
}

function isSplitName(
  set: string,
  name: string,
  { first, count }: { readonly first: number; readonly count: number },
): boolean {
  const isOwn = name.toLowerCase() === parityName(set, first, count).toLowerCase();
  return isOwn && first % count === 0 && [1, PARITY_MAX].map(recoveryBlocks).includes(count);
}

function isParityWhole(
  { name, first, count }: Survey["lostParity"][number],
  found: PartsFound,
  parity: ParityFound,
  hashes: ReadonlyMap<string, Listed>,
): boolean {
  const here = found.parity.find((file) => file.name === name);
  if (!here) return false;
  const wanted = hashes.get(name.toLowerCase())?.sha256;
  if (wanted !== undefined && hashOf(here.path) === wanted) return true;
  const there = parity.exponents.get(here.path);
  const hasAll = Array.from({ length: count }, (_, i) => there?.has(first + i)).every(Boolean);
  return wanted === undefined && hasAll;
}
