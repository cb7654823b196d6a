/** The secrets that are made with keys of the site: identities inside, and the certificate for clients. */
import { hostname } from "node:os";
import { join } from "node:path";
import type { Clock } from "./clock.ts";
import type { Config } from "./config.ts";
import { type Disk, writeWhole } from "./disk.ts";
import { makeIdentity, openIdentityRoot } from "./identities.ts";
import type { SecretMakers } from "./secrets.ts";
import { makeServerCertificate, openClientAuthority, serverNames } from "./server-certificate.ts";
import type { StatePaths } from "./state.ts";

/** In the state, mounted nowhere. */
const IDENTITY_ROOT = "identity-root.pem";
const CLIENT_AUTHORITY = "client-authority.json";

/** PEM: what clients must trust, for the operator to hand out. */
export function clientAuthorityPath({ directory }: StatePaths): string {
  return join(directory, "site", "client-ca.pem");
}

/** The authority's key and certificate. */
export function authorityPath({ directory }: StatePaths): string {
  return join(directory, "site", CLIENT_AUTHORITY);
}

/** The key and certificate behind the identities inside. */
export function identityRootPath({ directory }: StatePaths): string {
  return join(directory, "site", IDENTITY_ROOT);
}

/** How clients call this site, as its configuration says. @throws TLS_NAME_MALFORMED */
export function wantedNames(config: Config, hostName: string): string[] {
  return serverNames(publicNames(config), hostName, String(config["clientAddress"] ?? ""));
}

export interface SecretSite {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly paths: StatePaths;
  readonly siteId: string;
}

/** The configuration's members `publicNames` and `clientAddress` say how clients call this site. */
export function secretMakers({ disk, clock, paths, siteId }: SecretSite, config: Config): SecretMakers {
  return {
    identity: (rule) => makeIdentity(rule, openIdentityRoot(disk, identityRootPath(paths))),
    serverCertificate: (rule) => {
      const names = wantedNames(config, hostname());
      const about = { siteId, names, now: clock().now };
      const authority = openClientAuthority(disk, authorityPath(paths), about);
      writeWhole(disk, clientAuthorityPath(paths), Buffer.from(authority.certificate), 0o644);
      return makeServerCertificate(rule, authority, about);
    },
  };
}

/** Those that the operator named. */
export function publicNames(config: Config): string[] {
  const names = config["publicNames"];
  return Array.isArray(names) ? names.map(String) : [];
}
