/**
 * Signing without a key of one's own, on the connected side: a certificate authority (Fulcio) vouches for a
 * fresh key, a transparency log (Rekor 1 or 2) and a timestamp authority (RFC 3161) witness the signature.
 * The result is a Sigstore bundle v0.3 that `verify` judges without a network.
 *
 * Nothing that a service answers is believed here beyond its form: the release trust says whose answers count,
 * and `verify` finds out. What is signed becomes public in a public log: its digest, and who signed.
 */
import { createHash, createPublicKey, generateKeyPairSync, randomBytes, sign, X509Certificate } from "node:crypto";
import { preAuthEncoding } from "@sigstore/core/dist/dsse.js";
import { TransparencyLogEntry } from "@sigstore/protobuf-specs";
import { renderCertificateBundle } from "../layout/certificate-bundle.ts";
import { canonicalJson } from "../model/canonical-json.ts";
import { IN_TOTO_PAYLOAD, SIGSTORE_BUNDLE } from "../model/media-types.ts";
import { reasonOf } from "../model/sealift-error.ts";
import { signError } from "./error.ts";

export interface KeylessServices {
  /** Base URLs. */
  readonly fulcio: string;
  readonly rekor: string;
  /** Which of its two interfaces the log has. */
  readonly rekorVersion: 1 | 2;
  /** The whole URL of an RFC 3161 service. A log of version 2 gives no time, so it needs one. */
  readonly timestamp?: string;
}

const ANSWER_MAX_BYTES = 1024 * 1024;
const TIMEOUT_MS = 60_000;

/**
 * The bundle (canonical JSON) of `statement`, signed as the person or program of the OpenID Connect `token`.
 * A key and a certificate of its own for each call; the key is forgotten.
 * @throws KEYLESS_TOKEN_MALFORMED | KEYLESS_FAILED if a service refuses, or does not answer as it must
 */
export async function signStatementKeyless(
  statement: Buffer,
  token: string,
  services: KeylessServices,
): Promise<Buffer> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = publicKey.export({ type: "spki", format: "pem" }).toString();
  const possession = sign("sha256", Buffer.from(subjectOf(token)), privateKey).toString("base64");
  const certificate = await requestCertificate(services.fulcio, token, pem, possession);
  if (!certificate.publicKey.equals(createPublicKey(privateKey))) {
    throw failed(services.fulcio, "its certificate is for another key");
  }
  const signed = preAuthEncoding(IN_TOTO_PAYLOAD, statement);
  const signature = sign("sha256", signed, privateKey);
  const envelope = {
    payload: statement.toString("base64"),
    payloadType: IN_TOTO_PAYLOAD,
    signatures: [{ sig: signature.toString("base64") }],
  };
  const log = services.rekorVersion === 1 ? logInRekor1 : logInRekor2;
  const entry = await log(services.rekor, { envelope, signed, signature, certificate });
  const timestamps = services.timestamp === undefined ? [] : [await requestTimestamp(services.timestamp, signature)];
  const bundle = renderCertificateBundle(
    canonicalJson({
      mediaType: SIGSTORE_BUNDLE,
      verificationMaterial: {
        certificate: { rawBytes: certificate.raw.toString("base64") },
        tlogEntries: [TransparencyLogEntry.toJSON(entry)],
        timestampVerificationData: {
          rfc3161Timestamps: timestamps.map((reply) => ({ signedTimestamp: reply.toString("base64") })),
        },
      },
      dsseEnvelope: envelope,
    }),
  );
  if (bundle) return bundle;
  throw failed(services.rekor, "its entry makes no Sigstore bundle");
}

/** What Fulcio wants a proof over: the e-mail address, if the issuer has checked it, or the subject. */
function subjectOf(token: string): string {
  try {
    const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8")) as {
      readonly email?: string;
      readonly email_verified?: boolean;
      readonly sub?: string;
    };
    const subject = claims.email === undefined ? claims.sub : claims.email_verified === true ? claims.email : undefined;
    if (typeof subject === "string" && subject !== "") return subject;
  } catch {}
  throw signError("KEYLESS_TOKEN_MALFORMED", "identity token: not a JSON Web Token with a subject or checked e-mail", {
    hints: ["ask your OpenID Connect issuer for a new one, with the audience that the certificate authority wants"],
  });
}

async function requestCertificate(
  base: string,
  token: string,
  publicKey: string,
  possession: string,
): Promise<X509Certificate> {
  const url = `${trimmed(base)}/api/v2/signingCert`;
  const answer = await postJson(url, {
    credentials: { oidcIdentityToken: token },
    publicKeyRequest: { publicKey: { algorithm: "ECDSA", content: publicKey }, proofOfPossession: possession },
  });
  try {
    const { signedCertificateEmbeddedSct } = answer as {
      signedCertificateEmbeddedSct?: { chain?: { certificates?: readonly string[] } };
    };
    return new X509Certificate(signedCertificateEmbeddedSct?.chain?.certificates?.[0] ?? "");
  } catch (cause) {
    throw failed(url, "gave no certificate with an embedded log promise", cause);
  }
}

interface ToLog {
  readonly envelope: object;
  readonly signed: Buffer;
  readonly signature: Buffer;
  readonly certificate: X509Certificate;
}

