import assert from "node:assert/strict";
import { constants, generateKeyPairSync, sign } from "node:crypto";
import test from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import {
  isSignedBy,
  type ReadCertificate,
  readCertificates,
  readRevocationList,
} from "../../../verify/attestation/certificate.ts";
import { collateralNeedsOf } from "../../../verify/attestation/collateral-needs.ts";
import { readTcb } from "../../../verify/attestation/snp-product.ts";
import { parseSnpReport, SNP_REPORT_BYTES } from "../../../verify/attestation/snp-report.ts";
import { verifySnpReport } from "../../../verify/attestation/verify-snp.ts";
import {
  amdCollateral,
  EXPECTED,
  failures,
  judgeVector,
  LEAST_POLICY,
  SKIP,
  simulator,
  tcbOf,
  vector,
  vectorFile,
  vectors,
} from "./evidence.ts";

test("each genuine or forged vector gets the verdict and the codes that are expected", { skip: SKIP }, () => {
  const got = Object.fromEntries(vectors().map((row) => [row.id, failures(judgeVector(row))]));
  assert.deepEqual(got, EXPECTED);
  for (const row of vectors()) {
    const verdict = judgeVector(row);
    const wanted = Object.keys(EXPECTED[row.id] as object).length === 0 ? "allow" : "deny";
    assert.equal(verdict.decision, wanted, row.id);
    assert.equal(verdict.claims !== null, row.expectChainAndSignature === "valid", row.id);
  }
});

test("every field of every vector is read as the vector's own list says", { skip: SKIP }, () => {
  for (const row of vectors()) {
    const report = parseSnpReport(vectorFile(row.files.report));
    const product = row.id.startsWith("genoa") ? "Genoa" : "Milan";
    const version = ({ major, minor, build }: { major: number; minor: number; build: number }): string =>
      `${major}.${minor}.${build}`;
    assert.deepEqual(
      {
        reportVersion: report.version,
        vmpl: report.vmpl,
        guestSvn: report.guestSvn,
        abi: `${report.guestPolicy.abiMajor}.${report.guestPolicy.abiMinor}`,
        smt: report.guestPolicy.smtAllowed,
        debug: report.guestPolicy.debugAllowed,
        platformInfo: `0x${report.platform.raw.toString(16)}`,
        measurement: report.measurement.toString("hex"),
        reportData: report.reportData.toString("hex"),
        chipId: report.chipId.toString("hex"),
        tcb: Object.fromEntries(Object.entries(report.tcb).map(([name, bytes]) => [name, readTcb(product, bytes)])),
        firmware: { current: version(report.firmware.current), committed: version(report.firmware.committed) },
      },
      {
        reportVersion: row.reportVersion,
        vmpl: row.vmpl,
        guestSvn: row.guestSvn,
        abi: row.policy.abi,
        smt: row.policy.smt,
        debug: row.policy.debug,
        platformInfo: row.platformInfo,
        measurement: row.measurement,
        reportData: row.reportData,
        chipId: row.chipId,
        tcb: Object.fromEntries(Object.entries(row.tcb).map(([name, tcb]) => [name, tcbOf(tcb)])),
        firmware: row.firmware,
      },
      row.id,
    );
  }
});

test("every change of a single byte of a genuine report is refused", { skip: SKIP }, () => {
  const row = vector("milan-v2");
  const genuine = vectorFile(row.files.report);
  const names = ["roots/milan_ark.der", "roots/milan_ask.der", row.files.vek];
  const certificates = names.flatMap((name) => readCertificates(vectorFile(name)));
  const isTaken = (bytes: Buffer): boolean => {
    try {
      const collateral = { certificates, revocationLists: [] };
      return (
        verifySnpReport(parseSnpReport(bytes), collateral, new Date(row.verifyAt), { kind: "amd" }).genuine !== null
      );
    } catch (cause) {
      if (cause instanceof SealiftError) return false;
      throw cause;
    }
  };
  const accepted: number[] = [];
  for (let at = 0; at < SNP_REPORT_BYTES; at += 1) {
    const changed = Buffer.from(genuine);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    if (isTaken(changed)) accepted.push(at);
  }
  assert.deepEqual(accepted, []);
  assert.ok(isTaken(genuine), "the report itself is taken");
});

test("genuine parts of two chips at the same TCB do not make one", { skip: SKIP }, () => {
  const verdict = judgeVector({
    ...vector("milan-v2"),
    files: { report: "milan-v2/report.bin", vek: "milan-v2-azure-HCL/vek.der" },
  });
  assert.deepEqual(failures(verdict), { chip: "ATTEST_CHIP_MISMATCH", signature: "ATTEST_SIGNATURE_INVALID" });
  assert.equal(verdict.decision, "deny");
});

