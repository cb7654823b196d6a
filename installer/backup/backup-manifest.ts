/**
 * What a backup holds, said by its first member, `manifest.json`: canonical JSON. Each other member is named here
 * with size and SHA-256, but for an audit log's tiles, which the log's own root names. What is not named is refused.
 */
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { type Deployments, deploymentsSchema } from "../site/deployment.ts";
import { SITE_ID_PATTERN, TIME_PATTERN } from "../site/state.ts";
import { backupError } from "./error.ts";

export const MANIFEST_PATH = "manifest.json";
export const MANIFEST_MAX_BYTES = 16 * 1024 * 1024;
export const MANIFEST_VERSION = 1;
/** Where the databases' dumps and the audit log lie in it. */
export const DATABASES = "databases";
export const AUDIT_LOG = "audit-log";
/** As an appliance's rules have them (bundles/model/appliance-rules.ts). */
export const DATABASE_PATTERN = "^[a-z][a-z0-9_]{0,62}$";

/** All of a site that cannot be made again. */
export const WHOLE = "sealift-backup";
/** The same but for the audit log, for a site whose log cannot be read or does not hold. */
export const WITHOUT_LOG = "sealift-backup-without-audit-log";
const KINDS = [WHOLE, WITHOUT_LOG] as const;

export interface BackupFile {
  readonly path: string;
  readonly size: number;
  readonly digest: Digest;
  readonly mode: number;
  readonly uid: number;
}

/** One epoch of the audit log, up to a checkpoint. Its checkpoint and its key are files; its tiles are not listed. */
export interface BackupLog {
  /** `audit-log`, or `audit-log/epochs/N` of one that is closed. */
  readonly path: string;
  readonly origin: string;
  readonly size: number;
  /** Base64, as in the checkpoint. */
  readonly root: string;
}

export interface BackupManifest {
  readonly schemaVersion: 1;
  readonly kind: (typeof KINDS)[number];
  /** The version of Sealift that made it. */
  readonly sealift: string;
  readonly siteId: string;
  readonly created: string;
  readonly ledgerHead: Digest;
  readonly ledgerLength: number;
  readonly deployments: Deployments;
  /** Whose dumps are in it. */
  readonly databases: readonly string[];
  /** What they took on the engine's disk: a restored copy takes about as much. */
  readonly databaseBytes: number;
  /** In their order in the tar. */
  readonly files: readonly BackupFile[];
  /** The present epoch first; none of an appliance without an audit log, or where it was left out. */
  readonly logs: readonly BackupLog[];
  /** Of the tar behind this member. */
  readonly restBytes: number;
}

const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const count = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const path = { type: "string", minLength: 1, maxLength: 255 };
const closed = (properties: Readonly<Record<string, unknown>>): object => ({
  type: "object",
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});

export const backupManifestSchema: JsonSchema = closed({
  schemaVersion: { const: MANIFEST_VERSION },
  kind: { enum: KINDS },
  sealift: { type: "string", maxLength: 64 },
  siteId: { type: "string", pattern: SITE_ID_PATTERN },
  created: { type: "string", pattern: TIME_PATTERN },
  ledgerHead: digest,
  ledgerLength: { type: "integer", minimum: 1 },
  deployments: deploymentsSchema,
  databases: { type: "array", maxItems: 64, items: { type: "string", pattern: DATABASE_PATTERN } },
  databaseBytes: count,
  files: {
    type: "array",
    maxItems: 65_536,
    items: closed({ path, size: count, digest, mode: { type: "integer", minimum: 0, maximum: 0o777 }, uid: count }),
  },
  logs: {
    type: "array",
    maxItems: 1024,
    items: closed({
      path: { type: "string", pattern: "^audit-log(?:/epochs/[1-9][0-9]{0,5})?$" },
      origin: { type: "string", minLength: 1, maxLength: 256 },
      size: count,
      root: { type: "string", pattern: "^[A-Za-z0-9+/]{43}=$" },
    }),
  },
  restBytes: count,
}) as JsonSchema;

/** @throws BACKUP_TOO_NEW | BACKUP_MALFORMED */
export function parseBackupManifest(bytes: Buffer): BackupManifest {
  const value = parseCanonicalJson(bytes) as { schemaVersion?: unknown; kind?: unknown } | undefined;
  const version = value?.schemaVersion;
  if (KINDS.some((kind) => kind === value?.kind) && typeof version === "number" && version > MANIFEST_VERSION) {
    throw backupError("BACKUP_TOO_NEW", `backup: got schema version ${version}, want at most ${MANIFEST_VERSION}`, {
      hints: ["use the Sealift version that made it, or a newer one"],
    });
  }
  const problem = value === undefined ? "not canonical JSON" : schemaProblem(backupManifestSchema, value);
  if (problem) throw backupError("BACKUP_MALFORMED", `the backup's manifest: ${problem}`);
  return value as unknown as BackupManifest;
}

/** It names all that is in the backup, so it stands for the backup in plans, authorizations and the ledger. */
export function manifestDigest(manifest: BackupManifest): Digest {
  return digestOf(canonicalJson(manifest));
}
