/**
 * A VM as Azure has them, which is none: a simulated processor's report in the paravisor's envelope, runtime data with the
 * key of a vTPM, and quotes by that key (TCG TPM 2.0 Library, part 2, TPMS_ATTEST).
 */
import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import type { SimulatedFields, Simulator } from "../../verify/attestation/simulator.ts";
import type { VtpmEvidence } from "../../verify/attestation/verify-vtpm.ts";

const NO_TABLE = Buffer.alloc(0);

export interface QuoteChanges {
  readonly magic?: number;
  readonly type?: number;
  readonly extraData?: Buffer;
  readonly bank?: number;
  readonly banks?: number;
  readonly pcrs?: readonly number[];
  readonly pcrDigest?: Buffer;
  readonly tail?: Buffer;
}

export const PCR_VALUES: readonly Buffer[] = Array.from({ length: 24 }, (_, i) =>
  createHash("sha256").update(`PCR ${i}`).digest(),
);
const QUOTED = [0, 1, 2, 3, 4, 5, 6, 7, 11, 14];

const uint16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const uint32 = (value: number): Buffer => Buffer.concat([uint16(value >>> 16), uint16(value & 0xffff)]);
const sized = (bytes: Buffer): Buffer => Buffer.concat([uint16(bytes.length), bytes]);
const valuesOf = (pcrs: readonly number[]): Buffer => Buffer.concat(pcrs.map((pcr) => PCR_VALUES[pcr] as Buffer));

/** TPMS_ATTEST of a quote. */
export function tpmQuote(changes: QuoteChanges = {}): Buffer {
  const { magic = 0xff544347, type = 0x8018, extraData = Buffer.alloc(32, 9), bank = 0x000b, banks = 1 } = changes;
  const { pcrs = QUOTED, pcrDigest = createHash("sha256").update(valuesOf(pcrs)).digest() } = changes;
  const selection = Buffer.alloc(3);
  for (const pcr of pcrs) selection[pcr >> 3] = (selection[pcr >> 3] ?? 0) | (1 << (pcr & 7));
  return Buffer.concat([
    uint32(magic),
    uint16(type),
    sized(Buffer.concat([uint16(0x000b), createHash("sha256").update("name").digest()])),
    sized(extraData),
    Buffer.alloc(8, 1),
    uint32(3),
    uint32(5),
    Buffer.from([1]),
    Buffer.alloc(8, 2),
    uint32(banks),
    uint16(bank),
    Buffer.from([selection.length]),
    selection,
    sized(pcrDigest),
    changes.tail ?? NO_TABLE,
  ]);
}

export class AzureMachine {
  readonly #by: Simulator;
  readonly #key: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };

  /** `publicKey`: of a TPM elsewhere, which has quoted already. */
  constructor(by: Simulator, publicKey?: KeyObject) {
    this.#by = by;
    const own = generateKeyPairSync("rsa", { modulusLength: 2048 });
    this.#key = { ...own, ...(publicKey && { publicKey }) };
  }

  /** As the paravisor writes it; `change` edits the JSON before it is hashed. */
  runtimeData(change: (data: Record<string, unknown>) => void = () => {}): Buffer {
    const { n, e, kty } = this.#key.publicKey.export({ format: "jwk" });
    const data: Record<string, unknown> = {
      keys: [{ kid: "HCLAkPub", key_ops: ["sign"], kty, e, n }],
      "vm-configuration": { "secure-boot": true, "tpm-enabled": true },
      "user-data": "00".repeat(64),
    };
    change(data);
    return Buffer.from(JSON.stringify(data));
  }

  /** As NV index 0x01400001 has it, with the zeros behind it. */
  envelope(fields: SimulatedFields = {}, runtimeData: Buffer = this.runtimeData()): Buffer {
    const header = Buffer.alloc(32);
    header.write("HCLA");
    header.writeUInt32LE(2, 4);
    const reportData = Buffer.concat([createHash("sha256").update(runtimeData).digest(), Buffer.alloc(32)]);
    const runtime = Buffer.alloc(20);
    [runtimeData.length + 20, 1, 2, 1, runtimeData.length].forEach((value, i) => {
      runtime.writeUInt32LE(value, 4 * i);
    });
    return Buffer.concat([header, this.#by.report({ reportData, ...fields }), runtime, runtimeData, Buffer.alloc(64)]);
  }

  quote(changes: QuoteChanges = {}, key: KeyObject = this.#key.privateKey): Omit<VtpmEvidence, "runtimeData"> {
    const quote = tpmQuote(changes);
    return { quote, signature: sign("sha256", quote, key), pcrValues: valuesOf(changes.pcrs ?? QUOTED) };
  }

  evidence(fields: SimulatedFields = {}, vtpm = this.quote(), runtimeData = this.runtimeData()): Buffer {
    return writeCollectedEvidence("azure_hcl", this.envelope(fields, runtimeData), NO_TABLE, null, vtpm);
  }
}
