/** The options by which a person says with which key to sign. */
import { loadPrivateKey } from "../../bundles/sign/key-file.ts";
import { loadPublicKey } from "../../bundles/sign/public-key-file.ts";
import type { SigningKey } from "../../bundles/sign/signing-key.ts";
import { keyPassword } from "../ui/key-password.ts";
import { type Invocation, optionalOption, requiredOption, usageError } from "./command.ts";

export const SIGNING_KEY_OPTIONS = {
  key: { type: "string" },
  signer: { type: "string" },
  "public-key": { type: "string" },
  "password-env": { type: "string" },
} as const;

export const SIGNING_KEY_DETAILS = [
  "--key K               private key file in cosign's format (`sealift key generate`)",
  "--password-env VAR    the variable with its password; else COSIGN_PASSWORD, else asked for on a terminal",
  "--signer COMMAND      instead of --key: a line for sh that gets the bytes to sign on standard input and gives",
  "                      the ECDSA signature over their SHA-256 (DER, or r and s), e.g. of a PKCS #11 token;",
  "--public-key PUB      the public key file of that signer's key (P-256)",
] as const;

/** For a verb that has work before it signs: nobody waits for that to hear that no key is named. @throws USAGE */
export function requireSigningKey(invocation: Invocation, command: string): void {
  const hasSigner = optionalOption(invocation, "signer") !== undefined;
  if (!hasSigner) requiredOption(invocation, command, "key");
  else if (optionalOption(invocation, "key") !== undefined) throw usageError(command, "give either --key or --signer");
  else requiredOption(invocation, command, "public-key");
}

/** @throws USAGE, and what loading a key throws */
export async function readSigningKey(invocation: Invocation, command: string): Promise<SigningKey> {
  requireSigningKey(invocation, command);
  const signer = optionalOption(invocation, "signer");
  if (signer !== undefined) {
    return { command: signer, publicKey: loadPublicKey(requiredOption(invocation, command, "public-key")) };
  }
  const path = requiredOption(invocation, command, "key");
  return loadPrivateKey(path, await keyPassword(invocation, path));
}
