/**
 * Genuine quotes of Intel platforms, with the collateral of their time. There are none among the shared vectors yet;
 * SEALIFT_TDX_VECTORS names a directory with some: `vectors.json` (rows as below) and the files that it names.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import type { AttestationVerdict } from "../../../verify/attestation/attestation-verdict.ts";
import { readCollateral } from "../../../verify/attestation/read-collateral.ts";
import type { TdxPolicy } from "../../../verify/attestation/tdx-policy.ts";
import { parseTdxQuote } from "../../../verify/attestation/tdx-quote.ts";
import { verifyTdxQuote } from "../../../verify/attestation/verify-tdx.ts";
import { mutantSeed } from "../../support/mutants.ts";
import { failures } from "./evidence.ts";
import { LEAST_TDX_POLICY } from "./tdx-evidence.ts";

interface Row {
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
const SKIP = existsSync(join(DIRECTORY, "vectors.json")) ? false : "there are no genuine TDX quotes here";
const file = (name: string): Buffer => readFileSync(join(DIRECTORY, name));
const rows = (): readonly Row[] => (JSON.parse(file("vectors.json").toString()) as { vectors: Row[] }).vectors;
const collateralOf = ({ collateral }: Row) => collateral.map((name) => ({ name, bytes: file(name) }));

function policyFor({ quote, fmspc }: Row): TdxPolicy {
  const { td } = parseTdxQuote(file(quote));
  const minimumTcb = { tdx: [...td.teeTcbSvn], sgx: Array(16).fill(0), pceSvn: 0 };
  const rtmrs = td.rtmrs.map((register) => register.toString("hex"));
  return {
    ...LEAST_TDX_POLICY,
    platforms: { [fmspc]: { minimumTcb, minimumEvaluationNumber: 1 } },
    revocation: { graceDays: 0 },
    measurements: [{ mrTd: td.mrTd.toString("hex"), rtmrs, fixesRootfs: false }],
  };
}

function judgeRow(row: Row, changes: Partial<TdxPolicy> = {}): AttestationVerdict {
  return appraiseEvidence({
    evidence: file(row.quote),
    collateral: collateralOf(row),
    policyBytes: canonicalJson({ ...policyFor(row), ...changes }),
    nonce: null,
    time: { at: row.verifyAt, source: "option" },
  });
}

test("each genuine TDX quote gets the verdict and the codes that are expected", { skip: SKIP }, () => {
  for (const row of rows()) {
    const verdict = judgeRow(row);
    assert.deepEqual(failures(verdict), row.failures, row.id);
    assert.equal(verdict.decision, Object.keys(row.failures).length === 0 ? "allow" : "deny", row.id);
  }
});

test("a genuine TDX quote is denied for another measurement, a nonce, and after its collateral's time", {
  skip: SKIP,
}, () => {
  for (const row of rows().filter((one) => Object.keys(one.failures).length === 0)) {
    assert.equal(failures(judgeRow(row, { nonce: "required" })).nonce, "ATTEST_NONCE_MISSING");
    const { measurements } = LEAST_TDX_POLICY;
    assert.equal(failures(judgeRow(row, { measurements })).measurement, "ATTEST_MEASUREMENT_UNKNOWN");
    const late = failures(judgeRow({ ...row, verifyAt: "2029-01-01T00:00:00Z" }));
    assert.deepEqual(
      [late["collateral-fresh"], late["revocation-fresh"]],
      ["ATTEST_COLLATERAL_STALE", "ATTEST_CRL_STALE"],
    );
  }
});

const STEP = 8;

test("a change of a single byte of a genuine TDX quote is refused, also of those that follow it", {
  skip: SKIP,
}, () => {
  for (const row of rows().filter((one) => Object.keys(one.failures).length === 0)) {
    const quote = file(row.quote);
    const collateral = readCollateral(collateralOf(row));
    const isGenuine = (bytes: Buffer): boolean => {
      try {
        return (
          verifyTdxQuote(parseTdxQuote(bytes), collateral, new Date(row.verifyAt), { kind: "intel" }).genuine !== null
        );
      } catch (error) {
        assert.ok(error instanceof SealiftError, `${error}`);
        return false;
      }
    };
    assert.ok(isGenuine(quote));
    for (let at = mutantSeed() % STEP; at < quote.length; at += STEP) {
      const mutant = Buffer.from(quote);
      mutant[at] = (mutant[at] ?? 0) ^ (1 << (at % 7));
      assert.ok(!isGenuine(mutant), `${row.id}, byte ${at}`);
    }
  }
});
