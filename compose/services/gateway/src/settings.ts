import type { CertificateFiles } from "@sealift/service-kit/server-certificate.ts";
import { type Environment, SettingsReader } from "@sealift/service-kit/settings.ts";
import { type DatabaseSettings, readDatabaseSettings } from "./database/database-settings.ts";

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
  /** Where the model answers, an `http:` URL without a path; none: there is no model. */
  readonly upstream?: URL;
  /** None: the gateway is ready without a database. */
  readonly database?: DatabaseSettings;
}

/**
 * RELEASE, COLOUR; LISTEN_HOST, LISTEN_PORT, ADMIN_PORT, DRAIN_TIMEOUT_MS; UPSTREAM_URL; TLS_CERTIFICATE_FILE with
 * TLS_KEY_FILE; and, if the first is set, DATABASE_HOST and the others of readDatabaseSettings.
 * @throws SettingsError
 */
export function readSettings(environment: Environment): GatewaySettings {
  const reader = new SettingsReader(environment);
  const certificate = reader.optionalText("TLS_CERTIFICATE_FILE");
  const upstream = reader.optionalOrigin("UPSTREAM_URL", "http:");
  const databaseHost = reader.optionalText("DATABASE_HOST");
  const colour = reader.optionalText("COLOUR");
  const settings: GatewaySettings = {
    host: reader.optionalText("LISTEN_HOST") ?? "0.0.0.0",
    clientPort: reader.integer("LISTEN_PORT", 8443, 0, 65535),
    adminPort: reader.integer("ADMIN_PORT", 8081, 0, 65535),
    release: reader.text("RELEASE"),
    ...(colour !== undefined && { colour }),
    drainTimeoutMs: reader.integer("DRAIN_TIMEOUT_MS", 60_000, 0, 3_600_000),
    ...(certificate !== undefined && { certificate: { chainFile: certificate, keyFile: reader.text("TLS_KEY_FILE") } }),
    ...(upstream && { upstream }),
    ...(databaseHost !== undefined && { database: readDatabaseSettings(reader) }),
  };
  reader.done();
  return settings;
}
