/**
 * The files in which evidence comes: a report as the firmware made it (1184 bytes), a report in Azure's
 * envelope (azure-hcl.ts), or what `sealift attest collect` writes: the report with the host's certificates.
 */
import { canonicalJson, parseCanonicalJson } from "../../bundles/model/canonical-json.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import { isAzureEnvelope, parseAzureEnvelope } from "./azure-hcl.ts";
import { readCertificateTable } from "./certificate-table.ts";
import { attestationError } from "./error.ts";
import { SNP_REPORT_BYTES } from "./snp-report.ts";

export const EVIDENCE_MAX_BYTES = 64 * 1024;

export interface Evidence {
  /** The report's bytes, not parsed yet. */
  readonly report: Buffer;
  /** Certificates that the host gave with it: hints where to look, trusted for nothing. */
  readonly certificates: readonly Buffer[];
  /** Why REPORT_DATA holds no nonce of ours, or null if it may. */
  readonly reportDataTaken: string | null;
}

/** What `sealift attest collect` writes, as canonical JSON. */
export interface CollectedEvidence {
  readonly schemaVersion: 1;
  readonly kind: "sev-snp";
  /** The kernel's name of the source, e.g. `sev_guest`; for people, not trusted. */
  readonly provider: string;
  /** Base64. */
  readonly report: string;
  /** The GHCB certificate table, base64; empty if the host gave none. */
  readonly certificateTable: string;
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
    kind: { const: "sev-snp" },
    provider: { type: "string", pattern: "^[a-z0-9_]{1,64}$" },
    report: base64,
    certificateTable: base64,
  },
};

export function writeCollectedEvidence(provider: string, report: Buffer, certificateTable: Buffer): Buffer {
  const document: CollectedEvidence = {
    schemaVersion: 1,
    kind: "sev-snp",
    provider,
    report: report.toString("base64"),
    certificateTable: certificateTable.toString("base64"),
  };
  return canonicalJson(document);
}

/** @throws ATTEST_EVIDENCE_MALFORMED, also if it is none of the three forms. */
export function readEvidence(bytes: Buffer): Evidence {
  const malformed = (problem: string): Error => attestationError("ATTEST_EVIDENCE_MALFORMED", `evidence: ${problem}`);
  if (bytes.length > EVIDENCE_MAX_BYTES) {
    throw malformed(`got ${bytes.length} bytes, want at most ${EVIDENCE_MAX_BYTES}`);
  }
  if (bytes.length === SNP_REPORT_BYTES) return { report: bytes, certificates: [], reportDataTaken: null };
  if (isAzureEnvelope(bytes)) {
    const reportDataTaken = "in Azure's envelope REPORT_DATA names the runtime data; a nonce would be in a vTPM quote";
    return { report: parseAzureEnvelope(bytes).report, certificates: [], reportDataTaken };
  }
  const value = parseCanonicalJson(bytes);
  if (value === undefined) {
    throw malformed(
      `neither a report of ${SNP_REPORT_BYTES} bytes, nor Azure's envelope, nor what sealift attest collect writes`,
    );
  }
  const problem = schemaProblem(collectedEvidenceSchema, value);
  if (problem !== undefined) throw malformed(problem);
  const { report, certificateTable } = value as CollectedEvidence;
  const table = Buffer.from(certificateTable, "base64");
  return {
    report: Buffer.from(report, "base64"),
    certificates: readCertificateTable(table),
    reportDataTaken: null,
  };
}
