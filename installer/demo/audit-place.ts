/** Where a site's audit service keeps its log, and the public key that signs it. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { connect, DEFAULT_SOCKET } from "../../compose/engine/engine.ts";
import { SITE_LABEL } from "../../compose/engine/project.ts";

export interface AuditPlace {
  readonly directory: string;
  /** Undefined if the site's secrets hold no such key. */
  readonly publicKey: string | undefined;
}

const SERVICE = "com.docker.compose.service=audit";
const KEY_MAX_BYTES = 4096;

/** Undefined if the release has no audit service, or it has no log yet. */
export async function findAuditLog(state: string, siteId: string): Promise<AuditPlace | undefined> {
  const docker = await connect({ socketPath: DEFAULT_SOCKET });
  const found = await docker.listContainers({ filters: { label: [`${SITE_LABEL}=${siteId}`, SERVICE] } });
  const directories = found.flatMap(({ Mounts }) =>
    Mounts.filter(({ Type }) => Type === "volume").flatMap(({ Source }) => [Source, ...directoriesIn(Source)]),
  );
  const directory = directories.find((path) => existsSync(join(path, "checkpoint")));
  return directory === undefined ? undefined : { directory, publicKey: publicKeyOf(join(state, "secrets")) };
}

function directoriesIn(path: string): string[] {
  if (!existsSync(path)) return [];
  const entries = readdirSync(path, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(path, name));
}

function publicKeyOf(secrets: string): string | undefined {
  const files = readdirSync(secrets, { recursive: true }).map(String);
  return files
    .filter((name) => /audit/.test(name))
    .map((name) => join(secrets, name))
    .find((path) => {
      const stat = statSync(path);
      if (!stat.isFile() || stat.size > KEY_MAX_BYTES) return false;
      return readFileSync(path, "utf8").startsWith("-----BEGIN PUBLIC KEY-----");
    });
}
