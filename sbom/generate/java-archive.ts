/** The Maven coordinates in a Java archive (jar, war, ear) and in the archives inside it. */
import { createHash } from "node:crypto";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { bufferAccess, readZipMember, type ZipMember, zipMembers } from "../zip-reader.ts";

export interface JavaPackage {
  readonly group: string | undefined;
  readonly artifact: string;
  readonly version: string | undefined;
  /** Names of the archives that lead to it, without the outermost; "" for that one's own. */
  readonly inside: string;
  readonly licences: readonly string[];
}

export interface JavaFacts {
  readonly kind: "java";
  readonly packages: readonly JavaPackage[];
  /** Why the archive, or one inside it, was not read; each says which. */
  readonly problems: readonly string[];
  /** Of the whole file, in hexadecimal; undefined if it was not read. */
  readonly sha512: string | undefined;
}

export const JAVA_ARCHIVE = /\.(?:jar|war|ear|par|sar)$/;
/** Larger ones are reported as not read. */
export const JAVA_ARCHIVE_MAX_BYTES = 64 * 1024 * 1024;
const NESTING_MAX = 4;
const NESTED_MAX_BYTES = 64 * 1024 * 1024;
const NESTED_TOTAL_MAX_BYTES = 512 * 1024 * 1024;
const TEXT_MAX_BYTES = 1024 * 1024;
const PACKAGES_MAX = 10_000;
const COORDINATE = /^[A-Za-z0-9_.-]{1,256}$/;
const VERSION = /^[\w.+~-]{1,128}$/;

/** `name` is the file's, without a directory. Never throws: what is wrong is in `problems`. */
export function readJavaArchive(bytes: Buffer, name: string): JavaFacts {
  const packages: JavaPackage[] = [];
  const problems: string[] = [];
  let budget = NESTED_TOTAL_MAX_BYTES;
  const read = (archive: Buffer, file: string, inside: string, depth: number): void => {
    const zip = bufferAccess(archive);
    let pom = 0;
    let manifest: ZipMember | undefined;
    for (const member of zipMembers(zip)) {
      if (/^(?:[^/]+\/)*META-INF\/maven\/[^/]+\/[^/]+\/pom\.properties$/.test(member.name)) {
        const found = fromPom(readZipMember(zip, member, TEXT_MAX_BYTES).toString("utf8"), inside);
        if (found) {
          packages.push(found);
          pom += 1;
        }
      } else if (member.name === "META-INF/MANIFEST.MF") manifest = member;
      else if (JAVA_ARCHIVE.test(member.name)) {
        const path = inside === "" ? member.name : `${inside}!/${member.name}`;
        budget -= member.size;
        if (depth >= NESTING_MAX) problems.push(`${path}: nested deeper than ${NESTING_MAX} archives`);
        else if (budget < 0)
          problems.push(`${path}: the archives inside have more than ${NESTED_TOTAL_MAX_BYTES} bytes`);
        else
          attempt(path, () => read(readZipMember(zip, member, NESTED_MAX_BYTES), lastOf(member.name), path, depth + 1));
      }
      if (packages.length > PACKAGES_MAX) throw new RangeError(`more than ${PACKAGES_MAX} packages`);
    }
    if (pom > 0) return;
    const text = manifest ? readZipMember(zip, manifest, TEXT_MAX_BYTES).toString("utf8") : "";
    packages.push(fromManifest(text, file, inside));
  };
  const attempt = (path: string, work: () => void): void => {
    try {
      work();
    } catch (cause) {
      problems.push(`${path || name}: ${reasonOf(cause)}`);
    }
  };
  attempt("", () => read(bytes, name, "", 0));
  return { kind: "java", packages, problems, sha512: createHash("sha512").update(bytes).digest("hex") };
}

function lastOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function fromPom(text: string, inside: string): JavaPackage | undefined {
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*(groupId|artifactId|version)\s*[=:]\s*(\S+)\s*$/.exec(line);
    if (match) fields.set(match[1] as string, match[2] as string);
  }
  const [group, artifact, version] = ["groupId", "artifactId", "version"].map((name) => fields.get(name));
  if (!group || !artifact || !COORDINATE.test(group) || !COORDINATE.test(artifact)) return undefined;
  return { group, artifact, version: version && VERSION.test(version) ? version : undefined, inside, licences: [] };
}

/**
 * Without pom.properties nothing says the group for certain, so none is given and no purl is made. The
 * name and version are the file's, as Maven names files, or the manifest's.
 */
function fromManifest(text: string, file: string, inside: string): JavaPackage {
  const fields = new Map<string, string>();
  // Only the main section; long values go on in lines that start with a space.
  const [main = ""] = text.replace(/\r\n?/g, "\n").replace(/\n /g, "").split("\n\n");
  for (const line of main.split("\n")) {
    const match = /^([A-Za-z0-9_-]{1,70}): (.*)$/.exec(line);
    if (match) fields.set((match[1] as string).toLowerCase(), (match[2] as string).trim());
  }
  const base = file.replace(JAVA_ARCHIVE, "");
  const named = /^(.+?)-(\d[\w.+~-]*)$/.exec(base);
  const stated = fields.get("implementation-version") ?? fields.get("bundle-version");
  const version = named?.[2] ?? (stated && VERSION.test(stated) ? stated : undefined);
  const licence = fields.get("bundle-license");
  return {
    group: undefined,
    artifact: named?.[1] ?? base,
    version,
    inside,
    licences: licence && licence.length <= 256 ? [licence] : [],
  };
}
