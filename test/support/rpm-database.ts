/** rpm's databases in its SQLite form, made in memory, odd ones too. */
import { DatabaseSync } from "node:sqlite";

type TagValue = string | readonly string[] | readonly number[];

const [INT32, STRING, STRING_ARRAY] = [4, 6, 8];

/** A package's header with these tags, as rpm keeps it in a row. */
export function rpmHeader(tags: Readonly<Record<number, TagValue>>): Buffer {
  const entries: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const [tag, value] of Object.entries(tags)) {
    const isNumbers = typeof value !== "string" && typeof value[0] === "number";
    const type = typeof value === "string" ? STRING : isNumbers ? INT32 : STRING_ARRAY;
    const bytes = isNumbers ? numbers(value as readonly number[]) : Buffer.from(`${[value].flat().join("\0")}\0`);
    const count = typeof value === "string" ? 1 : value.length;
    const padding = isNumbers ? (4 - (offset % 4)) % 4 : 0;
    data.push(Buffer.alloc(padding), bytes);
    entries.push(numbers([Number(tag), type, offset + padding, count]));
    offset += padding + bytes.length;
  }
  return Buffer.concat([numbers([entries.length, offset]), ...entries, ...data]);
}

function numbers(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, 4 * i);
  return bytes;
}

export interface RpmOptions {
  readonly epoch?: number;
  readonly architecture?: string;
  readonly source?: string;
  readonly provides?: readonly string[];
  readonly requires?: readonly string[];
  /** Absolute paths, with rpm's flags: 1 configuration, 2 documentation, 64 ghost. */
  readonly files?: Readonly<Record<string, number>>;
  /** Of each file, in their order; by `digestAlgorithm` 8, SHA-256. */
  readonly digests?: readonly string[];
  readonly digestAlgorithm?: number;
  readonly verifyFlags?: readonly number[];
}

export function rpmPackage(name: string, version: string, release: string, options: RpmOptions = {}): Buffer {
  const { epoch, architecture = "x86_64", source, provides = [name], requires = [], files = {} } = options;
  const { digests, digestAlgorithm = 8, verifyFlags } = options;
  const paths = Object.keys(files);
  const directories = [...new Set(paths.map((path) => path.slice(0, path.lastIndexOf("/") + 1)))];
  return rpmHeader({
    1000: name,
    1001: version,
    1002: release,
    ...(epoch === undefined ? {} : { 1003: [epoch] }),
    1011: "Vendor",
    1014: "MIT",
    1022: architecture,
    1044: source ?? `${name}-${version}-${release}.src.rpm`,
    1047: provides,
    ...(requires.length > 0 ? { 1049: requires } : {}),
    ...(digests ? { 1035: digests, 5011: [digestAlgorithm] } : {}),
    ...(verifyFlags ? { 1045: verifyFlags } : {}),
    ...(paths.length > 0
      ? {
          1037: Object.values(files),
          1116: paths.map((path) => directories.indexOf(path.slice(0, path.lastIndexOf("/") + 1))),
          1117: paths.map((path) => path.slice(path.lastIndexOf("/") + 1)),
          1118: directories,
        }
      : {}),
  });
}

export const RPM_SCHEMA = "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)";

/** A database with these rows; like rpm's own it says that it has a write-ahead log. */
export function rpmDatabase(headers: readonly Uint8Array[], pageBytes = 4096): Buffer {
  const database = new DatabaseSync(":memory:");
  try {
    database.exec(`PRAGMA page_size = ${pageBytes}; ${RPM_SCHEMA}; CREATE TABLE other (a, b)`);
    const insert = database.prepare("INSERT INTO Packages (blob) VALUES (?)");
    for (const header of headers) insert.run(header);
    const bytes = Buffer.from(database.serialize());
    bytes.writeUInt16BE(0x0202, 18);
    return bytes;
  } finally {
    database.close();
  }
}