async function logInRekor1(base: string, { envelope, certificate }: ToLog): Promise<TransparencyLogEntry> {
  const url = `${trimmed(base)}/api/v1/log/entries`;
  const verifiers = [Buffer.from(certificate.toString()).toString("base64")];
  const spec = { proposedContent: { envelope: JSON.stringify(envelope), verifiers } };
  const answer = await postJson(url, { apiVersion: "0.0.1", kind: "dsse", spec });
  try {
    const [entry] = Object.values(answer as Record<string, Rekor1Entry>);
    const { body, integratedTime, logID, logIndex, verification } = entry as Rekor1Entry;
    const { inclusionProof, signedEntryTimestamp } = verification;
    return TransparencyLogEntry.fromJSON({
      logIndex: String(logIndex),
      logId: { keyId: Buffer.from(logID, "hex").toString("base64") },
      kindVersion: { kind: "dsse", version: "0.0.1" },
      integratedTime: String(integratedTime),
      inclusionPromise: { signedEntryTimestamp },
      inclusionProof: {
        logIndex: String(inclusionProof.logIndex),
        rootHash: Buffer.from(inclusionProof.rootHash, "hex").toString("base64"),
        treeSize: String(inclusionProof.treeSize),
        hashes: inclusionProof.hashes.map((hash) => Buffer.from(hash, "hex").toString("base64")),
        checkpoint: { envelope: inclusionProof.checkpoint },
      },
      canonicalizedBody: body,
    });
  } catch (cause) {
    throw failed(url, "gave no log entry", cause);
  }
}

interface Rekor1Entry {
  readonly body: string;
  readonly integratedTime: number;
  readonly logID: string;
  readonly logIndex: number;
  readonly verification: {
    readonly inclusionProof: {
      readonly checkpoint: string;
      readonly hashes: readonly string[];
      readonly logIndex: number;
      readonly rootHash: string;
      readonly treeSize: number;
    };
    readonly signedEntryTimestamp: string;
  };
}

/** As `hashedrekord` over what DSSE signs, which is how rekor-tiles takes envelopes. */
async function logInRekor2(base: string, { signed, signature, certificate }: ToLog): Promise<TransparencyLogEntry> {
  const url = `${trimmed(base)}/api/v2/log/entries`;
  const verifier = {
    x509Certificate: { rawBytes: certificate.raw.toString("base64") },
    keyDetails: "PKIX_ECDSA_P256_SHA_256",
  };
  const digest = createHash("sha256").update(signed).digest("base64");
  const request = { digest, signature: { content: signature.toString("base64"), verifier } };
  const answer = await postJson(url, { hashedRekordRequestV002: request });
  try {
    return TransparencyLogEntry.fromJSON(answer);
  } catch (cause) {
    throw failed(url, "gave no log entry", cause);
  }
}

/** AlgorithmIdentifier of SHA-256, and the frame of a TimeStampReq (RFC 3161, section 2.4.1) around the digest. */
const SHA256_IDENTIFIER = Buffer.from("300d06096086480165030402010500", "hex");
const NONCE_BYTES = 8;

async function requestTimestamp(url: string, signature: Buffer): Promise<Buffer> {
  const digest = createHash("sha256").update(signature).digest();
  const imprint = der(0x30, SHA256_IDENTIFIER, der(0x04, digest));
  const nonce = randomBytes(NONCE_BYTES);
  // A leading bit would make it negative, a leading zero would not be DER.
  nonce[0] = ((nonce[0] as number) & 0x7f) | 0x40;
  const query = der(0x30, der(0x02, Buffer.of(1)), imprint, der(0x02, nonce), der(0x01, Buffer.of(0xff)));
  const reply = await post(url, "application/timestamp-query", query);
  if (reply[0] === 0x30) return reply;
  throw failed(url, "gave no timestamp reply");
}

/** One value in DER of at most 65535 bytes. */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...size), content]);
}

async function postJson(url: string, value: unknown): Promise<unknown> {
  const answer = await post(url, "application/json", Buffer.from(JSON.stringify(value)));
  try {
    return JSON.parse(answer.toString("utf8")) as unknown;
  } catch (cause) {
    throw failed(url, "answered with something that is not JSON", cause);
  }
}

async function post(url: string, type: string, body: Buffer): Promise<Buffer> {
  try {
    const headers = { "content-type": type, accept: "*/*" };
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(url, {
      method: "POST",
      headers,
      body: new Uint8Array(body),
      redirect: "error",
      signal,
    });
    const answer = await bounded(response);
    if (response.ok) return answer;
    throw new TypeError(`HTTP ${response.status}`);
  } catch (cause) {
    throw failed(url, reasonOf(cause), cause);
  }
}

async function bounded(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    bytes += chunk.byteLength;
    if (bytes > ANSWER_MAX_BYTES) throw new RangeError(`its answer is larger than ${ANSWER_MAX_BYTES} bytes`);
  }
  return Buffer.concat(chunks);
}

function trimmed(base: string): string {
  return base.replace(/\/+$/, "");
}

function failed(url: string, what: string, cause?: unknown): Error {
  return signError("KEYLESS_FAILED", `service ${JSON.stringify(url)}: ${what}`, {
    cause,
    hints: ["nothing was attached; a token lives for minutes only, so ask for a new one before you try again"],
  });
}
