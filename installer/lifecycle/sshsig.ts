/**
 * SSH signatures (openssh-portable PROTOCOL.sshsig, PROTOCOL.u2f), read by ourselves after ssh-keygen has
 * verified them: which key signed what namespace, and whether a hardware key was touched, which
 * `ssh-keygen -Y verify` does not ask. No cryptography here.
 */
import { readKeyBlob, type SshKey, type SshKeyType, WireError, WireReader } from "../site/ssh-key.ts";
import { lifecycleError } from "./error.ts";

export interface SshSignature {
  readonly key: SshKey;
  readonly namespace: string;
  readonly hashAlgorithm: "sha256" | "sha512";
  /** As in the signature blob, e.g. `rsa-sha2-512`. */
  readonly algorithm: string;
  /** Of a FIDO key: somebody touched it (bit 0 of the authenticator's flags). Undefined of other keys. */
  readonly touched: boolean | undefined;
}

/** Larger than any signature with the key kinds that are allowed. */
export const SIGNATURE_MAX_BYTES = 32 * 1024;

const ARMOR = /^-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/=]{1,76}\n)+)-----END SSH SIGNATURE-----\n?$/;

const ALGORITHMS: Readonly<Record<SshKeyType, readonly string[]>> = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "sk-ssh-ed25519@openssh.com": ["sk-ssh-ed25519@openssh.com"],
  // The webauthn form signs a browser's words about the message, not the message: not accepted.
  "sk-ecdsa-sha2-nistp256@openssh.com": ["sk-ecdsa-sha2-nistp256@openssh.com"],
  "ssh-rsa": ["rsa-sha2-256", "rsa-sha2-512"],
};

const TOUCHED = 0x01;

/** @throws AUTHORIZATION_SIGNATURE_MALFORMED, also for a certificate, a key kind or algorithm that is not allowed */
export function parseSshSignature(armored: Uint8Array, name: string): SshSignature {
  try {
    if (armored.length > SIGNATURE_MAX_BYTES) throw new WireError("longer than any signature");
    const body = ARMOR.exec(Buffer.from(armored).toString("latin1").replaceAll("\r\n", "\n"))?.[1];
    if (body === undefined) throw new WireError('not one block "SSH SIGNATURE"');
    const base64 = body.replaceAll("\n", "");
    const blob = Buffer.from(base64, "base64");
    if (blob.toString("base64") !== base64) throw new WireError("not base64 in its one form");
    return readSignature(new WireReader(blob));
  } catch (cause) {
    if (!(cause instanceof WireError)) throw cause;
    throw lifecycleError("AUTHORIZATION_SIGNATURE_MALFORMED", `signature ${JSON.stringify(name)}: ${cause.message}`, {
      cause,
      hints: ["sign again: ssh-keygen -Y sign -n sealift-authorization -f KEY FILE.request"],
    });
  }
}

function readSignature(reader: WireReader): SshSignature {
  if (reader.bytes(6).toString("latin1") !== "SSHSIG") throw new WireError("not an SSHSIG");
  const version = reader.uint32();
  if (version !== 1) throw new WireError(`got version ${version}, want 1`);
  const key = readKeyBlob(reader.string());
  const namespace = reader.text();
  if (reader.string().length !== 0) throw new WireError("the reserved field is not empty");
  const hashAlgorithm = reader.text();
  if (hashAlgorithm !== "sha256" && hashAlgorithm !== "sha512") {
    throw new WireError(`got hash ${JSON.stringify(hashAlgorithm)}, want sha256 or sha512`);
  }
  const signature = new WireReader(reader.string());
  reader.end();
  const algorithm = signature.text();
  if (!ALGORITHMS[key.type].includes(algorithm)) {
    throw new WireError(`got algorithm ${JSON.stringify(algorithm)} of a key of type ${key.type}`);
  }
  signature.string();
  let touched: boolean | undefined;
  if (key.isHardware) {
    touched = (signature.byte() & TOUCHED) !== 0;
    signature.uint32();
  }
  signature.end();
  return { key, namespace, hashAlgorithm, algorithm, touched };
}
