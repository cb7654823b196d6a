/**
 * Whether the secrets of what runs here can be reached. They may lie on a volume of their own that the site's unlock key
 * opens (runbooks/attestation.md); as long as it is closed its mount point is an empty directory, in which nothing must be
 * made anew: a database keeps its old passwords.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { SecretRule } from "../../bundles/model/appliance-rules.ts";
import { missingSecrets, secretFiles } from "../site/secrets.ts";
import { lifecycleError } from "./error.ts";
import type { Site } from "./site.ts";

/** @throws SITE_SECRETS_AWAY if not one file of `rules`, those of the release that runs here, is there | STATE_UNREADABLE */
export function requireSecretsHere({ paths }: Pick<Site, "paths">, rules: readonly SecretRule[]): void {
  const directory = join(paths.directory, "secrets");
  const wanted = rules.flatMap((rule) => Object.keys(secretFiles(rule)));
  if (wanted.length === 0 || missingSecrets(directory, rules).length < wanted.length) return;
  const what = existsSync(directory) ? "is empty" : "is not there";
  throw lifecycleError(
    "SITE_SECRETS_AWAY",
    `${JSON.stringify(directory)} ${what}, and ${wanted.length} secrets are needed`,
    {
      hints: [
        "do they lie on a volume that is closed? Get its key with sealift attest unseal, open and mount it, then try again",
        "if they are lost: sealift restore FILE --new-host, from a backup; new ones would not open the database",
      ],
    },
  );
}
