/** Mutants of the small signed bundle as a directory: what a file system can say that a tar cannot, and more. */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { blobName } from "../../bundles/layout/layout.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import type { Dice } from "./mutants.ts";
import { type Files, flipped } from "./tamper.ts";

/** What lies under a name: bytes, a link to a file with these bytes that lies outside, or something else. */
export type Lain = Buffer | { readonly linkTo: Buffer } | "pipe" | "directory" | "dangling link" | "device";
export type DirectoryMutant = readonly (readonly [name: string, lain: Lain])[];

const HEX = "0".repeat(64);
/** Names that do not belong in a layout; none is one that it has. */
const FOREIGN = [
  ...["x", ".hidden", "..x", "INDEX.JSON", "index.json ", "index.json~", "oci-layout.bak", "\u001b[2J", "a\nALLOWED"],
  ...["\u202egnp", "<script>", "-rf", "x".repeat(255), "ingest/x", "blobs/x", "blobs/sha512/x", "blobs/sha256/x"],
  ...[
    `blobs/sha256/${HEX.slice(1)}`,
    `blobs/sha256/${"A".repeat(64)}`,
    `blobs/sha256/${HEX} `,
    `blobs/sha256/${HEX}/x`,
  ],
] as const;
const others = (bytes: Buffer): Lain[] => ["pipe", "directory", "dangling link", { linkTo: bytes }];

/** One edit of the directory of `files`. */
export function makeDirectoryMutant(
  files: Files,
  dice: Dice,
): { readonly what: string; readonly directory: DirectoryMutant } {
  const [i, j] = [dice.below(files.length), dice.below(files.length)];
  const [[name, bytes], [otherName, otherBytes]] = [files[i], files[j === i ? (i + 1) % files.length : j]] as [
    Files[number],
    Files[number],
  ];
  const changed = (...changes: [string, Lain | undefined][]): DirectoryMutant =>
    [...new Map<string, Lain | undefined>([...files, ...changes])].filter(
      (pair): pair is [string, Lain] => pair[1] !== undefined,
    );
  switch (dice.below(6)) {
    case 0: {
      const other = dice.pick(others(bytes));
      return { what: `${typeof other === "string" ? other : "link"} for ${name}`, directory: changed([name, other]) };
    }
    case 1: {
      const foreign = dice.pick(FOREIGN);
      const lain = dice.pick([Buffer.alloc(0), bytes, ...others(bytes)]);
      return { what: `${JSON.stringify(foreign)} beside it`, directory: changed([foreign, lain]) };
    }
    case 2:
      return { what: `without ${name}`, directory: changed([name, undefined]) };
    case 3: {
      const cut = dice.pick([
        Buffer.alloc(0),
        bytes.subarray(0, dice.below(bytes.length)),
        Buffer.concat([bytes, bytes]),
      ]);
      return { what: `${name} with ${cut.length} bytes`, directory: changed([name, cut]) };
    }
    case 4:
      return dice.below(2) === 0
        ? { what: `a bit of ${name}`, directory: changed([name, flipped(bytes, dice.below(bytes.length))]) }
        : { what: `${name} and ${otherName} exchanged`, directory: changed([name, otherBytes], [otherName, bytes]) };
    default: {
      const stowaway = Buffer.from(`stowaway ${dice.below(1000)}`);
      return { what: "a blob that nothing names", directory: changed([blobName(digestOf(stowaway)), stowaway]) };
    }
  }
}

/** Lays a mutant down at `path`, in place of what is there; targets of links lie beside it. */
export function layDirectory(path: string, mutant: DirectoryMutant): void {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(join(path, "blobs/sha256"), { recursive: true });
  layEntries(path, mutant);
}

/** Lays down what `entries` name, below the directory `path`. A device, which only root can make, is a pipe elsewhere. */
export function layEntries(path: string, entries: DirectoryMutant): void {
  for (const [name, lain] of entries) {
    const at = join(path, name);
    mkdirSync(dirname(at), { recursive: true });
    if (Buffer.isBuffer(lain)) writeFileSync(at, lain);
    else if (lain === "pipe") execFileSync("mkfifo", ["--", at]);
    else if (lain === "device") makeDevice(at);
    else if (lain === "directory") mkdirSync(at);
    else if (lain === "dangling link") symlinkSync("/nonexistent/x", at);
    else {
      writeFileSync(`${path}.target`, lain.linkTo);
      symlinkSync(`${path}.target`, at);
    }
  }
}

/** One that gives zeros without end. */
function makeDevice(path: string): void {
  try {
    execFileSync("mknod", ["--", path, "c", "1", "5"], { stdio: "ignore" });
  } catch {
    execFileSync("mkfifo", ["--", path]);
  }
}
