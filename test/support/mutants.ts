/**
 * Seeded mutants of a small signed bundle, by an attacker who has everything but a signing key: bytes and
 * blocks of the tar, members of its JSON with every digest above them computed again, signatures moved
 * from one subject to another, files added and taken away, another release's signatures, and the trust.
 *
 * The bundle holds no signature more than it needs, so taking one away must be noticed too. Its keys are
 * new in each run: a seed gives the same edits again, but not the same bytes.
 */

import { rmSync, writeFileSync } from "node:fs";
import { otherSpelling } from "../../bundles/layout/ecdsa-signature.ts";
import { blobName, INDEX_FILE, LAYOUT_FILE } from "../../bundles/layout/layout.ts";
import { type NewSignatureObject, renderSigstoreReferrer } from "../../bundles/layout/signature-object.ts";
import { BLOCK_BYTES } from "../../bundles/layout/tar-format.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { PREDICATE_COSIGN_SIGN } from "../../bundles/model/media-types.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { parseTrustMetadata } from "../../bundles/sign/trust-metadata.ts";
import type { Exhibit } from "./bad-bundles.ts";
import { type DirectoryMutant, layDirectory, makeDirectoryMutant } from "./directory-mutants.ts";
import { bomb, withActingText, withOtherType, withTarTrick } from "./hostile-mutants.ts";
import { makeSigner, makeSigners, type SignedBundle, signedBundle, signedFiles, smallTrust } from "./signed-bundle.ts";
import { renderTar, smallRelease } from "./small-bundle.ts";
import { type Files, imageDescriptor } from "./tamper.ts";

export interface Mutant extends Exhibit {
  readonly kind: string;
  /** Lies there in place of `bytes`. */
  readonly directory?: DirectoryMutant;
  /** What was done, for the message of a failed test. */
  readonly what: string;
}

/** From SEALIFT_SEED, else fixed, so that the gate is the same for everyone. */
export function mutantSeed(): number {
  const text = process.env["SEALIFT_SEED"] ?? "20261121";
  const seed = Number(text);
  if (!Number.isSafeInteger(seed)) throw new RangeError(`SEALIFT_SEED: got ${JSON.stringify(text)}, want an integer`);
  return seed;
}

/** Mulberry32: 32 bits of state, even enough for choosing. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** An integer of 0 … below - 1. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new RangeError("nothing to pick from");
    return items[this.below(items.length)] as T;
  }
}

const signers = makeSigners();
const base = minimal(signedBundle({ signers }));
/** Other images too: a signature over the same image and document would rightly count in both releases. */
const older = minimal(
  signedBundle({ small: smallRelease({ version: "0.9.0", created: "2025-01-01T00:00:00Z" }), signers }),
);
const baseFiles: Files = signedFiles(base);
const baseTar = renderTar(baseFiles);
const stranger = makeSigner("mallory");
const jsonFiles = baseFiles.filter(([name, bytes]) => name !== LAYOUT_FILE && bytes[0] === 0x7b && bytes.length > 2);
/** Of another root, and of the same signers with a root of an earlier year that has expired. */
const otherTrust = smallTrust(makeSigners());
const olderTrust = smallTrust(signers, { now: new Date("2021-01-01T00:00:00Z") });

/** With a Sigstore bundle for each demand and no cosign 2 form beside it. */
function minimal(bundle: SignedBundle): SignedBundle {
  return { ...bundle, objects: bundle.objects.filter(({ kind }) => kind === "sigstore-bundle") };
}

type Made = { readonly what: string } & (
  | { readonly tar: Buffer }
  | { readonly trustFiles: Map<string, Buffer> }
  | { readonly directory: DirectoryMutant }
);

const fromFiles = (what: string, files: Files): Made => ({ what, tar: renderTar(files) });
const fromObjects = (what: string, objects: NewSignatureObject[]): Made =>
  fromFiles(what, signedFiles({ small: base.small, objects }));

