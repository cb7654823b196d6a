/**
 * The site's state directory: what lies where, and whose it is.
 *
 *   site/site.json        who this site is; written last by `site init`, so its presence means "whole"
 *   site/authority.json   who may authorize what (authority.ts)
 *   site/deployment.json  what runs here, and what ran before (deployment.ts)
 *   deployments/<id>/     the rendered Compose files and the configuration of one deployment
 *   switch/               which colour the front sends connections to
 *   failed/<id>/          what containers wrote that were taken back
 *   ledger · journal/ · lock
 *   trust/ store/<hex>/ secrets/ backups/
 */
import { existsSync, lstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { type Disk, makeDirectory, readStateFile, systemCode, unreadable, writeWhole } from "./disk.ts";
import { siteError } from "./error.ts";

export const DEFAULT_STATE = "/var/lib/sealift";

export const STATE_DIRECTORIES = [
  "site",
  "trust",
  "store",
  "deployments",
  "switch",
  "journal",
  "secrets",
  "backups",
] as const;

const STATE_NAMES: readonly string[] = [...STATE_DIRECTORIES, "ledger", "lock"];
/** What a filesystem of its own brings along. */
const TOLERATED_NAMES: readonly string[] = ["lost+found"];

/** Where things are. Nothing is known about them yet. */
export interface StatePaths {
  readonly directory: string;
  readonly site: string;
  readonly authority: string;
  readonly deployment: string;
  readonly ledger: string;
  readonly journal: string;
  readonly lock: string;
}

export function statePaths(directory: string): StatePaths {
  return {
    directory,
    site: join(directory, "site", "site.json"),
    authority: join(directory, "site", "authority.json"),
    deployment: join(directory, "site", "deployment.json"),
    ledger: join(directory, "ledger"),
    journal: join(directory, "journal"),
    lock: join(directory, "lock"),
  };
}

export interface SiteIdentity {
  readonly schemaVersion: 1;
  /** 32 hexadecimal digits, random: the label on the site's containers and the name in authorizations. */
  readonly siteId: string;
  readonly created: string;
}

export const SITE_ID_PATTERN = "^[0-9a-f]{32}$";
/** RFC 3339 in UTC, whole milliseconds, as Date.toISOString writes it. */
export const TIME_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$";

const siteIdentitySchema: JsonSchema = {
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "siteId", "created"],
  properties: {
    schemaVersion: { const: 1 },
    siteId: { type: "string", pattern: SITE_ID_PATTERN },
    created: { type: "string", pattern: TIME_PATTERN },
  },
};

export const STATE_DOCUMENT_MAX_BYTES = 1024 * 1024;

/**
 * A JSON document of the state: canonical and of its schema, or an error; undefined if there is no file.
 * @throws STATE_DAMAGED | STATE_TOO_NEW | STATE_UNREADABLE
 */
export function readStateDocument(path: string, schema: JsonSchema): unknown {
  const bytes = readStateFile(path, STATE_DOCUMENT_MAX_BYTES);
  if (bytes === undefined) return undefined;
  const value = parseCanonicalJson(bytes);
  const version = (value as { schemaVersion?: unknown } | undefined)?.schemaVersion;
  if (typeof version === "number" && version > 1) {
    throw siteError("STATE_TOO_NEW", `${JSON.stringify(path)}: got schema version ${version}, want at most 1`, {
      hints: ["use the Sealift version that wrote it, or a newer one"],
    });
  }
  const problem = value === undefined ? "not canonical JSON" : schemaProblem(schema, value);
  if (problem) {
    throw siteError("STATE_DAMAGED", `${JSON.stringify(path)}: ${problem}`, {
      hints: ["restore the site from a backup; `sealift ledger verify` says what else is wrong"],
    });
  }
  return value;
}

/** @throws STATE_WRITE_FAILED | STATE_DISK_FULL */
export function writeStateDocument(disk: Disk, path: string, value: unknown): void {
  writeWhole(disk, path, canonicalJson(value));
}

