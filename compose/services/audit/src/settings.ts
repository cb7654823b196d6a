import { createPrivateKey, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type Environment, SettingsError, SettingsReader } from "@sealift/service-kit/settings.ts";
import { ORIGIN } from "./checkpoint.ts";

export interface AuditSettings {
  readonly host: string;
  /** For the services that append: mutual TLS. */
  readonly port: number;
  /** For the appliance itself: health, plain HTTP. */
  readonly adminPort: number;
  /** For requests under way. Short: what is cut off is sent again, and meanwhile nobody writes. */
  readonly drainTimeoutMs: number;
  readonly identityFile: string;
  readonly directory: string;
  readonly checkpointKeyFile: string;
  /** Shared with who signs principals for this service. */
  readonly principalKeyFile: string;
  /** The log's name in its checkpoints; one made from the key if it is not set. */
  readonly origin: string | undefined;
  readonly checkpointEntries: number;
  readonly checkpointMs: number;
}

/**
 * IDENTITY_FILE, LOG_DIRECTORY, CHECKPOINT_KEY_FILE, PRINCIPAL_KEY_FILE; LOG_ORIGIN, CHECKPOINT_ENTRIES,
 * CHECKPOINT_SECONDS, LISTEN_HOST, LISTEN_PORT, ADMIN_PORT, DRAIN_TIMEOUT_MS.
 * @throws SettingsError
 */
export function readSettings(environment: Environment): AuditSettings {
  const reader = new SettingsReader(environment);
  const settings: AuditSettings = {
    host: reader.optionalText("LISTEN_HOST") ?? "0.0.0.0",
    port: reader.integer("LISTEN_PORT", 8443, 0, 65535),
    adminPort: reader.integer("ADMIN_PORT", 8081, 0, 65535),
    drainTimeoutMs: reader.integer("DRAIN_TIMEOUT_MS", 1_000, 0, 3_600_000),
    identityFile: reader.text("IDENTITY_FILE"),
    directory: reader.text("LOG_DIRECTORY"),
    checkpointKeyFile: reader.text("CHECKPOINT_KEY_FILE"),
    principalKeyFile: reader.text("PRINCIPAL_KEY_FILE"),
    origin: reader.optionalText("LOG_ORIGIN"),
    checkpointEntries: reader.integer("CHECKPOINT_ENTRIES", 4096, 1, 100_000),
    checkpointMs: reader.integer("CHECKPOINT_SECONDS", 60, 1, 300) * 1000,
  };
  reader.done();
  if (settings.origin !== undefined && !ORIGIN.test(settings.origin)) {
    throw new SettingsError(["LOG_ORIGIN: want a name without spaces, as in site.example/audit"]);
  }
  return settings;
}

const KEY_FILE_MAX_BYTES = 4096;

/** An Ed25519 private key in PEM (PKCS #8). @throws SettingsError */
export async function readCheckpointKey(path: string): Promise<KeyObject> {
  try {
    const pem = await readFile(path);
    const key = createPrivateKey(pem.subarray(0, KEY_FILE_MAX_BYTES));
    if (key.asymmetricKeyType === "ed25519") return key;
  } catch {
    // OpenSSL's own words may hold bytes of the file.
  }
  throw new SettingsError(["CHECKPOINT_KEY_FILE: want an Ed25519 private key in PEM"]);
}