const KINDS: Readonly<Record<string, (dice: Dice) => Made>> = {
  "bit flips": (dice) => {
    const tar = Buffer.from(baseTar);
    const at = dice.below(tar.length);
    tar[at] = (tar[at] as number) ^ (1 << dice.below(8));
    return { what: `byte ${at}`, tar };
  },
  "bytes put in or taken out": (dice) => {
    const at = dice.below(baseTar.length);
    const count = dice.pick([1, 2, 511, BLOCK_BYTES, 1024]);
    const tail =
      dice.below(2) === 0
        ? [Buffer.alloc(count, dice.below(256)), baseTar.subarray(at)]
        : [baseTar.subarray(at + count)];
    return { what: `${count} bytes at ${at}`, tar: Buffer.concat([baseTar.subarray(0, at), ...tail]) };
  },
  "blocks swapped, doubled or zeroed": (dice) => {
    const blocks = Array.from({ length: baseTar.length / BLOCK_BYTES }, (_, i) =>
      baseTar.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES),
    );
    const [i, j] = [dice.below(blocks.length), dice.below(blocks.length)];
    const [one, other] = [blocks[i] as Buffer, blocks[j] as Buffer];
    const how = dice.below(3);
    if (how === 0) [blocks[i], blocks[j]] = [other, one];
    if (how === 1) blocks.splice(j, 0, one);
    if (how === 2) blocks[i] = Buffer.alloc(BLOCK_BYTES);
    return { what: `${["swap", "double", "zero"][how]} block ${i}, ${j}`, tar: Buffer.concat(blocks) };
  },
  truncations: (dice) => {
    const at =
      dice.below(2) === 0 ? dice.below(baseTar.length) : dice.below(baseTar.length / BLOCK_BYTES) * BLOCK_BYTES;
    return { what: `after byte ${at}`, tar: baseTar.subarray(0, at) };
  },
  "files moved, doubled, dropped or added": (dice) => {
    const files: Files = [...baseFiles];
    const [i, j] = [dice.below(files.length), dice.below(files.length)];
    const [file] = files.slice(i, i + 1) as Files;
    const how = dice.below(5);
    if (how !== 3) files.splice(i, 1);
    if (how === 1 || how === 3) files.splice(j, 0, file as Files[number]);
    if (how === 2) files.splice(j, 0, [blobName(digestOf(`stowaway ${j}`)), Buffer.from(`stowaway ${j}`)]);
    if (how === 4) files.splice(i, 0, [(file as Files[number])[0], Buffer.from(baseFiles[j]?.[1] ?? [])]);
    return fromFiles(`${["drop", "move", "replace", "double", "fill otherwise"][how]} ${file?.[0]}, ${j}`, files);
  },
  "JSON edited, digests computed again": (dice) => {
    const [name, bytes] = dice.pick(jsonFiles);
    const edit = editJson(bytes, dice);
    return fromFiles(`${name}: ${edit.what}`, name === INDEX_FILE ? withIndex(edit.bytes) : rehashed(name, edit.bytes));
  },
  "blobs changed, digests computed again": (dice) => {
    const [name, bytes] = dice.pick(baseFiles.slice(1, -1));
    const changed = Buffer.concat([bytes, Buffer.from([dice.below(256)])]);
    if (dice.below(2) === 0) changed[dice.below(bytes.length)] = dice.below(256);
    return fromFiles(`${name}`, rehashed(name, changed));
  },
  "signatures moved to another subject": (dice) => {
    const object = dice.pick(base.objects);
    const subjects = [
      base.small.release.descriptor,
      imageDescriptor(base.small, "gateway"),
      imageDescriptor(base.small, "audit"),
    ];
    const subject = dice.pick(subjects.filter(({ digest }) => digest !== object.subject));
    const [signature] = object.signatures;
    const type = object.descriptor.annotations?.["dev.sigstore.bundle.predicateType"] ?? "";
    const bundle = signature?.kind === "sigstore-bundle" ? signature.bundle : Buffer.alloc(0);
    const moved = renderSigstoreReferrer(subject, type, bundle);
    const rest = dice.below(2) === 0 ? base.objects : base.objects.filter((other) => other !== object);
    return fromObjects(`${object.descriptor.digest} to ${subject.digest}`, [...rest, moved]);
  },
  "signatures in their other spelling": (dice) => {
    const object = dice.pick(base.objects);
    const subject =
      object.subject === base.small.release.descriptor.digest
        ? base.small.release.descriptor
        : imageDescriptor(base.small, dice.pick(["gateway", "audit"]));
    const [signature] = object.signatures;
    const json = JSON.parse(signature?.kind === "sigstore-bundle" ? String(signature.bundle) : "{}") as {
      dsseEnvelope: { signatures: { sig: string }[] };
    };
    const [{ sig }] = json.dsseEnvelope.signatures as [{ sig: string }];
    json.dsseEnvelope.signatures = [{ sig: otherSpelling(Buffer.from(sig, "base64")).toString("base64") }];
    const type = object.descriptor.annotations?.["dev.sigstore.bundle.predicateType"] ?? "";
    const respelled = renderSigstoreReferrer(subject, type, canonicalJson(json));
    const rest = dice.below(2) === 0 ? base.objects : base.objects.filter((other) => other !== object);
    return fromObjects(`${object.descriptor.digest} about ${subject.digest}`, [...rest, respelled]);
  },
  "signatures taken away": (dice) => {
    const gone = dice.pick(base.objects);
    return fromObjects(
      gone.descriptor.digest,
      base.objects.filter((object) => object !== gone),
    );
  },
  "signatures of an older release": (dice) => {
    const taken = base.objects.map((object) => (dice.below(3) === 0 ? dice.pick(older.objects) : object));
    const objects = new Map([...taken, dice.pick(older.objects)].map((object) => [object.descriptor.digest, object]));
    return fromObjects(`${objects.size} objects`, [...objects.values()]);
  },
  "signatures of a stranger": (dice) => {
    const object = dice.pick(base.objects);
    const subject =
      object.subject === base.small.release.descriptor.digest
        ? base.small.release.descriptor
        : imageDescriptor(base.small, dice.pick(["gateway", "audit"]));
    const statement = statementFor(subject.digest, PREDICATE_COSIGN_SIGN, {});
    const forged = renderSigstoreReferrer(subject, PREDICATE_COSIGN_SIGN, signStatement(stranger.key, statement));
    const rest = dice.below(2) === 0 ? base.objects : base.objects.filter((other) => other !== object);
    return fromObjects(`about ${subject.digest}`, [...rest, forged]);
  },
  "entries of index.json added, dropped or moved": (dice) => {
    const index = JSON.parse(baseFiles.at(-1)?.[1].toString() ?? "") as { manifests: object[] };
    const [i, j] = [dice.below(index.manifests.length), dice.below(index.manifests.length)];
    const [entry] = index.manifests.slice(i, i + 1);
    const how = dice.below(3);
    if (how > 0) index.manifests.splice(i, 1);
    if (how !== 1) index.manifests.splice(j, 0, entry as object);
    return fromFiles(`${["double", "drop", "move"][how]} entry ${i}, ${j}`, withIndex(canonicalJson(index)));
  },
  "tar headers that say two things": (dice) => withTarTrick(baseTar, dice),
  "a directory that is not quite the layout": (dice) => makeDirectoryMutant(baseFiles, dice),
  "documents too large or too deep": (dice) => {
    const [name] = dice.pick(baseFiles.slice(1));
    const { what, bytes } = bomb(dice);
    return fromFiles(`${name}: ${what}`, name === INDEX_FILE ? withIndex(bytes) : rehashed(name, bytes));
  },
  "types downgraded": (dice) => {
    const [name, bytes] = dice.pick(jsonFiles);
    const { what, bytes: changed } = withOtherType(bytes, dice);
    return fromFiles(`${name}: ${what}`, name === INDEX_FILE ? withIndex(changed) : rehashed(name, changed));
  },
  "strings that act": (dice) => {
    const [name, bytes] = dice.pick(jsonFiles);
    const { what, bytes: changed } = withActingText(bytes, dice);
    return fromFiles(`${name}: ${what}`, name === INDEX_FILE ? withIndex(changed) : rehashed(name, changed));
  },
  "trust of two versions mixed": (dice) => {
    const trustFiles = new Map(base.trustFiles);
    const name = dice.pick([...trustFiles.keys()]);
    const from = dice.pick([otherTrust, olderTrust]);
    trustFiles.set(name, from.get(name) as Buffer);
    if (dice.below(3) === 0) trustFiles.delete(dice.pick([...trustFiles.keys()]));
    return { what: `${name} of another`, trustFiles };
  },
  "trust edited": (dice) => {
    const trustFiles = new Map(base.trustFiles);
    const name = dice.pick([...trustFiles.keys()]);
    const bytes = trustFiles.get(name) as Buffer;
    const edit = editJson(bytes, dice);
    trustFiles.set(name, edit.bytes);
    return { what: `${name}: ${edit.what}`, trustFiles };
  },
};

