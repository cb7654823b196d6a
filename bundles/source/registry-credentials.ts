/** Logins from Docker's config.json, which is read and never written. Credential helpers are programs and are not run. */
import { readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { reasonOf } from "../model/sealift-error.ts";
import { sourceError } from "./error.ts";
import { credentialKeys } from "./registry-reference.ts";

const CONFIG_FILE_MAX_BYTES = 1024 * 1024;

export interface RegistryLogin {
  /** The value of an `Authorization: Basic` header, after `Basic `. */
  readonly basic?: string;
  /** Why there may be a login that is not used; for a hint when the registry asks for one. */
  readonly unused?: string;
}

/** `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`. */
export function dockerConfigPath(): string {
  return join(process.env["DOCKER_CONFIG"] ?? join(homedir(), ".docker"), "config.json");
}

/**
 * The login for `registry` in the file at `path`; empty if there is no file or no login.
 * @throws SOURCE_CREDENTIALS_UNREADABLE. Its message never holds any of the content.
 */
export async function readLogin(registry: string, path: string): Promise<RegistryLogin> {
  const refuse = (what: string, cause?: unknown): never => {
    throw sourceError("SOURCE_CREDENTIALS_UNREADABLE", `${JSON.stringify(path)}: ${what}`, { cause });
  };
  let text = "";
  try {
    if ((await stat(path)).size > CONFIG_FILE_MAX_BYTES) refuse(`more than ${CONFIG_FILE_MAX_BYTES} bytes`);
    text = await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return {};
    if (cause instanceof Error && cause.name === "SealiftError") throw cause;
    refuse(reasonOf(cause));
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // V8's message quotes the text, and the text holds passwords.
    return refuse("not JSON");
  }
  const config = record(value);
  const auths = record(config["auths"]);
  const helpers = record(config["credHelpers"]);
  for (const key of credentialKeys(registry)) {
    const entry = record(auths[key]);
    const { auth, username, password } = entry;
    if (typeof auth === "string" && auth !== "") {
      const plain = Buffer.from(auth, "base64").toString("utf8");
      if (!plain.includes(":")) refuse(`the login for ${JSON.stringify(registry)} is not base64 of USER:PASSWORD`);
      return { basic: Buffer.from(plain).toString("base64") };
    }
    if (typeof username === "string" && typeof password === "string") {
      return { basic: Buffer.from(`${username}:${password}`).toString("base64") };
    }
    if (typeof entry["identitytoken"] === "string") return { unused: "an identity token, which Sealift does not use" };
    if (typeof helpers[key] === "string") return { unused: "a credential helper, which Sealift does not run" };
  }
  return typeof config["credsStore"] === "string" ? { unused: "a credential store, which Sealift does not ask" } : {};
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
