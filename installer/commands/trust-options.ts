/** Options of the verbs that make and change a release trust. */
import { createPublicKey } from "node:crypto";
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { ROLES, type Role } from "../../bundles/model/signing-roles.ts";
import { isPrivateKeyFile, loadPrivateKey, type PrivateKey } from "../../bundles/sign/key-file.ts";
import { loadPublicKey } from "../../bundles/sign/public-key-file.ts";
import type { KeyHolder, RoleHolder, SigningState } from "../../bundles/sign/trust-metadata.ts";
import { TRUST_FILE_MAX_BYTES } from "../../verify/trust/trust-directory.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { keyPassword } from "../ui/key-password.ts";
import { type Invocation, optionalOption, repeatedOption, usageError } from "./command.ts";

export const TRUST_KEY_OPTIONS = {
  "root-key": { type: "string", multiple: true },
  "root-threshold": { type: "string" },
  role: { type: "string", multiple: true },
  identity: { type: "string", multiple: true },
  "trusted-root": { type: "string" },
  threshold: { type: "string", multiple: true },
  "password-env": { type: "string" },
} as const;

export interface RootKeys {
  readonly holders: readonly KeyHolder[];
  /** Of those that were given as private keys. */
  readonly signers: readonly PrivateKey[];
}

/** `--root-key K[@HOLDER]…`: a private key signs at once, a public one is only listed. */
export async function readRootKeys(invocation: Invocation): Promise<RootKeys> {
  const signers: PrivateKey[] = [];
  const holders: KeyHolder[] = [];
  for (const text of repeatedOption(invocation, "root-key")) {
    const { path, holder } = pathAndHolder(text);
    if (isPrivateKeyFile(path)) {
      const key = loadPrivateKey(path, await keyPassword(invocation, path));
      signers.push(key);
      holders.push({ publicKey: createPublicKey(key), holder });
    } else {
      holders.push({ publicKey: loadPublicKey(path), holder });
    }
  }
  return { holders, signers };
}

/** `--root-threshold M` */
export function readRootThreshold(invocation: Invocation, command: string): number | undefined {
  const text = optionalOption(invocation, "root-threshold");
  return text === undefined ? undefined : count(command, text, "--root-threshold");
}

/** `--threshold ROLE=M…` */
export function readThresholds(invocation: Invocation, command: string): Map<Role, number> {
  const thresholds = new Map<Role, number>();
  for (const item of repeatedOption(invocation, "threshold")) {
    const [role, text] = roleOption(command, "threshold", item);
    if (thresholds.has(role)) throw usageError(command, `--threshold ${role}=… is given twice`);
    thresholds.set(role, count(command, text, `--threshold ${role}`));
  }
  return thresholds;
}

export const IDENTITY_DETAILS = [
  "--identity ROLE=HOLDER,ISSUER,IDENTITY  who signs with a certificate instead of a key: the OpenID Connect issuer's URL",
  "                          and the e-mail address or workflow URI that it vouches for, both exact",
  "--trusted-root FILE       Sigstore's trusted_root.json, by which identities count; it becomes a part of the trust",
] as const;

/** `--role ROLE=PUB[@HOLDER]…` and `--identity ROLE=HOLDER,ISSUER,IDENTITY…`: who is in each role that is named. */
export function readRoleHolders(invocation: Invocation, command: string): Map<Role, RoleHolder[]> {
  const roles = new Map<Role, RoleHolder[]>();
  for (const item of repeatedOption(invocation, "identity")) {
    const [role, text] = roleOption(command, "identity", item);
    const [holder = "", issuer = "", ...identity] = text.split(",");
    roles.set(role, [...(roles.get(role) ?? []), { holder, issuer, identity: identity.join(",") }]);
  }
  for (const item of repeatedOption(invocation, "role")) {
    const [role, text] = roleOption(command, "role", item);
    const { path, holder } = pathAndHolder(text);
    roles.set(role, [...(roles.get(role) ?? []), { publicKey: loadPublicKey(path), holder }]);
  }
  return roles;
}

/** `--trusted-root FILE`, read and in form. @throws SIGNATURE_ROOT_MALFORMED, FILE_… */
export async function readTrustedRoot(invocation: Invocation): Promise<Buffer | undefined> {
  const path = optionalOption(invocation, "trusted-root");
  if (path === undefined) return undefined;
  const bytes = await readBoundedFile(path, TRUST_FILE_MAX_BYTES);
  const { parseTrustedRoot } = await import("../../verify/signature/trusted-root.ts");
  parseTrustedRoot(bytes);
  return bytes;
}

/** A target as `writeTrustMetadata` takes it; none if there is none. */
export function carriedFiles(name: string | undefined, bytes: Buffer | undefined): Map<string, Buffer> {
  return new Map(name !== undefined && bytes ? [[name, bytes]] : []);
}

function roleOption(command: string, option: string, text: string): [Role, string] {
  const [name = "", ...rest] = text.split("=");
  const role = ROLES.find((known) => known === name);
  if (role === undefined || rest.length === 0) {
    throw usageError(
      command,
      `--${option}: got ${JSON.stringify(text)}, want ROLE=… with ROLE one of ${ROLES.join(", ")}`,
    );
  }
  return [role, rest.join("=")];
}

/**
 * `path/key.pub@Alice` → the path and Alice; without @, the file's name stands for the holder. Both may
 * hold an @ themselves: the shortest part before an @ that is a file is the path.
 */
function pathAndHolder(text: string): { readonly path: string; readonly holder: string } {
  for (let at = text.indexOf("@"); at >= 0 && !existsSync(text); at = text.indexOf("@", at + 1)) {
    const path = text.slice(0, at);
    if (path !== "" && existsSync(path)) return { path, holder: text.slice(at + 1) };
  }
  return { path: text, holder: basename(text).replace(/\.(?:pub|key|pem)$/, "") };
}

function count(command: string, text: string, option: string): number {
  if (!/^[1-9][0-9]{0,3}$/.test(text))
    throw usageError(command, `${option}: got ${JSON.stringify(text)}, want a whole number from 1`);
  return Number(text);
}

/** `timestamp.json has 1 of 2 signatures`; of a later root also whose, because old keys and new ones must sign it. */
export function signingLine({ file, signed, threshold, root }: SigningState): string {
  return `${file} has ${signed} of ${threshold} signatures${root > 1 || file === "2.root.json" ? ` by the keys of root ${root}` : ""}`;
}