/** The mutant `number` of `seed`. Never the bundle itself: what changes nothing is made again. */
export function makeMutant(seed: number, number: number): Mutant {
  const kinds = Object.entries(KINDS);
  const [kind, make] = kinds[number % kinds.length] as (typeof kinds)[number];
  const dice = new Dice(Math.imul(seed, 0x9e3779b1) + number);
  for (;;) {
    const made = make(dice);
    const bytes = "tar" in made ? made.tar : baseTar;
    const trustFiles = "trustFiles" in made ? made.trustFiles : base.trustFiles;
    if ("directory" in made) return { kind, what: made.what, bytes, trustFiles, directory: made.directory };
    const same = bytes.equals(baseTar) && !("trustFiles" in made && changesSigned(made.trustFiles));
    if (!same) return { kind, what: made.what, bytes, trustFiles };
  }
}

/** Lays `mutant` down at `path`, in place of what is there. */
export function layMutant(path: string, { directory, bytes }: Mutant): void {
  if (directory) {
    layDirectory(path, directory);
  } else {
    rmSync(path, { recursive: true, force: true });
    writeFileSync(path, bytes);
  }
}

/**
 * Whether a trust says something else: TUF signs what it reads, in canonical form, and not the spelling of
 * the file; and a signature that it does not count may come and go.
 */
