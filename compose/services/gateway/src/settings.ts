import { type Environment, SettingsReader } from "@sealift/service-kit/settings.ts";
import type { DatabaseSettings } from "./database/database.ts";

export interface GatewaySettings {
  readonly host: string;
  readonly port: number;
  /** The release's version, as the installer says. */
  readonly release: string;
  readonly drainTimeoutMs: number;
  /** None: the gateway is ready without a database. */
  readonly database?: DatabaseSettings;
}

/**
 * LISTEN_HOST, LISTEN_PORT, RELEASE, DRAIN_TIMEOUT_MS; and DATABASE_HOST, DATABASE_PORT, DATABASE_NAME,
 * DATABASE_USER, DATABASE_PASSWORD_FILE, all of which must be set if the first is.
 * @throws SettingsError
 */
export function readSettings(environment: Environment): GatewaySettings {
  const reader = new SettingsReader(environment);
  const databaseHost = reader.optionalText("DATABASE_HOST");
  const settings: GatewaySettings = {
    host: reader.optionalText("LISTEN_HOST") ?? "0.0.0.0",
    port: reader.integer("LISTEN_PORT", 8080, 0, 65535),
    release: reader.text("RELEASE"),
    drainTimeoutMs: reader.integer("DRAIN_TIMEOUT_MS", 60_000, 0, 3_600_000),
    ...(databaseHost !== undefined && {
      database: {
        host: databaseHost,
        port: reader.integer("DATABASE_PORT", 5432, 1, 65535),
        name: reader.text("DATABASE_NAME"),
        user: reader.text("DATABASE_USER"),
        passwordFile: reader.text("DATABASE_PASSWORD_FILE"),
      },
    }),
  };
  reader.done();
  return settings;
}