/**
 * Who the site is, after checking that the directory is a whole state directory, ours and private.
 * @throws STATE_NOT_FOUND | STATE_HALF_WRITTEN | STATE_FOREIGN | STATE_UNSAFE | STATE_UNREADABLE |
 * STATE_DAMAGED | STATE_TOO_NEW
 */
export function openState(directory: string): SiteIdentity {
  const found = surveyState(directory);
  if (found === "absent" || found === "empty") {
    throw siteError("STATE_NOT_FOUND", `there is no site in ${JSON.stringify(directory)}`, {
      hints: ["sealift site init --operators FILE, or name the site's directory with --state DIR"],
    });
  }
  if (found === "half-written") {
    throw siteError("STATE_HALF_WRITTEN", `${JSON.stringify(directory)}: site init did not finish`, {
      hints: ["run `sealift site init` again; nothing was installed yet"],
    });
  }
  return readStateDocument(statePaths(directory).site, siteIdentitySchema) as SiteIdentity;
}

/** @throws STATE_FOREIGN | STATE_UNSAFE | STATE_UNREADABLE */
export function surveyState(directory: string): "absent" | "empty" | "half-written" | "whole" {
  let names: string[];
  try {
    const stat = lstatSync(directory);
    if (!stat.isDirectory()) throw siteError("STATE_FOREIGN", `${JSON.stringify(directory)} is not a directory`);
    names = readdirSync(directory).filter((name) => !TOLERATED_NAMES.includes(name));
    if (names.length === 0) return "empty";
    if (!existsSync(statePaths(directory).site)) {
      const foreign = names.find((name) => !STATE_NAMES.includes(name) && !/^\..*\.new$/.test(name));
      if (foreign !== undefined) {
        throw siteError("STATE_FOREIGN", `${JSON.stringify(directory)} holds ${JSON.stringify(foreign)} and no site`, {
          hints: ["name a new or empty directory with --state DIR; nothing was touched"],
        });
      }
    }
    // What others may write is not state that anybody authorized.
    const owner = process.geteuid?.() ?? 0;
    if ((stat.mode & 0o077) !== 0 || (stat.uid !== 0 && stat.uid !== owner)) {
      throw siteError(
        "STATE_UNSAFE",
        `${JSON.stringify(directory)}: got mode ${(stat.mode & 0o777).toString(8)} of uid ${stat.uid}, want 700 of root`,
        { hints: ["find out who changed it before you go on; then chmod 700 and chown root"] },
      );
    }
    requireSafePlace(dirname(directory));
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return "absent";
    if (cause instanceof SealiftError || !systemCode(cause)) throw cause;
    throw unreadable(directory, cause);
  }
  return existsSync(statePaths(directory).site) ? "whole" : "half-written";
}

/**
 * Whoever may write to a directory above could put another in the state's place. Sticky ones (/tmp) are safe: there
 * nobody renames what is another's. @throws STATE_UNSAFE
 */
function requireSafePlace(parent: string): void {
  for (let place = realpathSync(parent); ; place = dirname(place)) {
    const { mode } = statSync(place);
    if ((mode & 0o002) !== 0 && (mode & 0o1000) === 0) {
      throw siteError("STATE_UNSAFE", `${JSON.stringify(place)}: everybody may write there, and exchange the site`, {
        hints: [`find out who made it so before you go on; then chmod o-w ${JSON.stringify(place)}`],
      });
    }
    if (place === dirname(place)) return;
  }
}

/** Creates the directories of an empty state, the outermost too; its parent must exist. @throws STATE_UNSAFE */
export function makeStateDirectories(disk: Disk, directory: string): void {
  if (existsSync(dirname(directory))) requireSafePlace(dirname(directory));
  makeDirectory(disk, directory);
  for (const name of STATE_DIRECTORIES) {
    // The front is a user of its own and sees nothing but this one, mounted read-only.
    makeDirectory(disk, join(directory, name), name === "switch" ? 0o755 : 0o700);
  }
}