function changesSigned(files: ReadonlyMap<string, Buffer>): boolean {
  const read = (from: ReadonlyMap<string, Buffer>): Buffer =>
    canonicalJson([...parseTrustMetadata(from)].map(([name, { signed }]) => [name, signed.toJSON()]));
  try {
    return !read(files).equals(read(base.trustFiles));
  } catch {
    return true;
  }
}

function withIndex(index: Buffer): Files {
  return baseFiles.map(([name, bytes]) => [name, name === INDEX_FILE ? index : bytes]);
}

/** One edit of a random place in a JSON document: a value, a member or an element. */
export function editJson(bytes: Buffer, dice: Dice): { readonly what: string; readonly bytes: Buffer } {
  const root = JSON.parse(bytes.toString("utf8")) as unknown;
  const places: [Record<string, unknown>, string][] = [];
  const walk = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    for (const key of Object.keys(value)) {
      places.push([value as Record<string, unknown>, key]);
      walk((value as Record<string, unknown>)[key]);
    }
  };
  walk(root);
  const [holder, key] = dice.pick(places);
  const before = holder[key];
  switch (dice.below(5)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      return { what: `without ${key}`, bytes: canonicalJson(root) };
    case 1:
      holder[key] = dice.pick([null, "", 0, -1, 2 ** 53, [], {}, true, "\u0000", "x".repeat(300)]);
      return { what: `${key} is ${JSON.stringify(holder[key]).slice(0, 40)}`, bytes: canonicalJson(root) };
    case 2:
      holder[`${Array.isArray(holder) ? holder.length : "stowaway"}`] = before;
      return { what: `${key} doubled`, bytes: canonicalJson(root) };
    case 3:
      holder[key] =
        typeof before === "string" ? turned(before, dice) : typeof before === "number" ? before + 1 : [before];
      return { what: `${key} turned`, bytes: canonicalJson(root) };
    default: {
      const text = bytes.toString("utf8");
      const at = text.indexOf("{", dice.below(text.length));
      const doubled =
        at < 0
          ? `${text} `
          : `${text.slice(0, at)}{"${key}":null${text[at + 1] === "}" ? "" : ","}${text.slice(at + 1)}`;
      return { what: `${key} a second time`, bytes: Buffer.from(doubled) };
    }
  }
}

