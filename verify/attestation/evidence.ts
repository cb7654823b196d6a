/**
 * The files in which evidence comes: a report as the firmware made it (1184 bytes), a report in Azure's envelope
 * (azure-hcl.ts), a TDX quote, or what `sealift attest collect` and `attest azure` write: report or quote with the host's
 * certificates, envelope with a quote of the vTPM.
 */
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { isAzureEnvelope, parseAzureEnvelope } from "./azure-hcl.ts";
import { readCertificateTable } from "./certificate-table.ts";
import { attestationError } from "./error.ts";
import { SNP_REPORT_BYTES } from "./snp-report.ts";
import { isTdxQuote } from "./tdx-quote.ts";
import type { VtpmEvidence } from "./verify-vtpm.ts";

export const EVIDENCE_MAX_BYTES = 64 * 1024;

export type EvidenceKind = "sev-snp" | "tdx";

export interface Evidence {
  readonly kind: EvidenceKind;
  /** The report's or quote's bytes, not parsed yet. */
  readonly report: Buffer;
  /** Certificates that the host gave with it: hints where to look, trusted for nothing. */
  readonly certificates: readonly Buffer[];
  /** Why REPORT_DATA holds no nonce of ours, or null if it may. */
  readonly reportDataTaken: string | null;
  /** With a quote the nonce is in it, and not in REPORT_DATA. */
  readonly vtpm: VtpmEvidence | null;
  /** Keys of the VM that REPORT_DATA names; null in a report that is not meant for the release of a key. */
  readonly keys: BoundKeys | null;
}

export interface BoundKeys {
  /** The site's own key, the same at each question: Ed25519, SubjectPublicKeyInfo as DER. */
  readonly hostKey: Buffer;
  /** To which a secret may be encrypted: X25519, 32 bytes, made for this question only. */
  readonly transportKey: Buffer;
  /** By the host key over REPORT_DATA (`hostKeyMessage`): whoever sent the evidence has that key. */
  readonly signature: Buffer;
}

/** What `sealift attest collect` writes, as canonical JSON. */
export interface CollectedEvidence {
  readonly schemaVersion: 1;
  readonly kind: EvidenceKind;
  /** The kernel's name of the source, e.g. `sev_guest`; for people, not trusted. */
  readonly provider: string;
  /** Base64. */
  readonly report: string;
  /** The GHCB certificate table, base64; empty if the host gave none. */
  readonly certificateTable: string;
  /** Base64 each, with Azure's envelope as report: the quote, its signature, and the values of the quoted PCRs. */
  readonly vtpm?: { readonly quote: string; readonly signature: string; readonly pcrs: string };
  /** Base64 each. */
  readonly keys?: { readonly host: string; readonly transport: string; readonly signature: string };
}

const base64 = { type: "string", pattern: "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$" };

/** Published as `sealift schema attestation-evidence`. */
export const collectedEvidenceSchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift attestation evidence",
  type: "object",
  additionalProperties: false,
  required: ["schemaVersion", "kind", "provider", "report", "certificateTable"],
  properties: {
    schemaVersion: { const: 1 },
    kind: { enum: ["sev-snp", "tdx"] },
    provider: { type: "string", pattern: "^[a-z0-9_]{1,64}$" },
    report: base64,
    certificateTable: base64,
    vtpm: {
      type: "object",
      additionalProperties: false,
      required: ["quote", "signature", "pcrs"],
      properties: { quote: base64, signature: base64, pcrs: base64 },
    },
    keys: {
      type: "object",
      additionalProperties: false,
      required: ["host", "transport", "signature"],
      properties: { host: base64, transport: base64, signature: base64 },
    },
  },
};

export function writeCollectedEvidence(
  provider: string,
  report: Buffer,
  certificateTable: Buffer,
  keys: BoundKeys | null = null,
  vtpm: Omit<VtpmEvidence, "runtimeData"> | null = null,
): Buffer {
  const document: CollectedEvidence = {
    schemaVersion: 1,
    kind: isTdxQuote(report) ? "tdx" : "sev-snp",
    provider,
    report: report.toString("base64"),
    certificateTable: certificateTable.toString("base64"),
    ...(vtpm && {
      vtpm: {
        quote: vtpm.quote.toString("base64"),
        signature: vtpm.signature.toString("base64"),
        pcrs: vtpm.pcrValues.toString("base64"),
      },
    }),
    ...(keys && {
      keys: {
        host: keys.hostKey.toString("base64"),
        transport: keys.transportKey.toString("base64"),
        signature: keys.signature.toString("base64"),
      },
    }),
  };
  return canonicalJson(document);
}

