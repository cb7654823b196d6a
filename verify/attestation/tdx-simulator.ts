/**
 * A TDX platform that is none: its own root, certificates, quoting enclave, Intel's documents and lists, and quotes of
 * version 4 and 5. As with the simulator of SEV-SNP (simulator.ts) its keys are made in each run and never written, its
 * names say what it is, and only a policy of kind `tdx-simulated` that names its root takes its quotes; the verdict of
 * such a policy is never an allow. The impostor bears Intel's names: only the pinned key keeps it out.
 */
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { AsnConvert } from "@peculiar/asn1-schema";
import {
  AlgorithmIdentifier,
  Certificate,
  CertificateList,
  CRLNumber,
  type Extension,
  Extensions,
  RevokedCertificate,
  SubjectPublicKeyInfo,
  TBSCertificate,
  TBSCertList,
  Time,
  Validity,
  Version,
} from "@peculiar/asn1-x509";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { ECDSA_SHA256 } from "./certificate.ts";
import { SGX_EXTENSION } from "./sgx-extension.ts";
import { authorityExtensions, extension, nameOf } from "./simulated-certificate.ts";
import { tdxName } from "./verify-tdx.ts";

type Json = Record<string, unknown>;
interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export const TDX_FMSPC = "00806f050000";
/** Module 1.6, then the loader and the rest. */
export const TEE_TCB_SVN = [6, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
export const SGX_COMPONENTS = [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0];
export const PCE_SVN = 13;
export const PPID = Buffer.alloc(16, 0x5a);
/** SEPT_VE_DISABLE and nothing else. */
export const TD_ATTRIBUTES = 1n << 28n;
export const XFAM = 0x602e7n;
const YEAR_MS = 365 * 24 * 60 * 60 * 1000;
const MONTH_MS = 30 * 24 * 60 * 60 * 1000;

const register = (name: string): Buffer => createHash("sha384").update(name).digest();
export const MR_TD = register("firmware");
export const RTMRS = ["machine", "loader", "kernel", "applications"].map(register);

export interface QuoteFields {
  readonly version?: 4 | 5;
  /** Of a quote of version 5; version 4 knows the short one only. */
  readonly body?: "td-1.0" | "td-1.5";
  readonly teeTcbSvn?: readonly number[];
  readonly teeTcbSvnNow?: readonly number[];
  readonly mrSignerSeam?: Buffer;
  readonly seamAttributes?: Buffer;
  readonly tdAttributes?: bigint;
  readonly xfam?: bigint;
  readonly mrTd?: Buffer;
  readonly mrConfigId?: Buffer;
  readonly mrOwner?: Buffer;
  readonly mrOwnerConfig?: Buffer;
  readonly mrServiceTd?: Buffer;
  readonly rtmrs?: readonly Buffer[];
  readonly reportData?: Buffer;
  readonly qe?: {
    readonly mrSigner?: Buffer;
    readonly isvProdId?: number;
    readonly isvSvn?: number;
    readonly attributes?: Buffer;
    readonly miscSelect?: Buffer;
    /** Another key's hash than the attestation key's. */
    readonly reportData?: Buffer;
    /** Signs the enclave's report instead of the platform's key. */
    readonly signer?: KeyObject;
  };
  /** Signs the quote instead of the attestation key. */
  readonly signer?: KeyObject;
  readonly chain?: Buffer;
  /** Changes the quote before it is signed. */
  readonly edit?: (signed: Buffer) => void;
}

export interface TdxSimulatorOptions {
  readonly impostor?: boolean;
  readonly components?: readonly number[];
  readonly pceSvn?: number;
  readonly smtEnabled?: boolean | null;
  /** From when all of it is valid, by default from now: documents and lists for 30 days, certificates to `notAfter`. */
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

const QE_MRSIGNER = createHash("sha256").update("a quoting enclave's signer").digest();
const QE_PRODUCT = 2;
const QE_SVN = 4;
const QE_ATTRIBUTES = Buffer.from("11000000000000000000000000000000", "hex");

export class TdxSimulator {
  readonly #names: (name: string) => string;
  readonly #options: TdxSimulatorOptions;
  readonly #from: Date;
  readonly #root = p256();
  readonly #authority = p256();
  readonly #leaf = p256();
  readonly #signing = p256();
  readonly #attestation = p256();
  #serial = 1;
  readonly rootCertificate: Buffer;
  readonly authorityCertificate: Buffer;
  readonly leafCertificate: Buffer;
  readonly signingCertificate: Buffer;

  constructor(options: TdxSimulatorOptions = {}) {
    this.#options = options;
    this.#from = options.notBefore ?? new Date();
    const kind = options.impostor === true ? "intel" : "simulated";
    this.#names = (name) =>
      tdxName(kind === "intel" ? { kind } : { kind, root: digestOf("only the name is wanted") }, name);
    const root = this.#names("Intel SGX Root CA");
    const authority = this.#names("Intel SGX PCK Platform CA");
    this.rootCertificate = this.#certify(root, root, this.#root, this.#root, authorityExtensions());
    this.authorityCertificate = this.#certify(authority, root, this.#authority, this.#root, authorityExtensions());
    this.leafCertificate = this.#certify(
      this.#names("Intel SGX PCK Certificate"),
      authority,
      this.#leaf,
      this.#authority,
      [extension(SGX_EXTENSION, sgxExtension(options))],
    );
    this.signingCertificate = this.#certify(this.#names("Intel SGX TCB Signing"), root, this.#signing, this.#root, []);
  }

  /** What a policy of kind `tdx-simulated` names. */
  get root(): Digest {
    return digestOf(this.#root.publicKey.export({ type: "spki", format: "der" }));
  }

  /** PEM of leaf, authority and root, as a quote carries it. */
  get chain(): Buffer {
    const certificates = [this.leafCertificate, this.authorityCertificate, this.rootCertificate];
    return Buffer.from(`${certificates.map(pem).join("")}\0`);
  }

  quote(fields: QuoteFields = {}): Buffer {
    const { version = 4, chain = this.chain, qe = {} } = fields;
    const signed = Buffer.concat([header(version), ...body(fields)]);
    fields.edit?.(signed);
    const key = rawKey(this.#attestation.publicKey);
    const authData = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
    const report = enclaveReport(qe, createHash("sha256").update(key).update(authData).digest());
    const inner = Buffer.concat([
      report,
      raw(qe.signer ?? this.#leaf.privateKey, report),
      prefixed(2, authData),
      certification(5, chain),
    ]);
    const signatureData = Buffer.concat([
      raw(fields.signer ?? this.#attestation.privateKey, signed),
      key,
      certification(6, inner),
    ]);
    return Buffer.concat([signed, prefixed(4, signatureData)]);
  }

  /** TCB info that calls this platform up to date, signed; `change` edits it before. */
  tcbInfo(change: (info: Json) => void = () => {}, signer: KeyObject = this.#signing.privateKey): Buffer {
    const components = (values: readonly number[]) => values.map((svn) => ({ svn }));
    const level = (tdx: readonly number[], tcbStatus: string, advisoryIDs: readonly string[]) => ({
      tcb: {
        sgxtcbcomponents: components([2, 2, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]),
        pcesvn: 11,
        tdxtcbcomponents: components(tdx),
      },
      tcbDate: "2025-11-12T00:00:00Z",
      tcbStatus,
      advisoryIDs,
    });
    const identity = { mrsigner: "00".repeat(48), attributes: "00".repeat(8), attributesMask: "FF".repeat(8) };
    const info: Json = {
      id: "TDX",
      version: 3,
      ...this.#dates(),
      fmspc: TDX_FMSPC.toUpperCase(),
      pceId: "0000",
      tcbType: 0,
      tcbEvaluationDataNumber: 18,
      tdxModule: identity,
      tdxModuleIdentities: [
        {
          id: "TDX_01",
          ...identity,
          tcbLevels: [
            { tcb: { isvsvn: 5 }, tcbDate: "2025-11-12T00:00:00Z", tcbStatus: "UpToDate" },
            {
              tcb: { isvsvn: 2 },
              tcbDate: "2024-11-12T00:00:00Z",
              tcbStatus: "OutOfDate",
              advisoryIDs: ["INTEL-SA-01192"],
            },
          ],
        },
      ],
      tcbLevels: [
        level([5, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "UpToDate", []),
        level([5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "OutOfDate", ["INTEL-SA-01036"]),
      ],
    };
    change(info);
    return this.#document("tcbInfo", info, signer);
  }

  enclaveIdentity(change: (identity: Json) => void = () => {}, signer: KeyObject = this.#signing.privateKey): Buffer {
    const identity: Json = {
      id: "TD_QE",
      version: 2,
      ...this.#dates(),
      tcbEvaluationDataNumber: 18,
      miscselect: "00000000",
      miscselectMask: "FFFFFFFF",
      attributes: QE_ATTRIBUTES.toString("hex"),
      attributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
      mrsigner: QE_MRSIGNER.toString("hex").toUpperCase(),
      isvprodid: QE_PRODUCT,
      tcbLevels: [
        { tcb: { isvsvn: QE_SVN }, tcbDate: "2025-11-12T00:00:00Z", tcbStatus: "UpToDate" },
        {
          tcb: { isvsvn: 2 },
          tcbDate: "2024-11-12T00:00:00Z",
          tcbStatus: "OutOfDate",
          advisoryIDs: ["INTEL-SA-00837"],
        },
      ],
    };
    change(identity);
    return this.#document("enclaveIdentity", identity, signer);
  }

  #dates(): Json {
    const seconds = (date: Date): string => `${date.toISOString().slice(0, 19)}Z`;
    return { issueDate: seconds(this.#from), nextUpdate: seconds(new Date(this.#from.getTime() + MONTH_MS)) };
  }

  #document(name: string, document: Json, signer: KeyObject): Buffer {
    const inner = JSON.stringify(document);
    return Buffer.from(`{"${name}":${inner},"signature":"${raw(signer, Buffer.from(inner)).toString("hex")}"}`);
  }

  /** All that a verifier needs beside the quote. */
  collateral({ platform = this.revocationList("platform") } = {}): { name: string; bytes: Buffer }[] {
    return [
      { name: "signing.der", bytes: this.signingCertificate },
      { name: "tcb-info.json", bytes: this.tcbInfo() },
      { name: "qe-identity.json", bytes: this.enclaveIdentity() },
      { name: "root.crl", bytes: this.revocationList("root") },
      { name: "platform.crl", bytes: platform },
    ];
  }

  /** A revocation list, DER, of the root or of the platform's authority. */
  revocationList(of: "root" | "platform", changes: ListChanges = {}): Buffer {
    const {
      number = 1,
      thisUpdate = this.#from,
      nextUpdate = new Date(this.#from.getTime() + MONTH_MS),
      revoked = [],
    } = changes;
    const issuer = this.#names(of === "root" ? "Intel SGX Root CA" : "Intel SGX PCK Platform CA");
    const signer = changes.signer ?? (of === "root" ? this.#root : this.#authority).privateKey;
    const tbsCertList = new TBSCertList({
      version: Version.v2,
      signature: ecdsa(),
      issuer: nameOf(issuer),
      thisUpdate: new Time(thisUpdate),
      nextUpdate: new Time(nextUpdate),
      crlExtensions: [extension("2.5.29.20", Buffer.from(AsnConvert.serialize(new CRLNumber(number))))],
    });
    if (revoked.length > 0) {
      tbsCertList.revokedCertificates = revoked.map(
        (certificate) =>
          new RevokedCertificate({
            userCertificate: AsnConvert.parse(certificate, Certificate).tbsCertificate.serialNumber,
            revocationDate: new Time(thisUpdate),
          }),
      );
    }
    const signature = der(signer, AsnConvert.serialize(tbsCertList));
    return Buffer.from(
      AsnConvert.serialize(new CertificateList({ tbsCertList, signatureAlgorithm: ecdsa(), signature })),
    );
  }

  #certify(subject: string, issuer: string, key: KeyPair, signer: KeyPair, extensions: readonly Extension[]): Buffer {
    const notBefore = this.#from;
    const { notAfter = new Date(notBefore.getTime() + 7 * YEAR_MS) } = this.#options;
    const tbsCertificate = new TBSCertificate({
      version: Version.v3,
      serialNumber: Uint8Array.of(this.#serial++).buffer,
      signature: ecdsa(),
      issuer: nameOf(issuer),
      validity: new Validity({ notBefore, notAfter }),
      subject: nameOf(subject),
      subjectPublicKeyInfo: AsnConvert.parse(
        key.publicKey.export({ type: "spki", format: "der" }),
        SubjectPublicKeyInfo,
      ),
      extensions: new Extensions([...extensions]),
    });
    const signatureValue = der(signer.privateKey, AsnConvert.serialize(tbsCertificate));
    return Buffer.from(
      AsnConvert.serialize(new Certificate({ tbsCertificate, signatureAlgorithm: ecdsa(), signatureValue })),
    );
  }
}

export interface ListChanges {
  readonly number?: number;
  readonly thisUpdate?: Date;
  readonly nextUpdate?: Date;
  /** Certificates, DER. */
  readonly revoked?: readonly Buffer[];
  readonly signer?: KeyObject;
}

const p256 = (): KeyPair => generateKeyPairSync("ec", { namedCurve: "P-256" });

function raw(key: KeyObject, bytes: Buffer): Buffer {
  return sign("sha256", bytes, { key, dsaEncoding: "ieee-p1363" });
}

function der(key: KeyObject, bytes: ArrayBuffer): ArrayBuffer {
  return new Uint8Array(sign("sha256", Buffer.from(bytes), key)).buffer;
}

function rawKey(key: KeyObject): Buffer {
  const { x = "", y = "" } = key.export({ format: "jwk" });
  return Buffer.concat([x, y].map((part) => Buffer.from(part, "base64url")));
}

function pem(certificate: Buffer): string {
  const lines = certificate.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function prefixed(lengthBytes: 2 | 4, bytes: Buffer): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeUIntLE(bytes.length, 0, lengthBytes);
  return Buffer.concat([length, bytes]);
}

function certification(type: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, 0]), prefixed(4, bytes)]);
}

function header(version: number): Buffer {
  const bytes = Buffer.alloc(48);
  bytes.writeUInt16LE(version, 0);
  bytes.writeUInt16LE(2, 2);
  bytes.writeUInt32LE(0x81, 4);
  Buffer.from("939a7233f79c4ca9940a0db3957f0607", "hex").copy(bytes, 12);
  return bytes;
}

function body(fields: QuoteFields): Buffer[] {
  const { version = 4, teeTcbSvn = TEE_TCB_SVN, rtmrs = RTMRS } = fields;
  const isLong = version === 5 && (fields.body ?? "td-1.5") === "td-1.5";
  const quad = (value: bigint): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    return bytes;
  };
  const zeros = (length: number): Buffer => Buffer.alloc(length);
  const report = Buffer.concat([
    Buffer.from(teeTcbSvn),
    register("module"),
    fields.mrSignerSeam ?? zeros(48),
    fields.seamAttributes ?? zeros(8),
    quad(fields.tdAttributes ?? TD_ATTRIBUTES),
    quad(fields.xfam ?? XFAM),
    fields.mrTd ?? MR_TD,
    fields.mrConfigId ?? zeros(48),
    fields.mrOwner ?? zeros(48),
    fields.mrOwnerConfig ?? zeros(48),
    ...rtmrs,
    fields.reportData ?? zeros(64),
    ...(isLong ? [Buffer.from(fields.teeTcbSvnNow ?? teeTcbSvn), fields.mrServiceTd ?? zeros(48)] : []),
  ]);
  if (version === 4) return [report];
  return [Buffer.from([isLong ? 3 : 2, 0]), prefixed(4, report)];
}

function enclaveReport(qe: NonNullable<QuoteFields["qe"]>, keyDigest: Buffer): Buffer {
  const bytes = Buffer.alloc(384);
  (qe.miscSelect ?? Buffer.alloc(4)).copy(bytes, 16);
  (qe.attributes ?? QE_ATTRIBUTES).copy(bytes, 48);
  (qe.mrSigner ?? QE_MRSIGNER).copy(bytes, 128);
  bytes.writeUInt16LE(qe.isvProdId ?? QE_PRODUCT, 256);
  bytes.writeUInt16LE(qe.isvSvn ?? QE_SVN, 258);
  (qe.reportData ?? keyDigest).copy(bytes, 320);
  return bytes;
}

const ecdsa = (): AlgorithmIdentifier => new AlgorithmIdentifier({ algorithm: ECDSA_SHA256 });

/** The extension of a platform's certificate, as Intel orders it. */
export function sgxExtension({
  components = SGX_COMPONENTS,
  pceSvn = PCE_SVN,
  smtEnabled = false,
}: TdxSimulatorOptions): Buffer {
  const tlv = (tag: number, content: Buffer): Buffer => {
    const length =
      content.length < 0x80
        ? Buffer.from([content.length])
        : content.length < 0x100
          ? Buffer.from([0x81, content.length])
          : Buffer.from([0x82, content.length >> 8, content.length & 0xff]);
    return Buffer.concat([Buffer.from([tag]), length, content]);
  };
  const integer = (value: number): Buffer => {
    const bytes = value > 0x7fff ? [0, value >> 8, value & 0xff] : value > 0x7f ? [value >> 8, value & 0xff] : [value];
    return tlv(2, Buffer.from(bytes));
  };
  const pair = (path: readonly number[], value: Buffer): Buffer => {
    const oid = tlv(6, Buffer.concat([Buffer.from("2a864886f84d010d01", "hex"), Buffer.from(path)]));
    return tlv(0x30, Buffer.concat([oid, value]));
  };
  const octets = (bytes: Buffer): Buffer => tlv(4, bytes);
  const tcb = [
    ...components.map((svn, i) => pair([2, i + 1], integer(svn))),
    pair([2, 17], integer(pceSvn)),
    pair([2, 18], octets(Buffer.from(components))),
  ];
  const boolean = (value: boolean): Buffer => tlv(1, Buffer.from([value ? 0xff : 0]));
  const configuration = [
    pair([7, 1], boolean(true)),
    pair([7, 2], boolean(true)),
    pair([7, 3], boolean(smtEnabled === true)),
  ];
  return tlv(
    0x30,
    Buffer.concat([
      pair([1], octets(PPID)),
      pair([2], tlv(0x30, Buffer.concat(tcb))),
      pair([3], octets(Buffer.alloc(2))),
      pair([4], octets(Buffer.from(TDX_FMSPC, "hex"))),
      pair([5], tlv(0x0a, Buffer.from([1]))),
      ...(smtEnabled === null ? [] : [pair([7], tlv(0x30, Buffer.concat(configuration)))]),
    ]),
  );
}
