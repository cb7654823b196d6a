import type { CertificateFiles } from "@sealift/service-kit/server-certificate.ts";
import { type Environment, SettingsReader } from "@sealift/service-kit/settings.ts";
import { type DatabaseSettings, readDatabaseSettings } from "./database/database-settings.ts";

/** Everything that the API for clients stands on: it is there whole, or not at all. */
export interface ApiSettings {
  /** Where the model answers: `http:`, no path. */
  readonly upstream: URL;
  readonly audit: URL;
  readonly pii: URL;
  /** The gateway's own identity towards the other services; see identity.ts of the service-kit. */
  readonly identityFile: string;
  readonly pepperFile: string;
  /** Keys the hashes of prompts and addresses in records. */
  readonly recordKeyFile: string;
  /** Each shared with the service for which principals are signed with it. */
  readonly auditPrincipalKeyFile: string;
  readonly piiPrincipalKeyFile: string;
  /** The model that the canary asks. */
  readonly canaryModel: string;
  readonly limits: {
    readonly bodyMaxBytes: number;
    readonly messagesMax: number;
    readonly tokensMax: number;
    readonly requestsPerMinute: number;
    readonly requestsAtOnce: number;
  };
}

const LEAST_TLS = ["TLSv1.2", "TLSv1.3"] as const;
export type LeastTls = (typeof LEAST_TLS)[number];

export interface GatewaySettings {
  readonly host: string;
  /** For clients, behind the front: PROXY protocol, then TLS if there is a certificate. */
  readonly clientPort: number;
  /** For the appliance itself: health and the canary, plain HTTP. */
  readonly adminPort: number;
  /** The release's version, as the installer says. */
  readonly release: string;
  /** Blue or green, as the installer says: told to clients beside the release. */
  readonly colour?: string;
  readonly drainTimeoutMs: number;
  readonly certificate?: CertificateFiles;
  /** The least version of TLS that clients may speak. */
  readonly leastTls: LeastTls;
  readonly database?: DatabaseSettings;
  /** Only with a database. Without it, clients find health and nothing else. */
  readonly api?: ApiSettings;
}

/**
 * RELEASE; LISTEN_HOST, LISTEN_PORT (8443), ADMIN_PORT (8081), DRAIN_TIMEOUT_MS (60000);
 * TLS_CERTIFICATE_FILE with TLS_KEY_FILE; TLS_LEAST (TLSv1.2); those of readDatabaseSettings if DATABASE_HOST is set. And, if
 * UPSTREAM_URL is set, the database and all of AUDIT_URL, PII_URL, IDENTITY_FILE, API_KEY_PEPPER_FILE,
 * RECORD_KEY_FILE, AUDIT_PRINCIPAL_KEY_FILE, PII_PRINCIPAL_KEY_FILE, MODELS (names with commas, the canary asks
 * the first); with a default BODY_MAX_BYTES (1 MiB), MESSAGES_MAX (256), TOKENS_MAX (4096), and for each key
 * REQUESTS_PER_MINUTE (600) and REQUESTS_AT_ONCE (64).
 * @throws SettingsError
 */
export function readSettings(environment: Environment): GatewaySettings {
  const reader = new SettingsReader(environment);
  const colour = reader.optionalText("COLOUR");
  const certificate = reader.optionalText("TLS_CERTIFICATE_FILE");
  const hasApi = reader.optionalText("UPSTREAM_URL") !== undefined;
  const hasDatabase = hasApi || reader.optionalText("DATABASE_HOST") !== undefined;
  const settings: GatewaySettings = {
    host: reader.optionalText("LISTEN_HOST") ?? "0.0.0.0",
    clientPort: reader.integer("LISTEN_PORT", 8443, 0, 65535),
    adminPort: reader.integer("ADMIN_PORT", 8081, 0, 65535),
    release: reader.text("RELEASE"),
    ...(colour !== undefined && { colour }),
    drainTimeoutMs: reader.integer("DRAIN_TIMEOUT_MS", 60_000, 0, 3_600_000),
    ...(certificate !== undefined && { certificate: { chainFile: certificate, keyFile: reader.text("TLS_KEY_FILE") } }),
    leastTls: readLeastTls(reader),
    ...(hasDatabase && { database: readDatabaseSettings(reader) }),
    ...(hasApi && { api: readApiSettings(reader) }),
  };
  reader.done();
  return settings;
}

function readLeastTls(reader: SettingsReader): LeastTls {
  const text = reader.optionalText("TLS_LEAST") ?? "TLSv1.2";
  const found = LEAST_TLS.find((known) => known === text);
  if (found === undefined) reader.refuse(`TLS_LEAST: want one of ${LEAST_TLS.join(", ")}`);
  return found ?? "TLSv1.3";
}

function readApiSettings(reader: SettingsReader): ApiSettings {
  return {
    upstream: reader.origin("UPSTREAM_URL", "http:"),
    audit: reader.origin("AUDIT_URL", "https:"),
    pii: reader.origin("PII_URL", "https:"),
    identityFile: reader.text("IDENTITY_FILE"),
    pepperFile: reader.text("API_KEY_PEPPER_FILE"),
    recordKeyFile: reader.text("RECORD_KEY_FILE"),
    auditPrincipalKeyFile: reader.text("AUDIT_PRINCIPAL_KEY_FILE"),
    piiPrincipalKeyFile: reader.text("PII_PRINCIPAL_KEY_FILE"),
    canaryModel: reader.text("MODELS").split(",")[0] ?? "",
    limits: {
      // The pii service reads 2 MiB, and gets the texts of a body with a name for each.
      bodyMaxBytes: reader.integer("BODY_MAX_BYTES", 1024 * 1024, 1024, 1536 * 1024),
      messagesMax: reader.integer("MESSAGES_MAX", 256, 1, 10_000),
      tokensMax: reader.integer("TOKENS_MAX", 4_096, 1, 1_000_000),
      requestsPerMinute: reader.integer("REQUESTS_PER_MINUTE", 600, 1, 1_000_000),
      requestsAtOnce: reader.integer("REQUESTS_AT_ONCE", 64, 1, 512),
    },
  };
}
