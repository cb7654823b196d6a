import { type Environment, SettingsReader } from "@sealift/service-kit/settings.ts";

export interface PiiSettings {
  readonly host: string;
  /** For the gateway: mutual TLS. */
  readonly port: number;
  /** For the appliance itself: health and the canary, plain HTTP. */
  readonly adminPort: number;
  /** The release's version, as the installer says. */
  readonly release: string;
  readonly drainTimeoutMs: number;
  readonly identityFile: string;
  /** Shared with who signs principals for this service. */
  readonly principalKeyFile: string;
  /** JSON, as policy.ts has it. None: the built-in policy. */
  readonly policy?: string;
}

/**
 * RELEASE, IDENTITY_FILE and PRINCIPAL_KEY_FILE; POLICY, LISTEN_HOST, LISTEN_PORT, ADMIN_PORT, DRAIN_TIMEOUT_MS.
 * @throws SettingsError
 */
export function readSettings(environment: Environment): PiiSettings {
  const reader = new SettingsReader(environment);
  const policy = reader.optionalText("POLICY");
  const settings: PiiSettings = {
    host: reader.optionalText("LISTEN_HOST") ?? "0.0.0.0",
    port: reader.integer("LISTEN_PORT", 8443, 0, 65535),
    adminPort: reader.integer("ADMIN_PORT", 8081, 0, 65535),
    release: reader.text("RELEASE"),
    drainTimeoutMs: reader.integer("DRAIN_TIMEOUT_MS", 60_000, 0, 3_600_000),
    identityFile: reader.text("IDENTITY_FILE"),
    principalKeyFile: reader.text("PRINCIPAL_KEY_FILE"),
    ...(policy !== undefined && { policy }),
  };
  reader.done();
  return settings;
}
