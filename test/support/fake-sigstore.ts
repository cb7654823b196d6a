/**
 * Fakes of Sigstore's services with keys of their own, in memory and, for those who sign, on loopback: a certificate
 * authority with a certificate log (as Fulcio), transparency logs (as Rekor 1 and 2), a timestamp authority
 * (RFC 3161). They check nothing of what they are asked; what they answer is in the real services' form.
 */
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { KeylessServices } from "../../bundles/sign/keyless.ts";
import { bits, boolean, der, generalizedTime, integer, octets, oid, sequence, set, text, utcTime } from "./der.ts";

const MINUTE_MS = 60_000;
const YEAR_MS = 365 * 24 * 60 * MINUTE_MS;
const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));
const SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"));
const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
const TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
/** The name under which the logs sign checkpoints. */
const LOG_NAME = "log.example";

/** Of cosign 2; the other one is cosign 3's and ours. */
const FULCIO1_PATH = "/api/v1/signingCert";
const FULCIO2_PATH = "/api/v2/signingCert";
const REKOR1_PATH = "/api/v1/log/entries";
const REKOR2_PATH = "/api/v2/log/entries";

const newKey = (): KeyObject => generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
const spki = (key: KeyObject): Buffer =>
  (key.type === "private" ? createPublicKey(key) : key).export({ type: "spki", format: "der" });
const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const name = (common: string): Buffer => sequence(set(sequence(oid("2.5.4.3"), text(common))));
const extension = (id: string, isCritical: boolean, value: Uint8Array): Buffer =>
  sequence(oid(id), ...(isCritical ? [boolean(true)] : []), octets(value));

interface CertificateFields {
  readonly subject: Buffer;
  readonly publicKey: KeyObject;
  readonly from: Date;
  readonly until: Date;
  readonly serial?: Buffer;
  readonly extensions: readonly Uint8Array[];
}

function newSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = 0x41;
  return serial;
}

/** A small authority: a key, and a certificate over it by itself. */
class Authority {
  readonly key = newKey();
  readonly subject: Buffer;
  readonly certificate: Buffer;

  constructor(common: string) {
    this.subject = name(common);
    const extensions = [
      extension("2.5.29.19", true, sequence(boolean(true))),
      extension("2.5.29.15", true, der(0x03, Buffer.of(1, 0x06))),
    ];
    const now = Date.now();
    const [from, until] = [new Date(now - 10 * YEAR_MS), new Date(now + 10 * YEAR_MS)];
    this.certificate = this.issue({ subject: this.subject, publicKey: this.key, from, until, extensions });
  }

  tbs({ subject, publicKey, from, until, serial = newSerial(), extensions }: CertificateFields): Buffer {
    return sequence(
      der(0xa0, integer(2)),
      integer(serial),
      ECDSA_SHA256,
      this.subject,
      sequence(utcTime(from), utcTime(until)),
      subject,
      spki(publicKey),
      der(0xa3, sequence(...extensions)),
    );
  }

  seal(tbs: Buffer): Buffer {
    return sequence(tbs, ECDSA_SHA256, bits(sign("sha256", tbs, this.key)));
  }

  issue(fields: CertificateFields): Buffer {
    return this.seal(this.tbs(fields));
  }
}

export interface Witness {
  readonly envelope: object;
  /** What DSSE signs. */
  readonly signed: Buffer;
  readonly signature: Buffer;
  /** DER. */
  readonly certificate: Buffer;
}

export interface FakeOptions {
  /** When things are signed; now if not given. */
  readonly at?: Date;
  /** When certificates are made, if another time. */
  readonly certifiedAt?: Date;
}

