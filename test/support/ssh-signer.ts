/** SSH keys and signatures (PROTOCOL.sshsig, PROTOCOL.u2f) made in memory, FIDO keys among them. */
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { NAMESPACE } from "../../installer/site/allowed-signers.ts";
import { parseSshKey, type SshKey } from "../../installer/site/ssh-key.ts";

export function wireString(bytes: Uint8Array | string): Buffer {
  const body = Buffer.from(bytes as string);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

export interface TestSigner {
  readonly key: SshKey;
  readonly blob: Buffer;
  readonly privateKey: KeyObject;
  readonly type: string;
}

const APPLICATION = "ssh:";

/** An Ed25519 key, in software or as a FIDO token would hold it. */
export function makeSigner(type: "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" = "ssh-ed25519"): TestSigner {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x as string, "base64url");
  const fields = [wireString(type), wireString(raw), ...(type.startsWith("sk-") ? [wireString(APPLICATION)] : [])];
  const blob = Buffer.concat(fields);
  return { key: parseSshKey(type, blob.toString("base64"), "test"), blob, privateKey, type };
}

export interface SignatureOptions {
  readonly namespace?: string;
  /** Of the authenticator; 1 is "somebody touched it", 4 "and said who". */
  readonly flags?: number;
  readonly hash?: string;
  readonly reserved?: string;
  /** Another key blob than the one that signs. */
  readonly blob?: Buffer;
}

export function sshSign(signer: TestSigner, message: Uint8Array, options: SignatureOptions = {}): Buffer {
  const { namespace = NAMESPACE, flags = 1, hash = "sha512", reserved = "", blob = signer.blob } = options;
  const digest = createHash(hash).update(message).digest();
  const fields = [namespace, reserved, hash].map(wireString);
  const signed = Buffer.concat([Buffer.from("SSHSIG"), ...fields, wireString(digest)]);
  const counter = Buffer.from([0, 0, 0, 7]);
  const tail = signer.type.startsWith("sk-") ? Buffer.concat([Buffer.from([flags]), counter]) : Buffer.alloc(0);
  const sha256 = (bytes: Uint8Array | string) => createHash("sha256").update(bytes).digest();
  const toSign = tail.length > 0 ? Buffer.concat([sha256(APPLICATION), tail, sha256(signed)]) : signed;
  const inner = [wireString(signer.type), wireString(sign(null, toSign, signer.privateKey)), tail];
  const version = Buffer.from([0, 0, 0, 1]);
  const whole = [Buffer.from("SSHSIG"), version, wireString(blob), ...fields, wireString(Buffer.concat(inner))];
  return armor(Buffer.concat(whole));
}

export function armor(blob: Buffer): Buffer {
  const lines = blob.toString("base64").match(/.{1,70}/g) ?? [];
  return Buffer.from(["-----BEGIN SSH SIGNATURE-----", ...lines, "-----END SSH SIGNATURE-----", ""].join("\n"));
}
