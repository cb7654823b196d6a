import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { SealiftError } from "../../../bundles/model/sealift-error.ts";
import { type AttestationCheck, TDX_CHECKS } from "../../../verify/attestation/attestation-verdict.ts";
import { readCollateral } from "../../../verify/attestation/read-collateral.ts";
import { parseTdxQuote } from "../../../verify/attestation/tdx-quote.ts";
import { PPID } from "../../../verify/attestation/tdx-simulator.ts";
import { verifyTdxQuote } from "../../../verify/attestation/verify-tdx.ts";
import { mutantSeed } from "../../support/mutants.ts";
import { strangerKey, TDX_AT, TdxPlatform } from "../../support/tdx-platform.ts";
import { failures, judgeSimulated } from "./evidence.ts";
import { judgeTdx, type TdxCase, tdxPlatform } from "./tdx-evidence.ts";

type Level = { tcb: Record<string, unknown>; tcbStatus: string; advisoryIDs?: string[] };
const levelsOf = (value: Record<string, unknown>): Level[] => value["tcbLevels"] as Level[];
const other = new TdxPlatform();

test("quotes of both versions by a platform that the policy names pass every check, and are still no allow", () => {
  for (const fields of [{}, { version: 5, body: "td-1.0" }, { version: 5 }] as const) {
    const verdict = judgeTdx({ fields });
    assert.deepEqual(
      [verdict.decision, failures(verdict)],
      ["simulated", {}],
      JSON.stringify(verdict.findings, null, 1),
    );
    assert.deepEqual(
      verdict.findings.map(({ check }) => check),
      TDX_CHECKS,
    );
    assert.equal(verdict.claims?.["ppid"], PPID.toString("hex"));
    assert.equal(verdict.usableUntil, "2026-01-31T00:00:00.000Z");
    assert.equal(verdict.endsFirst, "TCB info or enclave identity");
  }
});

test("a policy for Intel's own platforms takes neither a simulated platform nor an impostor with Intel's names", () => {
  const impostor = new TdxPlatform({ impostor: true });
  for (const by of [tdxPlatform, impostor]) {
    const verdict = judgeTdx({ by, policy: { kind: "tdx" } });
    assert.equal(verdict.decision, "deny");
    assert.equal(failures(verdict).chain, "ATTEST_ROOT_UNKNOWN");
    assert.equal(verdict.claims, null);
  }
  // Nor does a policy for simulated ones take Intel's names, even with the impostor's own root.
  assert.equal(failures(judgeTdx({ by: impostor })).chain, "ATTEST_ROOT_UNKNOWN");
  assert.equal(
    failures(judgeTdx({ by: other, policy: { simulatedRoot: tdxPlatform.root } })).chain,
    "ATTEST_ROOT_UNKNOWN",
  );
});

test("evidence of one kind of processor is refused by a policy for the other", () => {
  assert.deepEqual(failures(judgeTdx({ evidence: Buffer.alloc(1184) })), { evidence: "ATTEST_EVIDENCE_KIND" });
  const report = judgeSimulated({ evidence: tdxPlatform.quote() });
  assert.deepEqual([report.decision, failures(report)], ["deny", { evidence: "ATTEST_EVIDENCE_KIND" }]);
});