/** @throws ATTEST_EVIDENCE_MALFORMED, also if it is none of the three forms. */
export function readEvidence(bytes: Buffer): Evidence {
  const malformed = (problem: string): Error => attestationError("ATTEST_EVIDENCE_MALFORMED", `evidence: ${problem}`);
  if (bytes.length > EVIDENCE_MAX_BYTES) {
    throw malformed(`got ${bytes.length} bytes, want at most ${EVIDENCE_MAX_BYTES}`);
  }
  const bare = { report: bytes, certificates: [], reportDataTaken: null, vtpm: null, keys: null };
  if (bytes.length === SNP_REPORT_BYTES) return { kind: "sev-snp", ...bare };
  if (isTdxQuote(bytes)) return { kind: "tdx", ...bare };
  if (isAzureEnvelope(bytes)) return { ...bare, kind: "sev-snp", ...readEnvelope(bytes, undefined) };
  const value = parseCanonicalJson(bytes);
  if (value === undefined) {
    throw malformed(
      `neither a report of ${SNP_REPORT_BYTES} bytes, nor Azure's envelope, a TDX quote or what sealift attest collect writes`,
    );
  }
  const problem = schemaProblem(collectedEvidenceSchema, value);
  if (problem !== undefined) throw malformed(problem);
  const { kind, report, certificateTable, vtpm, keys } = value as CollectedEvidence;
  const reported = Buffer.from(report, "base64");
  const common = {
    kind,
    certificates: readCertificateTable(Buffer.from(certificateTable, "base64")),
    keys: keys === undefined ? null : readKeys(keys, malformed),
  };
  if (isAzureEnvelope(reported)) return { ...common, ...readEnvelope(reported, vtpm) };
  if (vtpm !== undefined) throw malformed("a vTPM's quote goes with Azure's envelope only");
  return { ...common, report: reported, reportDataTaken: null, vtpm: null };
}

function readEnvelope(
  bytes: Buffer,
  vtpm: CollectedEvidence["vtpm"],
): Pick<Evidence, "report" | "reportDataTaken" | "vtpm"> {
  const { report, runtimeData } = parseAzureEnvelope(bytes);
  if (vtpm === undefined) {
    const reportDataTaken = "in Azure's envelope REPORT_DATA names the runtime data; a nonce would be in a vTPM quote";
    return { report, reportDataTaken, vtpm: null };
  }
  const [quote, signature, pcrValues] = [vtpm.quote, vtpm.signature, vtpm.pcrs].map((text) =>
    Buffer.from(text, "base64"),
  ) as [Buffer, Buffer, Buffer];
  return { report, reportDataTaken: null, vtpm: { runtimeData, quote, signature, pcrValues } };
}

const X25519_BYTES = 32;
const ED25519_SIGNATURE_BYTES = 64;

function readKeys(
  { host, transport, signature }: NonNullable<CollectedEvidence["keys"]>,
  malformed: (problem: string) => Error,
): BoundKeys {
  const keys = {
    hostKey: Buffer.from(host, "base64"),
    transportKey: Buffer.from(transport, "base64"),
    signature: Buffer.from(signature, "base64"),
  };
  if (!isHostKey(keys.hostKey)) throw malformed("keys.host is no Ed25519 key");
  if (keys.transportKey.length !== X25519_BYTES) throw malformed(`keys.transport: want ${X25519_BYTES} bytes`);
  if (keys.signature.length !== ED25519_SIGNATURE_BYTES) {
    throw malformed(`keys.signature: want ${ED25519_SIGNATURE_BYTES} bytes`);
  }
  return keys;
}

/** Of Ed25519's SubjectPublicKeyInfo (RFC 8410) all but the key itself is always the same. */
const ED25519_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

function isHostKey(spki: Buffer): boolean {
  return spki.length === ED25519_PREFIX.length + 32 && spki.subarray(0, ED25519_PREFIX.length).equals(ED25519_PREFIX);
}

/** What the host key signs: a label, so that no signature for anything else counts, and REPORT_DATA. */
export function hostKeyMessage(reportData: Buffer): Buffer {
  return Buffer.concat([Buffer.from("sealift-attestation-host-key-v1\0"), reportData]);
}