test("a report that is cut, or has bytes behind it, is refused", { skip: SKIP }, () => {
  const row = vector("milan-v2");
  const report = vectorFile(row.files.report);
  for (const evidence of [report.subarray(0, -1), Buffer.concat([report, Buffer.alloc(1)]), Buffer.alloc(0)]) {
    assert.deepEqual(failures(judgeVector(row, {}, { evidence })), { evidence: "ATTEST_EVIDENCE_MALFORMED" });
  }
});

test("certificates of other products and chips beside the right one do no harm", { skip: SKIP }, () => {
  const row = vector("genoa-v3-ms");
  const strangers = ["milan-v2", "milan-v2-debug-on"].map((id) => vector(id).files.vek);
  const collateral = [...strangers, row.files.vek].map((name) => ({ name, bytes: vectorFile(name) }));
  const verdict = judgeVector(row, {}, { collateral: [...collateral, ...amdCollateral()] });
  assert.equal(verdict.decision, "allow");
});

test("each certificate of the chain is needed, and none stands in for another", { skip: SKIP }, () => {
  const row = vector("milan-v2");
  const all = [...amdCollateral(), { name: "vek", bytes: vectorFile(row.files.vek) }];
  for (const [missing, code] of [
    ["vek", "ATTEST_CERTIFICATE_MISSING"],
    ["roots/milan_ask.der", "ATTEST_CERTIFICATE_MISSING"],
    ["roots/milan_ark.der", "ATTEST_CERTIFICATE_MISSING"],
  ] as const) {
    const collateral = all.filter(({ name }) => name !== missing);
    const verdict = judgeVector(row, {}, { collateral });
    assert.deepEqual(Object.values(failures(verdict)), [code], missing);
    assert.equal(verdict.decision, "deny");
  }
});

test("certificates are read as PEM too, with the line ends of either kind", { skip: SKIP }, () => {
  const row = vector("milan-v2");
  const pem = ["roots/milan_ask.der", "roots/milan_ark.der"]
    .map(
      (name) =>
        `-----BEGIN CERTIFICATE-----\n${vectorFile(name).toString("base64").replace(/.{64}/g, "$&\n")}\n-----END CERTIFICATE-----\n`,
    )
    .join("");
  for (const text of [pem, pem.replaceAll("\n", "\r\n")]) {
    const collateral = [
      { name: "chain.pem", bytes: Buffer.from(text) },
      { name: "vek", bytes: vectorFile(row.files.vek) },
    ];
    assert.equal(judgeVector(row, {}, { collateral }).decision, "allow");
  }
  const collateral = [{ name: "chain.pem", bytes: Buffer.from(`${pem}trailing`) }];
  assert.deepEqual(failures(judgeVector(row, {}, { collateral })), { evidence: "ATTEST_CERTIFICATE_MALFORMED" });
});

test("at a time outside the certificates' dates the chain is refused", { skip: SKIP }, () => {
  const row = vector("milan-v2");
  for (const at of ["2019-01-01T00:00:00Z", "2030-04-03T19:23:44Z"]) {
    const verdict = judgeVector(row, {}, { time: { at, source: "option" } });
    assert.deepEqual(failures(verdict), { chain: "ATTEST_CERTIFICATE_EXPIRED" }, at);
  }
});

test("AMD's revocation lists count: fresh, stale, with grace, and older than the policy knows", { skip: SKIP }, () => {
  const row = vector("milan-v2");
  const collateral = [
    ...amdCollateral(["milan_2025-05-06_n6", "genoa_2024-10-23_n4"]),
    { name: "vek", bytes: vectorFile(row.files.vek) },
  ];
  const judge = (at: string, graceDays: number, minimumListNumber = 0) =>
    failures(
      judgeVector(
        row,
        {
          revocation: { graceDays },
          products: { Milan: { minimumTcb: { bootloader: 1, tee: 0, snp: 1, microcode: 1 }, minimumListNumber } },
        },
        { collateral, time: { at, source: "option" } },
      ),
    );
  assert.deepEqual(judge("2026-05-01T00:00:00Z", 0, 6), {});
  assert.deepEqual(judge("2026-07-01T00:00:00Z", 0), { "revocation-fresh": "ATTEST_CRL_STALE" });
  assert.deepEqual(judge("2026-07-01T00:00:00Z", 60), {});
  assert.deepEqual(judge("2026-05-01T00:00:00Z", 0, 7), { "revocation-fresh": "ATTEST_CRL_ROLLED_BACK" });
  assert.deepEqual(judge("2025-05-06T12:00:00Z", 0), { "revocation-fresh": "ATTEST_CRL_NOT_YET_VALID" });
});

