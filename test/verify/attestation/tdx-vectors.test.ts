import assert from "node:assert/strict";
import test from "node:test";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { readCollateral } from "../../../verify/attestation/read-collateral.ts";
import { parseTdxQuote } from "../../../verify/attestation/tdx-quote.ts";
import { verifyTdxQuote } from "../../../verify/attestation/verify-tdx.ts";
import { mutantSeed } from "../../support/mutants.ts";
import { failures } from "./evidence.ts";
import { LEAST_TDX_POLICY } from "./tdx-evidence.ts";
import { judgeTdxVector, TDX_SKIP, tdxFile, tdxVectorCollateral, tdxVectors } from "./tdx-vectors.ts";

test("each genuine TDX quote gets the verdict and the codes that are expected", { skip: TDX_SKIP }, () => {
  for (const row of tdxVectors()) {
    const verdict = judgeTdxVector(row);
    assert.deepEqual(failures(verdict), row.failures, row.id);
    assert.equal(verdict.decision, Object.keys(row.failures).length === 0 ? "allow" : "deny", row.id);
  }
});

test("a genuine TDX quote is denied for another measurement, a nonce, and after its collateral's time", {
  skip: TDX_SKIP,
}, () => {
  for (const row of tdxVectors().filter((one) => Object.keys(one.failures).length === 0)) {
    assert.equal(failures(judgeTdxVector(row, { nonce: "required" })).nonce, "ATTEST_NONCE_MISSING");
    const { measurements } = LEAST_TDX_POLICY;
    assert.equal(failures(judgeTdxVector(row, { measurements })).measurement, "ATTEST_MEASUREMENT_UNKNOWN");
    const late = failures(judgeTdxVector({ ...row, verifyAt: "2029-01-01T00:00:00Z" }));
    assert.deepEqual(
      [late["collateral-fresh"], late["revocation-fresh"]],
      ["ATTEST_COLLATERAL_STALE", "ATTEST_CRL_STALE"],
    );
  }
});

const STEP = 8;

test("a change of a single byte of a genuine TDX quote is refused, also of those that follow it", {
  skip: TDX_SKIP,
}, () => {
  for (const row of tdxVectors().filter((one) => Object.keys(one.failures).length === 0)) {
    const quote = tdxFile(row.quote);
    const collateral = readCollateral(tdxVectorCollateral(row));
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