/** Exactly this check fails with this code; those that need it are not checked. */
const refused: readonly (readonly [name: string, check: AttestationCheck, code: string, TdxCase])[] = [
  ["a quote signed by a stranger", "signature", "ATTEST_SIGNATURE_INVALID", { fields: { signer: strangerKey() } }],
  [
    "a quoting enclave's report signed by a stranger",
    "quoting-enclave",
    "ATTEST_SIGNATURE_INVALID",
    { fields: { qe: { signer: strangerKey() } } },
  ],
  [
    "a quoting enclave that vouches for another key",
    "quoting-enclave",
    "ATTEST_SIGNATURE_INVALID",
    { fields: { qe: { reportData: createHash("sha256").update("another").digest() } } },
  ],
  [
    "a quoting enclave that is not Intel's",
    "quoting-enclave",
    "ATTEST_QE_REFUSED",
    { fields: { qe: { mrSigner: Buffer.alloc(32, 1) } } },
  ],
  ["another enclave of Intel's", "quoting-enclave", "ATTEST_QE_REFUSED", { fields: { qe: { isvProdId: 1 } } }],
  [
    "a quoting enclave that is debugged",
    "quoting-enclave",
    "ATTEST_QE_REFUSED",
    { fields: { qe: { attributes: Buffer.from("13000000000000000000000000000000", "hex") } } },
  ],
  [
    "a quoting enclave with another MISCSELECT",
    "quoting-enclave",
    "ATTEST_QE_REFUSED",
    { fields: { qe: { miscSelect: Buffer.from([1, 0, 0, 0]) } } },
  ],
  [
    "a TDX module that Intel has not signed",
    "tdx-module",
    "ATTEST_MODULE_REFUSED",
    { fields: { mrSignerSeam: Buffer.alloc(48, 1) } },
  ],
  [
    "a TDX module with attributes",
    "tdx-module",
    "ATTEST_MODULE_REFUSED",
    { fields: { seamAttributes: Buffer.alloc(8, 1) } },
  ],
  [
    "a quoting enclave older than all that Intel lists",
    "tcb-certified",
    "ATTEST_TCB_UNKNOWN",
    { fields: { qe: { isvSvn: 1 } } },
  ],
  [
    "a loader older than all that Intel lists",
    "tcb-certified",
    "ATTEST_TCB_UNKNOWN",
    { fields: { teeTcbSvn: [6, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } },
  ],
  [
    "a platform whose one component is older, though others are newer",
    "tcb-certified",
    "ATTEST_TCB_UNKNOWN",
    { by: new TdxPlatform({ components: [9, 9, 9, 9, 9, 9, 9, 4, 9, 9, 9, 9, 9, 9, 9, 9] }) },
  ],
  ["a platform with an older PCE", "tcb-certified", "ATTEST_TCB_UNKNOWN", { by: new TdxPlatform({ pceSvn: 10 }) }],
  ["no TCB info", "collateral", "ATTEST_COLLATERAL_MISSING", { files: { "tcb-info.json": null } }],
  ["no identity of the enclave", "collateral", "ATTEST_COLLATERAL_MISSING", { files: { "qe-identity.json": null } }],
  [
    "TCB info of another platform",
    "collateral",
    "ATTEST_COLLATERAL_MISSING",
    { files: { "tcb-info.json": tdxPlatform.tcbInfo((info) => Object.assign(info, { fmspc: "00".repeat(6) })) } },
  ],
  [
    "TCB info of another PCE",
    "collateral",
    "ATTEST_COLLATERAL_MISSING",
    { files: { "tcb-info.json": tdxPlatform.tcbInfo((info) => Object.assign(info, { pceId: "0001" })) } },
  ],
  [
    "TCB info signed by a stranger",
    "collateral",
    "ATTEST_COLLATERAL_INVALID",
    { files: { "tcb-info.json": tdxPlatform.tcbInfo(() => {}, strangerKey()) } },
  ],
  [
    "newer TCB info signed by a stranger, beside the right one",
    "collateral",
    "ATTEST_COLLATERAL_INVALID",
    {
      files: {
        "newer.json": tdxPlatform.tcbInfo(
          (info) => Object.assign(info, { tcbEvaluationDataNumber: 99 }),
          strangerKey(),
        ),
      },
    },
  ],
  [
    "an identity signed by a stranger",
    "collateral",
    "ATTEST_COLLATERAL_INVALID",
    { files: { "qe-identity.json": tdxPlatform.enclaveIdentity(() => {}, strangerKey()) } },
  ],
  ["no certificate of the signing key", "collateral", "ATTEST_CERTIFICATE_MISSING", { files: { "signing.der": null } }],
  [
    "another root's signing key",
    "collateral",
    "ATTEST_CHAIN_INVALID",
    { files: { "signing.der": other.signingCertificate } },
  ],
  [
    "a revocation list by a stranger",
    "revocation",
    "ATTEST_CRL_INVALID",
    { files: { "root.crl": tdxPlatform.revocationList("root", { signer: strangerKey() }) } },
  ],
  [
    "a revoked platform",
    "revocation",
    "ATTEST_CERTIFICATE_REVOKED",
    { files: { "platform.crl": tdxPlatform.revocationList("platform", { revoked: [tdxPlatform.leafCertificate] }) } },
  ],
  [
    "a revoked platform on an old list beside a new one",
    "revocation",
    "ATTEST_CERTIFICATE_REVOKED",
    {
      files: {
        "old.crl": tdxPlatform.revocationList("platform", {
          number: 0,
          thisUpdate: new Date("2025-12-01"),
          revoked: [tdxPlatform.leafCertificate],
        }),
      },
    },
  ],
  [
    "a revoked authority",
    "revocation",
    "ATTEST_CERTIFICATE_REVOKED",
    { files: { "root.crl": tdxPlatform.revocationList("root", { revoked: [tdxPlatform.authorityCertificate] }) } },
  ],
  [
    "a revoked signing key",
    "revocation",
    "ATTEST_CERTIFICATE_REVOKED",
    { files: { "root.crl": tdxPlatform.revocationList("root", { revoked: [tdxPlatform.signingCertificate] }) } },
  ],
  ["certificates that are not valid yet", "chain", "ATTEST_CERTIFICATE_EXPIRED", { at: "2025-12-31T23:59:59.000Z" }],
  ["certificates that have ended", "chain", "ATTEST_CERTIFICATE_EXPIRED", { at: "2034-01-01T00:00:00.000Z" }],
];

for (const [name, check, code, question] of refused) {
  test(`refuses ${name}`, () => {
    const verdict = judgeTdx(question);
    assert.equal(verdict.decision, "deny");
    assert.equal(failures(verdict)[check], code, JSON.stringify(verdict.findings.slice(0, 8), null, 1));
    assert.equal(verdict.claims, null, "nothing is said of a quote that is not genuine");
  });
}

test("refuses a chain that is not the platform's three certificates in order", () => {
  const { leafCertificate: leaf, authorityCertificate: authority, rootCertificate: root } = tdxPlatform;
  const pem = (certificates: readonly Buffer[]): Buffer =>
    Buffer.from(
      certificates
        .map((der) => {
          const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
          return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
        })
        .join(""),
    );
  const codeOf = (chain: Buffer): string | undefined => failures(judgeTdx({ fields: { chain } })).chain;
  assert.equal(codeOf(pem([leaf, authority, root])), undefined);
  assert.equal(codeOf(Buffer.from(pem([leaf, authority, root]).toString().trimEnd())), undefined);
  assert.equal(codeOf(pem([leaf, authority])), "ATTEST_CERTIFICATE_MISSING");
  assert.equal(codeOf(pem([leaf, authority, root, root])), "ATTEST_CERTIFICATE_MISSING");
  assert.equal(codeOf(pem([authority, leaf, root])), "ATTEST_ROOT_UNKNOWN");
  assert.equal(codeOf(pem([leaf, other.authorityCertificate, root])), "ATTEST_CHAIN_INVALID");
  assert.equal(codeOf(pem([other.leafCertificate, authority, root])), "ATTEST_CHAIN_INVALID");
  const spaced = Buffer.from(pem([leaf, authority, root]).toString().replaceAll("\n", "\r\n"));
  assert.equal(codeOf(spaced), "ATTEST_CERTIFICATE_MALFORMED");
  assert.equal(codeOf(Buffer.from("no PEM")), "ATTEST_CERTIFICATE_MALFORMED");
});

test("the worst of platform, module and quoting enclave counts", () => {
  const statusOf = (question: TdxCase): unknown => judgeTdx(question).claims?.["tcbStatus"];
  const platform = (tcbStatus: string): Buffer =>
    tdxPlatform.tcbInfo((info) => Object.assign(levelsOf(info)[0] ?? {}, { tcbStatus }));
  const files = (tcbStatus: string) => ({ "tcb-info.json": platform(tcbStatus) });
  const oldModule = { teeTcbSvn: [3, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] };
  assert.equal(statusOf({}), "UpToDate");
  assert.equal(statusOf({ fields: oldModule }), "OutOfDate");
  assert.equal(statusOf({ fields: { qe: { isvSvn: 3 } } }), "OutOfDate");
  assert.equal(statusOf({ files: files("SWHardeningNeeded") }), "SWHardeningNeeded");
  assert.equal(statusOf({ files: files("SWHardeningNeeded"), fields: oldModule }), "OutOfDate");
  assert.equal(statusOf({ files: files("ConfigurationNeeded"), fields: oldModule }), "OutOfDateConfigurationNeeded");
  assert.equal(
    statusOf({ files: files("ConfigurationAndSWHardeningNeeded"), fields: { qe: { isvSvn: 3 } } }),
    "OutOfDateConfigurationNeeded",
  );
  assert.equal(statusOf({ files: files("Revoked"), fields: oldModule }), "Revoked");
  const advisories = judgeTdx({ fields: { ...oldModule, qe: { isvSvn: 3 } } }).claims?.["advisories"];
  assert.equal(advisories, "INTEL-SA-00837, INTEL-SA-01192");
});

test("a module of TDX 1.0 is compared with the platform's components, a later one with its own levels", () => {
  const first = { teeTcbSvn: [5, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] };
  const platformOf = (fields: object): unknown =>
    judgeTdx({ fields, policy: {} }).findings.find(({ check }) => check === "tcb-certified");
  assert.match(JSON.stringify(platformOf(first)), /platform UpToDate, module UpToDate/);
  const older = { teeTcbSvn: [4, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] };
  assert.match(JSON.stringify(platformOf(older)), /ATTEST_TCB_UNKNOWN/);
  const unknown = judgeTdx({ fields: { teeTcbSvn: [6, 7, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] } });
  assert.equal(failures(unknown)["tdx-module"], "ATTEST_MODULE_REFUSED");
});

test("without a list of each authority revocation is not checked, and the policy decides", () => {
  for (const file of ["root.crl", "platform.crl"]) {
    const verdict = judgeTdx({ files: { [file]: null } });
    assert.equal(verdict.findings.find(({ check }) => check === "revocation")?.status, "not-checked");
    assert.equal(verdict.decision, "simulated");
    const wanted = judgeTdx({ files: { [file]: null }, policy: { revocation: { graceDays: 0 } } });
    assert.deepEqual([wanted.decision, failures(wanted)], ["deny", { "revocation-fresh": "ATTEST_CRL_MISSING" }]);
  }
});

test("a file that is not Intel's document byte for byte denies, and is named", () => {
  const good = tdxPlatform.tcbInfo().toString();
  const bad: readonly string[] = [
    "{}",
    good.replace('{"tcbInfo":', '{ "tcbInfo":'),
    good.replace('"id":"TDX"', '"id":"SGX"'),
    good.replace('"version":3', '"version":2'),
    good.slice(0, -1),
    good.replace('"signature"', '"more":1,"signature"'),
    JSON.stringify(JSON.parse(good), null, 1),
  ];
  for (const text of bad) {
    const verdict = judgeTdx({ files: { "tcb-info.json": Buffer.from(text) } });
    const [evidence] = verdict.findings;
    assert.equal(evidence?.code, "ATTEST_COLLATERAL_MALFORMED", text.slice(0, 40));
    assert.match(evidence?.message ?? "", /"tcb-info\.json"/);
  }
  assert.deepEqual(failures(judgeTdx({ files: { "tcb-info.json": Buffer.from(`${good}\n`) } })), {});
});

/** Of the certificates, which are most of a quote and take longest to look at. */
const CERTIFICATE_STEP = 16;

test("a change of a single byte of a signed quote is refused: of each, and of its certificates of each 16th", () => {
  const quote = tdxPlatform.quote({ version: 5 });
  const certificates = quote.indexOf("-----BEGIN");
  const collateral = readCollateral(tdxPlatform.collateral());
  const authority = { kind: "simulated", root: tdxPlatform.root } as const;
  const isGenuine = (bytes: Buffer): boolean => {
    try {
      return verifyTdxQuote(parseTdxQuote(bytes), collateral, new Date(TDX_AT), authority).genuine !== null;
    } catch (error) {
      assert.ok(error instanceof SealiftError, `${error}`);
      return false;
    }
  };
  assert.ok(isGenuine(quote));
  const first = mutantSeed() % CERTIFICATE_STEP;
  for (let at = 0; at < quote.length; at += 1) {
    if (at > certificates && at % CERTIFICATE_STEP !== first && at < quote.length - 1) continue;
    const mutant = Buffer.from(quote);
    mutant[at] = (mutant[at] ?? 0) ^ (1 << (at % 8));
    assert.ok(!isGenuine(mutant), `byte ${at}`);
  }
});
