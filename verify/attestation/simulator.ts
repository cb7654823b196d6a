/**
 * A processor that is none: makes evidence of the same form as AMD's, for demonstrations and tests on machines
 * without SEV-SNP. Its keys are made in each run and never written. Its certificates say what they are, and only
 * a policy of kind `sev-snp-simulated` that names its root takes them; the verdict of such a policy is never an
 * allow. The impostor bears AMD's own names, so that it can be shown that only the pinned key keeps it out.
 */
import { constants, createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
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
import { authorityExtensions, extension, nameOf } from "./simulated-certificate.ts";
import { hardwareIdBytes, type SnpProduct, type Tcb, tcbPartsOf, writeTcb } from "./snp-product.ts";
import { SNP_REPORT_BYTES, SNP_SIGNED_BYTES, type SnpSigner } from "./snp-report.ts";
import { AMD_OID, authorityNames, HARDWARE_ID, LEAF_NAMES, PRODUCT_NAME, TCB_OIDS } from "./verify-snp.ts";

export interface SimulatorOptions {
  readonly product?: SnpProduct;
  readonly signer?: SnpSigner;
  /** AMD's names instead of the simulator's own. */
  readonly impostor?: boolean;
  /** As AMD's have; tests take fewer, which are made faster. */
  readonly rsaBits?: number;
  /** When the certificates begin to be valid. */
  readonly notBefore?: Date;
}

/** What the simulated firmware is asked to say; the rest has plain values. */
export interface SimulatedFields {
  readonly version?: number;
  readonly guestPolicy?: bigint;
  readonly platformInfo?: bigint;
  readonly vmpl?: number;
  readonly guestSvn?: number;
  readonly reportData?: Buffer;
  readonly measurement?: Buffer;
  readonly hostData?: Buffer;
  readonly chipId?: Buffer;
  readonly tcb?: Tcb;
  readonly committedTcb?: Tcb;
  readonly launchTcb?: Tcb;
  readonly mitigations?: bigint;
  /** Changes the report before it is signed. */
  readonly edit?: (report: Buffer) => void;
}

export interface ListFields {
  readonly number: number;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** Also revokes the intermediate. */
  readonly revokeIntermediate?: boolean;
}

const YEARS = 365 * 24 * 60 * 60 * 1000;
/** What the simulated firmware is by default. */
export const SIMULATED_TCB: Tcb = { fmc: 0, bootloader: 4, tee: 0, snp: 24, microcode: 219 };
/** SMT allowed, and the bit that is always set. */
export const SIMULATED_GUEST_POLICY = 0x3_0000n;
const SMT_ECC_ALIAS_CHECKED = 0x25n;
const CPUID: Readonly<Record<SnpProduct, readonly [family: number, model: number, stepping: number]>> = {
  Milan: [0x19, 0x01, 1],
  Genoa: [0x19, 0x11, 1],
  Turin: [0x1a, 0x02, 1],
};
const CHIP_ID_BYTES = 64;
const ROOT_SERIAL = 1;
const INTERMEDIATE_SERIAL = 2;

export class Simulator {
  readonly product: SnpProduct;
  readonly #signer: SnpSigner;
  readonly #names: { readonly root: string; readonly intermediate: string };
  readonly #notBefore: Date;
  readonly #root: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  readonly #intermediate: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  readonly #leaf = generateKeyPairSync("ec", { namedCurve: "P-384" });
  /** The chip's name that its reports and its certificate bear. */
  readonly chipId: Buffer;
  /** The root's and the intermediate's certificate, DER. */
  readonly rootCertificate: Buffer;
  readonly intermediateCertificate: Buffer;

  constructor(options: SimulatorOptions = {}) {
    const { product = "Milan", signer = "vcek", impostor = false, rsaBits = 4096, notBefore = new Date() } = options;
    this.product = product;
    this.#signer = signer;
    this.#notBefore = notBefore;
    const root = digestOf("no root: only the names are wanted");
    this.#names = authorityNames(impostor ? { kind: "amd" } : { kind: "simulated", root }, signer, product);
    this.#root = generateKeyPairSync("rsa", { modulusLength: rsaBits });
    this.#intermediate = generateKeyPairSync("rsa", { modulusLength: rsaBits });
    const chipId = Buffer.alloc(CHIP_ID_BYTES);
    randomBytes(hardwareIdBytes(product)).copy(chipId);
    this.chipId = chipId;
    const { root: rootName, intermediate } = this.#names;
    this.rootCertificate = this.#certify(rootName, rootName, this.#root.publicKey, ROOT_SERIAL, authorityExtensions());
    this.intermediateCertificate = this.#certify(
      intermediate,
      rootName,
      this.#intermediate.publicKey,
      INTERMEDIATE_SERIAL,
      authorityExtensions(),
    );
  }

  /** What a policy of kind `sev-snp-simulated` names. */
  get root(): Digest {
    return digestOf(this.#root.publicKey.export({ type: "spki", format: "der" }));
  }

  /** The certificate of the simulated chip's key for one state of its firmware, DER. */
  leafCertificate(tcb: Tcb = SIMULATED_TCB, chipId: Buffer = this.chipId): Buffer {
    const extensions = [
      extension(`${AMD_OID}.1`, integer(this.product === "Turin" ? 1 : 0)),
      extension(PRODUCT_NAME, ia5String(this.product)),
      ...tcbPartsOf(this.product).map((part) => extension(TCB_OIDS[part], integer(tcb[part]))),
    ];
    if (this.#signer === "vcek") {
      extensions.push(extension(HARDWARE_ID, chipId.subarray(0, hardwareIdBytes(this.product))));
    }
    return this.#certify(LEAF_NAMES[this.#signer], this.#names.intermediate, this.#leaf.publicKey, 0, extensions);
  }

  /** A report as the firmware would make and sign it, 1184 bytes. */
  report(fields: SimulatedFields = {}): Buffer {
    const report = this.#unsigned(fields);
    fields.edit?.(report);
    const key = { key: this.#leaf.privateKey, dsaEncoding: "ieee-p1363" } as const;
    const signature = sign("sha384", report.subarray(0, SNP_SIGNED_BYTES), key);
    const SCALAR_BYTES = 48;
    const SCALAR_FIELD_BYTES = 72;
    for (const i of [0, 1]) {
      const scalar = Buffer.from(signature.subarray(i * SCALAR_BYTES, (i + 1) * SCALAR_BYTES)).reverse();
      scalar.copy(report, SNP_SIGNED_BYTES + i * SCALAR_FIELD_BYTES);
    }
    return report;
  }

  #unsigned(fields: SimulatedFields): Buffer {
    const { version = 3, tcb = SIMULATED_TCB, committedTcb = tcb, launchTcb = tcb } = fields;
    const report = Buffer.alloc(SNP_REPORT_BYTES);
    report.writeUInt32LE(version, 0x00);
    report.writeUInt32LE(fields.guestSvn ?? 0, 0x04);
    report.writeBigUInt64LE(fields.guestPolicy ?? SIMULATED_GUEST_POLICY, 0x08);
    report.writeUInt32LE(fields.vmpl ?? 0, 0x30);
    report.writeUInt32LE(1, 0x34);
    writeTcb(this.product, tcb).copy(report, 0x38);
    report.writeBigUInt64LE(fields.platformInfo ?? SMT_ECC_ALIAS_CHECKED, 0x40);
    report.writeUInt32LE(this.#signer === "vlek" ? 1 << 2 : 0, 0x48);
    (fields.reportData ?? Buffer.alloc(64)).copy(report, 0x50);
    (fields.measurement ?? createHash("sha384").update("simulated").digest()).copy(report, 0x90);
    (fields.hostData ?? Buffer.alloc(32)).copy(report, 0xc0);
    randomBytes(32).copy(report, 0x140);
    report.fill(0xff, 0x160, 0x180);
    writeTcb(this.product, tcb).copy(report, 0x180);
    if (version >= 3) Buffer.from(CPUID[this.product]).copy(report, 0x188);
    (fields.chipId ?? this.chipId).copy(report, 0x1a0);
    writeTcb(this.product, committedTcb).copy(report, 0x1e0);
    for (const offset of [0x1e8, 0x1ec]) Buffer.from([29, 55, 1]).copy(report, offset);
    writeTcb(this.product, launchTcb).copy(report, 0x1f0);
    if (version >= 5) {
      report.writeBigUInt64LE(fields.mitigations ?? 0n, 0x1f8);
      report.writeBigUInt64LE(fields.mitigations ?? 0n, 0x200);
    }
    return report;
  }

  /** A revocation list of the root, DER. */
  revocationList({ number, thisUpdate, nextUpdate, revokeIntermediate = false }: ListFields): Buffer {
    const tbsCertList = new TBSCertList({
      version: Version.v2,
      signature: rsaPss(),
      issuer: nameOf(this.#names.root),
      thisUpdate: new Time(thisUpdate),
      nextUpdate: new Time(nextUpdate),
      crlExtensions: [extension("2.5.29.20", Buffer.from(AsnConvert.serialize(new CRLNumber(number))))],
    });
    if (revokeIntermediate) {
      const userCertificate = Uint8Array.of(INTERMEDIATE_SERIAL).buffer;
      tbsCertList.revokedCertificates = [
        new RevokedCertificate({ userCertificate, revocationDate: new Time(thisUpdate) }),
      ];
    }
    const signature = this.#sign(this.#root.privateKey, AsnConvert.serialize(tbsCertList));
    return Buffer.from(
      AsnConvert.serialize(new CertificateList({ tbsCertList, signatureAlgorithm: rsaPss(), signature })),
    );
  }

  #certify(subject: string, issuer: string, key: KeyObject, serial: number, extensions: readonly Extension[]): Buffer {
    const spki = key.export({ type: "spki", format: "der" });
    const tbsCertificate = new TBSCertificate({
      version: Version.v3,
      serialNumber: Uint8Array.of(serial).buffer,
      signature: rsaPss(),
      issuer: nameOf(issuer),
      validity: new Validity({
        notBefore: this.#notBefore,
        notAfter: new Date(this.#notBefore.getTime() + 7 * YEARS),
      }),
      subject: nameOf(subject),
      subjectPublicKeyInfo: AsnConvert.parse(spki, SubjectPublicKeyInfo),
      extensions: new Extensions([...extensions]),
    });
    const signer = issuer === this.#names.root ? this.#root.privateKey : this.#intermediate.privateKey;
    const signatureValue = this.#sign(signer, AsnConvert.serialize(tbsCertificate));
    return Buffer.from(
      AsnConvert.serialize(new Certificate({ tbsCertificate, signatureAlgorithm: rsaPss(), signatureValue })),
    );
  }

  #sign(key: KeyObject, bytes: ArrayBuffer): ArrayBuffer {
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    const signature = sign("sha384", Buffer.from(bytes), { key, padding, saltLength: 48 });
    return new Uint8Array(signature).buffer;
  }
}

/** RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt (RFC 4055), as AMD writes it. */
function rsaPss(): AlgorithmIdentifier {
  const sha384 = "300d06096086480165030402020500";
  const parameters = `3034a00f${sha384}a11c301a06092a864886f70d010108${sha384}a203020130`;
  return new AlgorithmIdentifier({
    algorithm: "1.2.840.113549.1.1.10",
    parameters: new Uint8Array(Buffer.from(parameters, "hex")).buffer,
  });
}

function integer(value: number): Buffer {
  return Buffer.from(value < 0x80 ? [0x02, 1, value] : [0x02, 2, 0, value]);
}

function ia5String(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x16, text.length]), Buffer.from(text, "latin1")]);
}
