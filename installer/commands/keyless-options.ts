/** The options by which a person signs with a certificate instead of a key. */
import type { KeylessServices } from "../../bundles/sign/keyless.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { type Invocation, optionalOption, requiredOption, usageError } from "./command.ts";
import { SIGNING_KEY_OPTIONS } from "./signing-key-options.ts";

export const KEYLESS_OPTIONS = {
  "identity-token": { type: "string" },
  "fulcio-url": { type: "string" },
  "rekor-url": { type: "string" },
  "rekor-version": { type: "string" },
  "timestamp-url": { type: "string" },
} as const;

export const KEYLESS_DETAILS = [
  "--identity-token FILE instead of a key: an OpenID Connect token, for which --fulcio-url gives a certificate.",
  "                      Who signed, and a digest, go to the services named here, and into their log for good",
  "--fulcio-url URL      the certificate authority",
  "--rekor-url URL       the transparency log; --rekor-version 1 (default) or 2",
  "--timestamp-url URL   an RFC 3161 service; a log of version 2 gives no time, so it needs one",
] as const;

const TOKEN_MAX_BYTES = 64 * 1024;

export interface KeylessSigner {
  readonly token: string;
  readonly services: KeylessServices;
}

/** Undefined if a key shall sign. @throws USAGE | FILE_… */
export async function readKeylessSigner(invocation: Invocation, command: string): Promise<KeylessSigner | undefined> {
  const path = optionalOption(invocation, "identity-token");
  if (path === undefined) return undefined;
  const other = Object.keys(SIGNING_KEY_OPTIONS).find((name) => optionalOption(invocation, name) !== undefined);
  if (other !== undefined) throw usageError(command, `give either --identity-token or --${other}`);
  const version = optionalOption(invocation, "rekor-version") ?? "1";
  if (version !== "1" && version !== "2") {
    throw usageError(command, `--rekor-version: got ${JSON.stringify(version)}, want 1 or 2`);
  }
  const timestamp = optionalOption(invocation, "timestamp-url");
  if (version === "2" && timestamp === undefined) {
    throw usageError(command, "--timestamp-url is missing; a log of version 2 gives no time");
  }
  const services: KeylessServices = {
    fulcio: requiredOption(invocation, command, "fulcio-url"),
    rekor: requiredOption(invocation, command, "rekor-url"),
    rekorVersion: version === "1" ? 1 : 2,
    ...(timestamp !== undefined && { timestamp }),
  };
  return { token: (await readBoundedFile(path, TOKEN_MAX_BYTES)).toString("utf8").trim(), services };
}
