/** Where the database is, and as whom to ask it. */
import type { ConnectionOptions } from "node:tls";
import { Identity } from "@sealift/service-kit/identity.ts";
import type { SettingsReader } from "@sealift/service-kit/settings.ts";

export interface DatabaseSettings {
  readonly host: string;
  readonly port: number;
  readonly name: string;
  readonly user: string;
  readonly passwordFile: string;
  /** The service's own identity. With it, nothing but TLS with both certificates. */
  readonly identityFile?: string;
}

/** Whose identity it is, and the service that the database's certificate must name. */
const SERVICE = "gateway";
const DATABASE_SERVICE = "postgres";

/** DATABASE_HOST, DATABASE_PORT (5432), DATABASE_NAME, DATABASE_USER, DATABASE_PASSWORD_FILE, DATABASE_IDENTITY_FILE (none). */
export function readDatabaseSettings(reader: SettingsReader): DatabaseSettings {
  const identityFile = reader.optionalText("DATABASE_IDENTITY_FILE");
  return {
    host: reader.text("DATABASE_HOST"),
    port: reader.integer("DATABASE_PORT", 5432, 1, 65535),
    name: reader.text("DATABASE_NAME"),
    user: reader.text("DATABASE_USER"),
    passwordFile: reader.text("DATABASE_PASSWORD_FILE"),
    ...(identityFile !== undefined && { identityFile }),
  };
}

/** For `ssl` of pg: each connection that uses it shows the leaf of now. @throws SettingsError, or what reading throws */
export async function databaseTls(settings: DatabaseSettings): Promise<ConnectionOptions | false> {
  if (settings.identityFile === undefined) return false;
  return (await Identity.open(settings.identityFile, SERVICE)).clientOptions(DATABASE_SERVICE);
}
