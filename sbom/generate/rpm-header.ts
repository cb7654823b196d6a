/** A package's header as rpm keeps it in its database (rpm.org, "RPM v4 package format", header structure). */

/** Of the files that a package installed. */
export interface RpmFile {
  /** With slashes at both ends. */
  readonly directory: string;
  readonly name: string;
  /** Neither configuration nor documentation, and really installed: the same in every installation. */
  readonly isPayload: boolean;
  /** SHA-256 in hexadecimal of what was installed; "" of what may change, or where the package has other digests. */
  readonly sha256: string;
}

export interface RpmPackage {
  readonly name: string;
  /** "" if there is none, or 0, which is the same to rpm. */
  readonly epoch: string;
  readonly version: string;
  readonly release: string;
  /** "" of a key that was imported, which rpm lists as a package. */
  readonly architecture: string;
  readonly licence: string;
  readonly vendor: string;
  /** File name of the source package; "" if there is none. */
  readonly source: string;
  /** SHA-256 of the package's own header, in hexadecimal; it holds the digests of every file. "" in old packages. */
  readonly headerSha256: string;
  readonly modularityLabel: string;
  readonly provides: readonly string[];
  readonly requires: readonly string[];
  readonly files: readonly RpmFile[];
}

const TAG = {
  sha256Header: 273,
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  vendor: 1011,
  licence: 1014,
  architecture: 1022,
  fileDigests: 1035,
  fileFlags: 1037,
  sourceRpm: 1044,
  provideName: 1047,
  verifyFlags: 1045,
  requireName: 1049,
  directoryIndexes: 1116,
  baseNames: 1117,
  directoryNames: 1118,
  fileDigestAlgorithm: 5011,
  modularityLabel: 5096,
} as const;

const [INT32, STRING, STRING_ARRAY, I18N_STRING] = [4, 6, 8, 9];
/** As rpm has it (HEADER_TAGS_MAX). */
const ENTRIES_MAX = 0xffff;
const ENTRY_BYTES = 16;
/** PATH_MAX of Linux. */
const DIRECTORY_MAX_LENGTH = 4096;
const [CONFIG, DOCUMENTATION, GHOST] = [1, 2, 64];
/** Of the flags that say what `rpm --verify` looks at. */
const VERIFY_DIGEST = 1;
/** By the number that OpenPGP has for it (RFC 4880, 9.4). */
const SHA256 = 8;

const NAME = /^[\w.+-]{1,256}$/;
const VERSION = /^[\w.+~^]{1,256}$/;
const ARCHITECTURE = /^\w{0,64}$/;

interface Entry {
  readonly type: number;
  readonly offset: number;
  readonly count: number;
}

/** @throws RangeError if the header is malformed, or names no package. */
export function readRpmHeader(blob: Buffer): RpmPackage {
  const header = new Header(blob);
  const name = header.text(TAG.name);
  if (!NAME.test(name)) throw new RangeError(`a package has the name ${JSON.stringify(name.slice(0, 200))}`);
  const [version, release] = [header.text(TAG.version), header.text(TAG.release)];
  for (const part of [version, release]) {
    if (!VERSION.test(part)) throw new RangeError(`package ${name}: version ${JSON.stringify(part)} is none`);
  }
  const architecture = header.text(TAG.architecture);
  if (!ARCHITECTURE.test(architecture)) throw new RangeError(`package ${name}: its architecture is none`);
  const [epoch] = header.integers(TAG.epoch);
  return {
    name,
    epoch: epoch ? String(epoch) : "",
    version,
    release,
    architecture,
    licence: header.text(TAG.licence),
    vendor: header.text(TAG.vendor),
    source: header.text(TAG.sourceRpm),
    headerSha256: /^[0-9a-f]{64}$/.exec(header.text(TAG.sha256Header))?.[0] ?? "",
    modularityLabel: header.text(TAG.modularityLabel),
    provides: header.texts(TAG.provideName),
    requires: header.texts(TAG.requireName),
    files: filesOf(header, name),
  };
}

function filesOf(header: Header, name: string): RpmFile[] {
  const directories = header.texts(TAG.directoryNames);
  const indexes = header.integers(TAG.directoryIndexes);
  const flags = header.integers(TAG.fileFlags);
  const verified = header.integers(TAG.verifyFlags);
  const digests = header.integers(TAG.fileDigestAlgorithm)[0] === SHA256 ? header.texts(TAG.fileDigests) : [];
  return header.texts(TAG.baseNames).map((base, i): RpmFile => {
    const directory = directories[indexes[i] ?? -1];
    if (directory === undefined || directory.length > DIRECTORY_MAX_LENGTH) {
      throw new RangeError(`package ${name}: a file is in no directory`);
    }
    const flag = flags[i] ?? 0;
    const mayChange = (flag & (CONFIG | GHOST)) !== 0 || ((verified[i] ?? VERIFY_DIGEST) & VERIFY_DIGEST) === 0;
    return {
      directory,
      name: base,
      isPayload: (flag & (CONFIG | DOCUMENTATION | GHOST)) === 0,
      sha256: mayChange ? "" : (/^[0-9a-f]{64}$/.exec(digests[i] ?? "")?.[0] ?? ""),
    };
  });
}

/** Each tag is read once at most, so that entries that share their data cost no more than it is long. */
class Header {
  readonly #data: Buffer;
  readonly #entries = new Map<number, Entry>();

  constructor(blob: Buffer) {
    if (blob.length < 8) throw new RangeError("a header is too short");
    const [entries, dataBytes] = [blob.readUInt32BE(0), blob.readUInt32BE(4)];
    if (entries > ENTRIES_MAX || 8 + entries * ENTRY_BYTES + dataBytes > blob.length) {
      throw new RangeError(`a header of ${entries} entries and ${dataBytes} bytes is longer than its row`);
    }
    const start = 8 + entries * ENTRY_BYTES;
    this.#data = blob.subarray(start, start + dataBytes);
    for (let at = 8; at < start; at += ENTRY_BYTES) {
      const [tag, type, offset, count] = [0, 4, 8, 12].map((part) => blob.readUInt32BE(at + part)) as [
        number,
        number,
        number,
        number,
      ];
      if (!this.#entries.has(tag)) this.#entries.set(tag, { type, offset, count });
    }
  }

  /** "" if the header has no such entry. */
  text(tag: number): string {
    return this.texts(tag)[0] ?? "";
  }

  /** Of translated texts the first, which is the untranslated one, and those that follow. */
  texts(tag: number): string[] {
    const entry = this.#entries.get(tag);
    if (!entry) return [];
    if (entry.type !== STRING && entry.type !== STRING_ARRAY && entry.type !== I18N_STRING) {
      throw new RangeError(`tag ${tag} is no text`);
    }
    const texts: string[] = [];
    let at = entry.offset;
    while (texts.length < entry.count) {
      const end = this.#data.indexOf(0, at);
      if (at > this.#data.length || end < 0) throw new RangeError(`tag ${tag} reaches beyond its header`);
      texts.push(this.#data.toString("utf8", at, end));
      at = end + 1;
    }
    return texts;
  }

  integers(tag: number): number[] {
    const entry = this.#entries.get(tag);
    if (!entry) return [];
    if (entry.type !== INT32) throw new RangeError(`tag ${tag} is no number`);
    if (entry.offset + 4 * entry.count > this.#data.length) {
      throw new RangeError(`tag ${tag} reaches beyond its header`);
    }
    return Array.from({ length: entry.count }, (_, i) => this.#data.readUInt32BE(entry.offset + 4 * i));
  }
}