export class FakeSigstore {
  readonly #fulcio = new Authority("fake fulcio");
  readonly #timestamps = new Authority("fake timestamps");
  readonly #timestampKey = newKey();
  readonly #timestampCertificate: Buffer;
  readonly #certificateLog = newKey();
  readonly #log = newKey();
  readonly #leaves: Buffer[] = [
    sha256(Buffer.of(0), Buffer.from("an entry before")),
    sha256(Buffer.of(0), Buffer.from("another")),
  ];
  readonly #now: () => Date;
  readonly #certifiedAt: () => Date;
  who = { identity: "rob@example.com", issuer: "https://issuer.example" };

  constructor({ at, certifiedAt }: FakeOptions = {}) {
    this.#now = () => at ?? new Date();
    this.#certifiedAt = () => certifiedAt ?? this.#now();
    const now = Date.now();
    this.#timestampCertificate = this.#timestamps.issue({
      subject: name("fake timestamp signer"),
      publicKey: this.#timestampKey,
      from: new Date(now - 9 * YEAR_MS),
      until: new Date(now + 9 * YEAR_MS),
      extensions: [extension("2.5.29.37", true, sequence(oid(TIME_STAMPING)))],
    });
  }

  /** As Sigstore's trusted_root.json; without what `without` names. */
  trustedRoot(
    without: "tlogs" | "ctlogs" | "timestampAuthorities" | "certificateAuthorities" | "nothing" = "nothing",
  ): Buffer {
    const start = new Date(Date.now() - 10 * YEAR_MS).toISOString();
    const log = (key: KeyObject, baseUrl: string) => ({
      baseUrl,
      hashAlgorithm: "SHA2_256",
      publicKey: { rawBytes: spki(key).toString("base64"), keyDetails: "PKIX_ECDSA_P256_SHA_256", validFor: { start } },
      logId: { keyId: sha256(spki(key)).toString("base64") },
    });
    const authority = (...certificates: readonly Buffer[]) => ({
      subject: { organization: "test", commonName: "fake" },
      uri: "https://authority.example",
      certChain: { certificates: certificates.map((one) => ({ rawBytes: one.toString("base64") })) },
      validFor: { start },
    });
    const root = {
      mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
      tlogs: [log(this.#log, `https://${LOG_NAME}`)],
      certificateAuthorities: [authority(this.#fulcio.certificate)],
      ctlogs: [log(this.#certificateLog, "https://ct.example")],
      timestampAuthorities: [authority(this.#timestampCertificate, this.#timestamps.certificate)],
    };
    return canonicalJson(without === "nothing" ? root : { ...root, [without]: [] });
  }

  /** For ten minutes, with the promise of the certificate log in it. */
  certify(publicKey: KeyObject): Buffer {
    const at = this.#certifiedAt();
    const { identity, issuer } = this.who;
    const isMail = identity.includes("@") && !identity.includes("://");
    const fields = {
      serial: newSerial(),
      subject: sequence(),
      publicKey,
      from: new Date(at.getTime() - MINUTE_MS),
      until: new Date(at.getTime() + 10 * MINUTE_MS),
      extensions: [
        extension("2.5.29.15", true, der(0x03, Buffer.of(7, 0x80))),
        extension("2.5.29.37", false, sequence(oid(CODE_SIGNING))),
        extension("2.5.29.17", true, sequence(der(isMail ? 0x81 : 0x86, Buffer.from(identity)))),
        extension("1.3.6.1.4.1.57264.1.8", false, text(issuer)),
      ],
    };
    const bare = this.#fulcio.tbs(fields);
    const promise = this.#promise(bare, at);
    const listed = octets(Buffer.concat([uint16(promise.length + 2), uint16(promise.length), promise]));
    const promises = extension("1.3.6.1.4.1.11129.2.4.2", false, listed);
    return this.#fulcio.issue({ ...fields, extensions: [...fields.extensions, promises] });
  }

  /** A signed certificate timestamp (RFC 6962, section 3.2) over the certificate without it. */
  #promise(bare: Buffer, at: Date): Buffer {
    const time = Buffer.alloc(8);
    time.writeBigUInt64BE(BigInt(at.getTime()));
    const issuer = sha256(spki(this.#fulcio.key));
    const length = Buffer.from([bare.length >> 16, (bare.length >> 8) & 0xff, bare.length & 0xff]);
    const signed = Buffer.concat([Buffer.of(0, 0), time, uint16(1), issuer, length, bare, uint16(0)]);
    const signature = sign("sha256", signed, this.#certificateLog);
    const logId = sha256(spki(this.#certificateLog));
    return Buffer.concat([Buffer.of(0), logId, time, uint16(0), Buffer.of(4, 3), uint16(signature.length), signature]);
  }

  /** What Rekor 1 answers to an envelope, as JSON. */
  logged1({ envelope, signature, certificate }: Omit<Witness, "signed">): object {
    const pem = new X509Certificate(certificate).toString();
    const { payload } = envelope as { payload: string };
    return this.#entry1("dsse", {
      envelopeHash: { algorithm: "sha256", value: sha256(Buffer.from(JSON.stringify(envelope))).toString("hex") },
      payloadHash: { algorithm: "sha256", value: sha256(Buffer.from(payload, "base64")).toString("hex") },
      signatures: [{ signature: signature.toString("base64"), verifier: Buffer.from(pem).toString("base64") }],
    });
  }

  #entry1(kind: "dsse" | "hashedrekord", spec: object): object {
    const body = canonicalJson({ apiVersion: "0.0.1", kind, spec });
    // By the number of a tree behind the name sigstore-go tells the log's version.
    const { index, hashes, root, size, checkpoint } = this.#append(body, `${LOG_NAME} - 1`);
    const logID = sha256(spki(this.#log)).toString("hex");
    const integratedTime = Math.floor(this.#now().getTime() / 1000);
    const promised = canonicalJson({ body: body.toString("base64"), integratedTime, logID, logIndex: index });
    return {
      [randomBytes(32).toString("hex")]: {
        body: body.toString("base64"),
        integratedTime,
        logID,
        logIndex: index,
        verification: {
          inclusionProof: {
            checkpoint,
            hashes: hashes.map((hash) => hash.toString("hex")),
            logIndex: index,
            rootHash: root.toString("hex"),
            treeSize: size,
          },
          signedEntryTimestamp: sign("sha256", promised, this.#log).toString("base64"),
        },
      },
    };
  }

  /** What Rekor 2 answers to a hashedrekord, as JSON. */
  logged2(digest: string, signature: { readonly content: string; readonly verifier: object }): object {
    const spec = { hashedRekordV002: { data: { algorithm: "SHA2_256", digest }, signature } };
    const body = canonicalJson({ apiVersion: "0.0.2", kind: "hashedrekord", spec });
    const { index, hashes, root, size, checkpoint } = this.#append(body, LOG_NAME);
    return {
      logIndex: String(index),
      logId: { keyId: sha256(spki(this.#log)).toString("base64") },
      kindVersion: { kind: "hashedrekord", version: "0.0.2" },
      integratedTime: "0",
      inclusionProof: {
        logIndex: String(index),
        rootHash: root.toString("base64"),
        treeSize: String(size),
        hashes: hashes.map((hash) => hash.toString("base64")),
        checkpoint: { envelope: checkpoint },
      },
      canonicalizedBody: body.toString("base64"),
    };
  }

  #append(body: Buffer, origin: string) {
    this.#leaves.push(sha256(Buffer.of(0), body));
    const index = this.#leaves.length - 1;
    const size = this.#leaves.length;
    const root = treeHash(this.#leaves);
    const note = `${origin}\n${size}\n${root.toString("base64")}\n`;
    const signed = Buffer.concat([
      sha256(spki(this.#log)).subarray(0, 4),
      sign("sha256", Buffer.from(note), this.#log),
    ]);
    const checkpoint = `${note}\n\u2014 ${LOG_NAME} ${signed.toString("base64")}\n`;
    return { index, hashes: auditPath(index, this.#leaves), root, size, checkpoint };
  }

  /** A TimeStampResp (RFC 3161) over the SHA-256 `imprint`. */
  timestamp(imprint: Buffer): Buffer {
    const info = sequence(
      integer(1),
      oid("1.3.6.1.4.1.57264.2"),
      sequence(SHA256, octets(imprint)),
      integer(7),
      generalizedTime(this.#now()),
    );
    const attributes = [
      sequence(oid("1.2.840.113549.1.9.3"), set(oid("1.2.840.113549.1.9.16.1.4"))),
      sequence(oid("1.2.840.113549.1.9.4"), set(octets(sha256(info)))),
    ];
    const signature = sign("sha256", set(...attributes), this.#timestampKey);
    const signer = sequence(
      integer(1),
      sequence(this.#timestamps.subject, serialOf(this.#timestampCertificate)),
      SHA256,
      der(0xa0, ...attributes),
      ECDSA_SHA256,
      octets(signature),
    );
    const signedData = sequence(
      integer(3),
      set(SHA256),
      sequence(oid("1.2.840.113549.1.9.16.1.4"), der(0xa0, octets(info))),
      set(signer),
    );
    return sequence(sequence(integer(0)), sequence(oid("1.2.840.113549.1.7.2"), der(0xa0, signedData)));
  }

  /** Serves all of it until the test ends. */
  async serve(t: TestContext, rekorVersion: 1 | 2 = 1): Promise<Required<KeylessServices>> {
    const server = createServer((request, response) => {
      void bodyOf(request).then((body) => {
        const answer = this.#answer(request.url ?? "", body);
        // By this header cosign finds its entry in what Rekor 1 answers.
        const headers = request.url === REKOR1_PATH && answer ? { ETag: firstName(answer) } : {};
        const created = [FULCIO1_PATH, REKOR1_PATH, REKOR2_PATH].includes(request.url ?? "") ? 201 : 200;
        response.writeHead(answer ? created : 404, headers).end(answer);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      server.close();
      server.closeAllConnections();
    });
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return { fulcio: base, rekor: base, rekorVersion, timestamp: `${base}/api/v1/timestamp` };
  }

  #answer(url: string, body: Buffer): Buffer | undefined {
    if (url === "/api/v1/timestamp") return this.timestamp(imprintOf(body));
    if (![FULCIO1_PATH, FULCIO2_PATH, REKOR1_PATH, REKOR2_PATH].includes(url)) return undefined;
    const asked = JSON.parse(body.toString()) as Record<string, unknown>;
    if (url === FULCIO1_PATH) {
      const { content } = asked["publicKey"] as { content: string };
      const key = createPublicKey(Buffer.from(content, "base64"));
      return Buffer.from(pemOf(this.certify(key)) + pemOf(this.#fulcio.certificate));
    }
    if (url === FULCIO2_PATH) {
      const { publicKey } = asked["publicKeyRequest"] as { publicKey: { content: string } };
      const pem = pemOf(this.certify(createPublicKey(publicKey.content)));
      return canonicalJson({ signedCertificateEmbeddedSct: { chain: { certificates: [pem] } } });
    }
    if (url === REKOR1_PATH && asked["kind"] === "hashedrekord") {
      return canonicalJson(this.#entry1("hashedrekord", asked["spec"] as object));
    }
    if (url === REKOR1_PATH) {
      const { proposedContent } = asked["spec"] as { proposedContent: { envelope: string; verifiers: string[] } };
      const envelope = JSON.parse(proposedContent.envelope) as { signatures: { sig: string }[] };
      const pem = Buffer.from(proposedContent.verifiers[0] ?? "", "base64").toString();
      const certificate = Buffer.from(pem.replace(/-----[A-Z ]+-----|\s/g, ""), "base64");
      const signature = Buffer.from(envelope.signatures[0]?.sig ?? "", "base64");
      return canonicalJson(this.logged1({ envelope, signature, certificate }));
    }
    const { digest, signature } = asked["hashedRekordRequestV002"] as {
      digest: string;
      signature: { content: string; verifier: object };
    };
    return canonicalJson(this.logged2(digest, signature));
  }
}

/** A token as the fake authority takes it; cosign 2 wants a signature in it, and checks none. */
export function identityToken(email: string): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signature = Buffer.alloc(64).toString("base64url");
  return `${part({ alg: "ES256" })}.${part({ email, email_verified: true, sub: "1" })}.${signature}`;
}

function uint16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 0xff);
}

/** RFC 6962, section 2.1. */
function treeHash(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 1) return leaves[0] as Buffer;
  const split = largestPowerBelow(leaves.length);
  return sha256(Buffer.of(1), treeHash(leaves.slice(0, split)), treeHash(leaves.slice(split)));
}

function auditPath(index: number, leaves: readonly Buffer[]): Buffer[] {
  if (leaves.length === 1) return [];
  const split = largestPowerBelow(leaves.length);
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)];
  return index < split
    ? [...auditPath(index, left), treeHash(right)]
    : [...auditPath(index - split, right), treeHash(left)];
}

function largestPowerBelow(count: number): number {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}

/** The integer behind the version in a certificate. */
function serialOf(certificate: Buffer): Buffer {
  const at = certificate.indexOf(Buffer.from("a003020102", "hex")) + 5;
  return certificate.subarray(at, at + 2 + (certificate[at + 1] as number));
}

/** The octets in a TimeStampReq that follow SHA-256's identifier. */
function imprintOf(query: Buffer): Buffer {
  const at = query.indexOf(oid("2.16.840.1.101.3.4.2.1"));
  return query.subarray(query.indexOf(Buffer.of(0x04, 32), at) + 2).subarray(0, 32);
}

const pemOf = (certificate: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${certificate.toString("base64")}\n-----END CERTIFICATE-----\n`;

const firstName = (json: Buffer): string => Object.keys(JSON.parse(json.toString()) as object)[0] ?? "";

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