test("the verdict says until when the collateral will do", { skip: SKIP }, () => {
  const row = vector("milan-v2");
  const collateral = [...amdCollateral(["milan_2025-05-06_n6"]), { name: "vek", bytes: vectorFile(row.files.vek) }];
  const time = { at: "2026-05-01T00:00:00Z", source: "option" } as const;
  assert.equal(judgeVector(row, {}, { collateral, time }).usableUntil, "2030-04-03T19:23:43.000Z");
  const withList = judgeVector(row, { revocation: { graceDays: 10 } }, { collateral, time });
  assert.equal(withList.usableUntil, "2026-05-22T00:00:00.000Z");
  assert.equal(withList.endsFirst, "revocation list of ARK-Milan");
  assert.equal(judgeVector(vector("sim-impostor")).usableUntil, null);
});

test("a report says where its certificates are to be fetched", { skip: SKIP }, () => {
  const { chipId } = vector("genoa-v3-ms");
  assert.deepEqual(collateralNeedsOf(vectorFile("genoa-v3-ms/report.bin")), [
    `https://kdsintf.amd.com/vcek/v1/Genoa/${chipId}?blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84`,
    "https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain",
    "https://kdsintf.amd.com/vcek/v1/Genoa/crl",
  ]);
  const products = collateralNeedsOf(vectorFile("milan-v2/report.bin")).map((address) => address.split("/")[5]);
  assert.deepEqual(products, ["Milan", "Milan", "Milan", "Genoa", "Genoa", "Genoa"]);
  const turin = simulator("Turin");
  const [chip] = collateralNeedsOf(turin.report());
  assert.match(chip ?? "", new RegExp(`/Turin/${turin.chipId.toString("hex", 0, 8)}\\?fmcSPL=00&blSPL=04&`));
  const [chain] = collateralNeedsOf(simulator("Genoa", "vlek").report());
  assert.equal(chain, "https://kdsintf.amd.com/vlek/v1/Genoa/cert_chain");
});

test("without a revocation list a policy that wants one denies, and one that does not says so", { skip: SKIP }, () => {
  const row = vector("milan-v2");
  const wanted = judgeVector(row, { revocation: { graceDays: 0 } });
  assert.deepEqual(failures(wanted), { "revocation-fresh": "ATTEST_CRL_MISSING" });
  assert.equal(wanted.decision, "deny");
  const unmade = judgeVector(row).findings.filter(({ status }) => status === "not-checked");
  assert.ok(unmade.some(({ check, reason }) => check === "revocation" && reason.includes("ARK-Milan")));
});

test("a revocation list of which any byte was changed is refused", { skip: SKIP }, () => {
  const genuine = vectorFile("crl/genoa_2024-10-23_n4.crl");
  const [root] = readCertificates(vectorFile("roots/genoa_ark.der"));
  const isTaken = (bytes: Buffer): boolean => {
    try {
      return isSignedBy(readRevocationList(bytes), (root as ReadCertificate).x509.publicKey);
    } catch (cause) {
      if (cause instanceof SealiftError) return false;
      throw cause;
    }
  };
  const accepted: number[] = [];
  for (let at = 0; at < genuine.length; at += 1) {
    const changed = Buffer.from(genuine);
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
    if (isTaken(changed)) accepted.push(at);
  }
  assert.deepEqual(accepted, []);
  assert.ok(isTaken(genuine), "the list itself is taken");
});

test("a revocation list counts with AMD's padding, salt and hash only", () => {
  const { privateKey: key, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const genuine = simulator().revocationList({ number: 1, thisUpdate: new Date(0), nextUpdate: new Date(1e12) });
  const list = readRevocationList(genuine);
  const { RSA_PKCS1_PSS_PADDING, RSA_PKCS1_PADDING } = constants;
  const isTaken = (hash: string, padding: number, saltLength?: number): boolean =>
    isSignedBy(
      { ...list, signature: sign(hash, list.signed, { key, padding, ...(saltLength && { saltLength }) }) },
      publicKey,
    );
  assert.ok(isTaken("sha384", RSA_PKCS1_PSS_PADDING, 48));
  assert.ok(!isTaken("sha384", RSA_PKCS1_PSS_PADDING, 32));
  assert.ok(!isTaken("sha256", RSA_PKCS1_PSS_PADDING, 48));
  assert.ok(!isTaken("sha384", RSA_PKCS1_PADDING));
});

test("the two simulated vectors are refused by every policy that AMD's evidence can meet", { skip: SKIP }, () => {
  for (const id of ["sim-simulated", "sim-impostor"]) {
    const row = vector(id);
    const verdict = appraiseEvidence({
      evidence: vectorFile(row.files.report),
      collateral: [...amdCollateral(), { name: "vek", bytes: vectorFile(row.files.vek) }],
      policyBytes: canonicalJson({ ...LEAST_POLICY, measurements: [row.measurement] }),
      nonce: null,
      time: { at: "2026-12-01T00:00:00Z", source: "option" },
    });
    assert.equal(verdict.decision, "deny", id);
  }
});
