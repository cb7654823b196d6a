/**
 * Whether a quote is that of the vTPM for which a report vouches. The report's REPORT_DATA names Azure's runtime data
 * (azure-hcl.ts), the runtime data has the vTPM's attestation key, and that key has signed the quote. So the quote is as
 * good as the report's signer and Microsoft's paravisor, which holds the vTPM, and no better.
 */
import { constants, createHash, createPublicKey, type KeyObject, verify } from "node:crypto";
import { attestationError } from "./error.ts";
import { PCR_COUNT, parseTpmQuote, readQuoteSignature, type TpmQuote } from "./tpm-quote.ts";

/** What a VM brings beside its envelope. */
export interface VtpmEvidence {
  /** JSON that the report names. */
  readonly runtimeData: Buffer;
  /** TPMS_ATTEST. */
  readonly quote: Buffer;
  readonly signature: Buffer;
  /** The values of the quoted PCRs, ascending, side by side. */
  readonly pcrValues: Buffer;
}

/** Signed by the key that the report names. Only `verifyVtpm` makes one. */
export interface GenuineVtpm {
  readonly quote: TpmQuote;
  /** PCR → its value. */
  readonly pcrs: ReadonlyMap<number, Buffer>;
}

const PCR_BYTES = 32;
export const PCR_VALUES_MAX_BYTES = PCR_COUNT * PCR_BYTES;
const ATTESTATION_KEY = "HCLAkPub";
const KEY_MIN_BITS = 2048;

/** @throws ATTEST_EVIDENCE_MALFORMED | ATTEST_VTPM_INVALID */
export function verifyVtpm(evidence: VtpmEvidence): GenuineVtpm {
  const quote = parseTpmQuote(evidence.quote);
  const key = attestationKeyOf(evidence.runtimeData);
  const signature = readQuoteSignature(evidence.signature);
  if (!verify("sha256", quote.bytes, { key, padding: constants.RSA_PKCS1_PADDING }, signature)) {
    throw invalid("the quote is not signed by the key that the report names");
  }
  const values = evidence.pcrValues;
  if (values.length !== quote.pcrs.length * PCR_BYTES) {
    throw invalid(`got ${values.length} bytes of PCRs, want those of the ${quote.pcrs.length} that were quoted`);
  }
  if (!createHash("sha256").update(values).digest().equals(quote.pcrDigest)) {
    throw invalid("the PCRs are not those that were quoted");
  }
  const pcrs = quote.pcrs.map((pcr, i) => [pcr, values.subarray(i * PCR_BYTES, (i + 1) * PCR_BYTES)] as const);
  return { quote, pcrs: new Map(pcrs) };
}

function invalid(problem: string): Error {
  return attestationError("ATTEST_VTPM_INVALID", `vTPM: ${problem}`);
}

/** The one attestation key of the runtime data. */
function attestationKeyOf(runtimeData: Buffer): KeyObject {
  const malformed = (problem: string): Error =>
    attestationError("ATTEST_EVIDENCE_MALFORMED", `Azure's runtime data: ${problem}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(runtimeData));
  } catch {
    throw malformed("not JSON in UTF-8");
  }
  const keys: unknown = (value as { readonly keys?: unknown } | null)?.keys;
  const named = (Array.isArray(keys) ? keys : []).filter(
    (key: unknown) => (key as { readonly kid?: unknown } | null)?.kid === ATTESTATION_KEY,
  );
  if (named.length !== 1) throw malformed(`got ${named.length} keys ${ATTESTATION_KEY}, want 1`);
  const { kty, e, n } = named[0] as Record<"kty" | "e" | "n", unknown>;
  if (kty !== "RSA" || e !== "AQAB" || typeof n !== "string") throw malformed(`${ATTESTATION_KEY} is no RSA key`);
  const key = rsaKey({ kty, e, n });
  const bits = key?.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key === undefined || bits < KEY_MIN_BITS)
    throw malformed(`${ATTESTATION_KEY} has ${bits} bits, want at least ${KEY_MIN_BITS}`);
  return key;
}

function rsaKey(key: JsonWebKey): KeyObject | undefined {
  try {
    return createPublicKey({ key, format: "jwk" });
  } catch {
    return undefined;
  }
}

/** What a quote must carry instead of REPORT_DATA: a TPM takes no more bytes than a digest of the firmware's has. */
export function qualifyingData(reportData: Buffer): Buffer {
  return createHash("sha256").update(reportData).digest();
}
