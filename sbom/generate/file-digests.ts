/** Digests of files while they go by. */
import { createHash, type Hash, hash } from "node:crypto";

/** SHA-256 for ourselves; the others are what dpkg and apk recorded when they installed a file. */
export type DigestName = "sha256" | "md5" | "sha1";

/** One character for each byte. */
export type FileDigests = Readonly<Partial<Record<DigestName, string>>>;

/** Of one file; where it comes in one piece without the cost of a stream. */
export class FileDigester {
  readonly #sizeBytes: number;
  readonly #names: readonly DigestName[];
  #streams: Hash[] | undefined;
  #values: FileDigests | undefined;

  constructor(sizeBytes: number, names: readonly DigestName[]) {
    this.#sizeBytes = sizeBytes;
    this.#names = names;
  }

  write(chunk: Uint8Array): void {
    if (chunk.byteLength === this.#sizeBytes) {
      this.#values = this.#of((name) => hash(name, chunk, "latin1"));
    } else {
      this.#streams ??= this.#names.map((name) => createHash(name));
      for (const stream of this.#streams) stream.update(chunk);
    }
  }

  /** To be called once. */
  values(): FileDigests {
    const streams = this.#streams;
    if (this.#values) return this.#values;
    return this.#of((name, i) => streams?.[i]?.digest("latin1") ?? hash(name, "", "latin1"));
  }

  #of(value: (name: DigestName, i: number) => string): FileDigests {
    return Object.fromEntries(this.#names.map((name, i) => [name, value(name, i)]));
  }
}

const PACKAGED = /^(?:bin|sbin|boot|opt|lib[^/]*|usr(?!\/local\/))\//;
const TRACES: readonly (readonly [pattern: RegExp, digests: readonly DigestName[]])[] = [
  [/^(?:etc|var\/lib|usr\/share)\/dpkg\/|^etc\/debian_version$/, ["md5"]],
  [/^(?:etc|lib|usr\/lib)\/apk\//, ["sha1"]],
  // rpm records SHA-256.
  [/^etc\/(?:redhat|system)-release$|^(?:var\/lib|usr\/lib\/sysimage)\/rpm\/rpmdb/, []],
];

/** Where distributions' packages put what is neither configuration nor state. `path` has no leading slash. */
export function isPackagedPath(path: string): boolean {
  return PACKAGED.test(path);
}

/**
 * Which digests each file of one layer needs: all that a package manager may have recorded, until the layer has shown
 * which one made it. Fewer than were recorded are no error: such a file is told as not compared.
 */
export class DigestChoice {
  #found = new Set<DigestName>();
  #isKnown = false;

  for(path: string): readonly DigestName[] {
    for (const [pattern, digests] of TRACES) {
      if (!pattern.test(path)) continue;
      this.#isKnown = true;
      for (const name of digests) this.#found.add(name);
    }
    if (!isPackagedPath(path)) return ["sha256"];
    return this.#isKnown ? ["sha256", ...this.#found] : ["sha256", "md5", "sha1"];
  }
}
