/** Where the database is, and as whom to ask it. */
import type { SettingsReader } from "@sealift/service-kit/settings.ts";

export interface DatabaseSettings {
  readonly host: string;
  readonly port: number;
  readonly name: string;
  readonly user: string;
  readonly passwordFile: string;
}

/** DATABASE_HOST, DATABASE_PORT (5432), DATABASE_NAME, DATABASE_USER, DATABASE_PASSWORD_FILE. */
export function readDatabaseSettings(reader: SettingsReader): DatabaseSettings {
  return {
    host: reader.text("DATABASE_HOST"),
    port: reader.integer("DATABASE_PORT", 5432, 1, 65535),
    name: reader.text("DATABASE_NAME"),
    user: reader.text("DATABASE_USER"),
    passwordFile: reader.text("DATABASE_PASSWORD_FILE"),
  };
}
