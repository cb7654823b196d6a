/**
 * A secret on its way to one machine: HPKE (RFC 9180) in base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
 * AES-256-GCM. Base mode says nothing about who sealed it: the receipt beside it is signed (release-file.ts).
 */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { attestationError } from "./error.ts";

/** A key file of LUKS, for one; what it is for is the site's business. */
export const UNLOCK_KEY_MIN_BYTES = 16;
export const UNLOCK_KEY_MAX_BYTES = 4096;
export const TRANSPORT_KEY_BYTES = 32;

const INFO = Buffer.from("sealift-attestation-unlock-key-v1");

/** What the secret is sealed for: it opens with the same values only. */
export interface SealedFor {
  readonly challenge: Digest;
  readonly verdict: Digest;
  readonly siteId: string;
}

export interface SealedKey {
  /** The sender's public key of this one message, 32 bytes. */
  readonly encapsulated: Buffer;
  readonly ciphertext: Buffer;
}

export interface TransportKey {
  readonly publicKey: Buffer;
  readonly privateKey: Buffer;
}

function suite(): CipherSuite {
  return new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
}

const aadOf = ({ challenge, verdict, siteId }: SealedFor): Buffer => canonicalJson({ challenge, siteId, verdict });

/** A new pair, 32 bytes each. */
export async function makeTransportKey(): Promise<TransportKey> {
  const { kem } = suite();
  const pair = await kem.generateKeyPair();
  return {
    publicKey: Buffer.from(await kem.serializePublicKey(pair.publicKey)),
    privateKey: Buffer.from(await kem.serializePrivateKey(pair.privateKey)),
  };
}

/** `transportKey` must be from evidence that was allowed. @throws ATTEST_RELEASE_MALFORMED for a key of low order */
export async function sealKey(secret: Buffer, transportKey: Buffer, to: SealedFor): Promise<SealedKey> {
  try {
    const { kem } = suite();
    const recipientPublicKey = await kem.deserializePublicKey(transportKey);
    const sender = await suite().createSenderContext({ recipientPublicKey, info: INFO });
    const ciphertext = Buffer.from(await sender.seal(secret, aadOf(to)));
    return { encapsulated: Buffer.from(sender.enc), ciphertext };
  } catch (cause) {
    throw attestationError("ATTEST_RELEASE_MALFORMED", "the transport key of the evidence takes no secret", { cause });
  }
}

/** @throws ATTEST_RELEASE_UNOPENED, for whatever reason: HPKE says no more */
export async function openKey(sealed: SealedKey, privateKey: Buffer, to: SealedFor): Promise<Buffer> {
  try {
    const { kem } = suite();
    const recipientKey = await kem.deserializePrivateKey(privateKey);
    const recipient = await suite().createRecipientContext({ recipientKey, enc: sealed.encapsulated, info: INFO });
    return Buffer.from(await recipient.open(sealed.ciphertext, aadOf(to)));
  } catch (cause) {
    throw attestationError("ATTEST_RELEASE_UNOPENED", "release: it was not sealed for this challenge and this VM", {
      cause,
    });
  }
}
