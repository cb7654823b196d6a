/**
 * Genuine quotes of Intel platforms, with the collateral of their time. There are none among the shared vectors yet;
 * SEALIFT_TDX_VECTORS names a directory with some: `vectors.json` (rows as below) and the files that it names.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import type { AttestationVerdict } from "../../../verify/attestation/attestation-verdict.ts";
import type { CollateralFile } from "../../../verify/attestation/read-collateral.ts";
import type { TdxPolicy } from "../../../verify/attestation/tdx-policy.ts";
import { parseTdxQuote } from "../../../verify/attestation/tdx-quote.ts";
import { LEAST_TDX_POLICY } from "./tdx-evidence.ts";

export interface TdxVector {
  readonly id: string;
  readonly quote: string;
  readonly collateral: readonly string[];
  readonly verifyAt: string;
  readonly fmspc: string;
  /** Check → code of what must fail under a policy that lists what the quote itself says; {} if it must be allowed. */
  readonly failures: Readonly<Record<string, string>>;
}

const DIRECTORY =
  process.env["SEALIFT_TDX_VECTORS"] ?? new URL("../../../../shared/vectors/tdx", import.meta.url).pathname;
export const TDX_SKIP = existsSync(join(DIRECTORY, "vectors.json")) ? false : "there are no genuine TDX quotes here";
export const tdxFile = (name: string): Buffer => readFileSync(join(DIRECTORY, name));
export const tdxVectors = (): readonly TdxVector[] =>
  (JSON.parse(tdxFile("vectors.json").toString()) as { vectors: TdxVector[] }).vectors;
export const tdxVectorCollateral = ({ collateral }: TdxVector): CollateralFile[] =>
  collateral.map((name) => ({ name, bytes: tdxFile(name) }));

function policyFor({ quote, fmspc }: TdxVector): TdxPolicy {
  const { td } = parseTdxQuote(tdxFile(quote));
  const minimumTcb = { tdx: [...td.teeTcbSvn], sgx: Array(16).fill(0), pceSvn: 0 };
  const rtmrs = td.rtmrs.map((register) => register.toString("hex"));
  return {
    ...LEAST_TDX_POLICY,
    platforms: { [fmspc]: { minimumTcb, minimumEvaluationNumber: 1 } },
    revocation: { graceDays: 0 },
    measurements: [{ mrTd: td.mrTd.toString("hex"), rtmrs, fixesRootfs: false }],
  };
}

export function judgeTdxVector(row: TdxVector, changes: Partial<TdxPolicy> = {}): AttestationVerdict {
  return appraiseEvidence({
    evidence: tdxFile(row.quote),
    collateral: tdxVectorCollateral(row),
    policyBytes: canonicalJson({ ...policyFor(row), ...changes }),
    nonce: null,
    time: { at: row.verifyAt, source: "option" },
  });
}