function turned(text: string, dice: Dice): string {
  if (text === "") return "x";
  const at = dice.below(text.length);
  const other = dice.pick([..."0123456789abcdefXYZ+/=-._ "].filter((character) => character !== text[at]));
  return `${text.slice(0, at)}${other}${text.slice(at + 1)}`;
}

/**
 * The files with one blob's bytes replaced, and then every digest and size that leads to it, up to
 * `index.json`, names and order too: what someone can do who has all but the keys.
 */
function rehashed(name: string, bytes: Buffer): Files {
  const files = new Map(baseFiles);
  const order = new Map(baseFiles.map(([file], i) => [file, i]));
  const pending: [string, Buffer][] = [[name, bytes]];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [oldName, newBytes] = next;
    const [oldDigest, newDigest] = [`sha256:${oldName.slice(-64)}` as Digest, digestOf(newBytes)];
    order.set(blobName(newDigest), order.get(oldName) ?? 0);
    files.delete(oldName);
    files.set(blobName(newDigest), newBytes);
    for (const [other, content] of [...files]) {
      if (!content.includes(oldDigest) || content[0] !== 0x7b || other === blobName(newDigest)) continue;
      const value = repointed(content, oldDigest, newDigest, newBytes.length);
      if (value === undefined) continue;
      if (other === INDEX_FILE) files.set(other, value);
      else pending.push([other, value]);
    }
  }
  const group = (file: string): number => groups.get(baseFiles[order.get(file) ?? 0]?.[0] ?? "") ?? 0;
  return [...files].sort(([a], [b]) => group(a) - group(b) || (a < b ? -1 : 1));
}

function repointed(content: Buffer, from: Digest, to: Digest, size: number): Buffer | undefined {
  let value: unknown;
  try {
    value = JSON.parse(content.toString("utf8"));
  } catch {
    return undefined;
  }
  const walk = (item: unknown): void => {
    if (typeof item !== "object" || item === null) return;
    const members = item as Record<string, unknown>;
    for (const [key, member] of Object.entries(members)) {
      if (member === from) members[key] = to;
      else walk(member);
    }
    if (members["digest"] === to && typeof members["size"] === "number") members["size"] = size;
  };
  walk(value);
  return canonicalJson(value);
}

/** Which part of the tar a file of the base bundle lies in: 0 oci-layout … 4 index.json. */
const groups = ((): ReadonlyMap<string, number> => {
  const found = new Map<string, number>();
  let group = 0;
  let last = "";
  for (const [file] of baseFiles) {
    if (file === INDEX_FILE) group = 4;
    else if (file.startsWith("blobs/")) group = last === LAYOUT_FILE ? 1 : file < last ? group + 1 : group;
    found.set(file, group);
    last = file;
  }
  return found;
})();

export interface GoodBundle {
  readonly bytes: Buffer;
  /** Of the release in it. */
  readonly digest: Digest;
}

/** The bundle of which mutants are made, and who is trusted. */
export function unmutated(): GoodBundle & { readonly trustFiles: ReadonlyMap<string, Buffer> } {
  return { bytes: baseTar, digest: base.small.release.descriptor.digest, trustFiles: base.trustFiles };
}

/** Of the same signers: an older release, and the same release signed once more. */
export function otherGoodBundles(): { readonly older: GoodBundle; readonly signedAgain: GoodBundle } {
  const again = signedBundle({ small: base.small, signers });
  return { older: goodBundle(older), signedAgain: goodBundle(again) };
}

function goodBundle(bundle: SignedBundle): GoodBundle {
  return { bytes: renderTar(signedFiles(bundle)), digest: bundle.small.release.descriptor.digest };
}
