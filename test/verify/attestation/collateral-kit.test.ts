import assert from "node:assert/strict";
import test from "node:test";
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import type { AnyPolicy } from "../../../verify/attestation/attestation-policy.ts";
import { checkCollateral, firstToEnd } from "../../../verify/attestation/collateral-check.ts";
import { type FetchedFile, readCollateralKit } from "../../../verify/attestation/collateral-kit.ts";
import { type CollateralNeed, needsOf } from "../../../verify/attestation/collateral-needs.ts";
import { readCollateralRequest, writeCollateralRequest } from "../../../verify/attestation/collateral-request.ts";
import { SIMULATED_TCB, Simulator } from "../../../verify/attestation/simulator.ts";
import { TDX_FMSPC } from "../../../verify/attestation/tdx-simulator.ts";
import { amdAnswers, filesFrom, type IntelChanges, intelAnswers, kitOf } from "../../support/collateral-servers.ts";
import { makeSigner } from "../../support/ssh-signer.ts";
import { strangerKey, TDX_AT, TDX_FROM, TdxPlatform } from "../../support/tdx-platform.ts";
import { coded } from "../../support/test-trust.ts";
import { SIMULATED_FROM, SKIP, simulatedPolicy, simulator, vector, vectorFile } from "./evidence.ts";
import { LEAST_TDX_POLICY, tdxPlatform } from "./tdx-evidence.ts";

const AT = new Date("2026-01-15T00:00:00Z");
const snpNeeds = needsOf(simulator().report());
const tdxNeeds = needsOf(tdxPlatform.quote());
const snpFiles = filesFrom(amdAnswers(simulator(), SIMULATED_FROM), snpNeeds);
const tdxFiles = filesFrom(intelAnswers(tdxPlatform, TDX_FMSPC), tdxNeeds);
const tdxPolicy: AnyPolicy = { ...LEAST_TDX_POLICY, kind: "tdx-simulated", simulatedRoot: tdxPlatform.root };

interface Case {
  readonly files?: readonly FetchedFile[];
  readonly needs?: readonly CollateralNeed[];
  readonly at?: Date;
  readonly policy?: AnyPolicy | null;
}

const checkSnp = ({ files = snpFiles, needs = snpNeeds, at = AT, policy = simulatedPolicy(simulator()) }: Case = {}) =>
  checkCollateral(files, needs, at, policy);
const checkTdx = ({ files = tdxFiles, needs = tdxNeeds, at = AT, policy = tdxPolicy }: Case = {}) =>
  checkCollateral(files, needs, at, policy);
const intel = (changes: IntelChanges): FetchedFile[] =>
  filesFrom(intelAnswers(tdxPlatform, TDX_FMSPC, changes), tdxNeeds);
/** The files without those whose name has `part`, and with `more`. */
const without = (files: readonly FetchedFile[], part: string, ...more: readonly FetchedFile[]): FetchedFile[] => [
  ...files.filter(({ name }) => !name.includes(part)),
  ...more,
];

test("collateral for a chip and for a platform is taken when it is complete, and says what ends first", () => {
  const items = checkSnp();
  assert.equal(items.length, 4, "chip, two authorities and the list");
  const first = firstToEnd(items);
  assert.equal(first?.what, "revocation list of SIMULATED – NOT AMD ARK-Milan");
  assert.equal(first?.until.toISOString(), "2026-02-16T00:00:00.000Z", "46 days after it was issued");
  const ends = firstToEnd(checkTdx())?.until.getTime();
  assert.equal(ends, TDX_FROM.getTime() + 30 * 86_400_000);
});

test("AMD's own certificates and list are taken for the chip that they are of, at their time", { skip: SKIP }, () => {
  const row = vector("milan-v3-ms");
  const file = (name: string, path: string): FetchedFile => ({ name, bytes: vectorFile(path), source: "" });
  const files = [
    file("vcek", row.files.vek),
    file("ask", "roots/milan_ask.der"),
    file("ark", "roots/milan_ark.der"),
    file("crl", "crl/milan_2025-05-06_n6.crl"),
  ];
  const needs = needsOf(vectorFile(row.files.report));
  const at = new Date("2026-04-01T00:00:00Z");
  const items = checkCollateral(files, needs, at, null);
  assert.equal(items.find(({ number }) => number !== null)?.number, 6n);
  assert.throws(
    () => checkCollateral(files, needs, new Date("2026-11-21T00:00:00Z"), null),
    coded("ATTEST_COLLATERAL_EXPIRED"),
  );
  const others = needsOf(vectorFile(vector("milan-v2-azure-HCL").files.report).subarray(0, 1184));
  assert.throws(() => checkCollateral(files, others, at, null), coded("ATTEST_COLLATERAL_OTHER"));
});

test("collateral of SEV-SNP is refused when it is another's, not whole, not signed, revoked, expired or older", () => {
  const other = new Simulator({ rsaBits: 2048, notBefore: SIMULATED_FROM });
  const of = (by: Simulator, changes = {}) => filesFrom(amdAnswers(by, SIMULATED_FROM, changes), needsOf(by.report()));
  const list = { number: 1, thisUpdate: SIMULATED_FROM, nextUpdate: new Date("2026-02-16T00:00:00Z") };
  const crl = (bytes: Buffer): FetchedFile => ({ name: "amd-milan-vcek.crl", bytes, source: "" });
  const newer = { ...SIMULATED_TCB, snp: SIMULATED_TCB.snp + 1 };
  const refused: readonly (readonly [string, string, Case])[] = [
    [
      "another chip",
      "ATTEST_COLLATERAL_OTHER",
      { needs: snpNeeds.map((need) => ({ ...need, chip: "ab".repeat(64) })) as CollateralNeed[] },
    ],
    ["another firmware", "ATTEST_COLLATERAL_OTHER", { needs: needsOf(simulator().report({ tcb: newer })) }],
    ["no certificate of the chip", "ATTEST_COLLATERAL_OTHER", { files: without(snpFiles, ".der") }],
    ["no authorities", "ATTEST_COLLATERAL_MISSING", { files: without(snpFiles, "chain") }],
    ["no list", "ATTEST_COLLATERAL_MISSING", { files: without(snpFiles, ".crl") }],
    ["another root", "ATTEST_ROOT_UNKNOWN", { files: of(other), needs: needsOf(other.report()) }],
    ["the simulator's for AMD", "ATTEST_COLLATERAL_MISSING", { policy: null }],
    ["a list by another", "ATTEST_CRL_INVALID", { files: without(snpFiles, ".crl", crl(other.revocationList(list))) }],
    [
      "a revoked authority",
      "ATTEST_CERTIFICATE_REVOKED",
      { files: without(snpFiles, ".crl", crl(simulator().revocationList({ ...list, revokeIntermediate: true }))) },
    ],
    ["a list that has ended", "ATTEST_COLLATERAL_EXPIRED", { at: new Date("2026-02-17T00:00:00Z") }],
    ["a list that is not yet", "ATTEST_COLLATERAL_EXPIRED", { at: new Date("2025-12-31T00:00:00Z") }],
    [
      "a list older than the policy knows",
      "ATTEST_COLLATERAL_ROLLED_BACK",
      {
        policy: simulatedPolicy(simulator(), {
          products: { Milan: { minimumTcb: { bootloader: 1, tee: 0, snp: 1, microcode: 1 }, minimumListNumber: 2 } },
        }),
      },
    ],
  ];
  for (const [what, code, question] of refused) assert.throws(() => checkSnp(question), coded(code), what);
});

test("collateral of TDX is refused when it is another's, not whole, not signed, revoked, expired or older", () => {
  const other = new TdxPlatform();
  const fewer = (part: string): Case => ({ files: without(tdxFiles, part) });
  const number = { platforms: { [TDX_FMSPC]: { minimumTcb: "unchecked", minimumEvaluationNumber: 19 } } } as const;
  const refused: readonly (readonly [string, string, Case])[] = [
    [
      "another platform",
      "ATTEST_COLLATERAL_OTHER",
      { needs: [{ kind: "tdx", fmspc: "00906ed50000", authority: "platform" }] },
    ],
    ["no TCB info", "ATTEST_COLLATERAL_MISSING", fewer("tdx-tcb")],
    ["no identity", "ATTEST_COLLATERAL_MISSING", fewer("identity")],
    ["no list of the root", "ATTEST_COLLATERAL_MISSING", fewer("root.crl")],
    ["no list of the platforms", "ATTEST_COLLATERAL_MISSING", fewer("platform.crl")],
    ["no authority of the platforms", "ATTEST_COLLATERAL_MISSING", fewer("authority")],
    ["no signing key", "ATTEST_COLLATERAL_MISSING", fewer("signing")],
    ["another root", "ATTEST_ROOT_UNKNOWN", { files: filesFrom(intelAnswers(other, TDX_FMSPC), tdxNeeds) }],
    ["the simulator's for Intel", "ATTEST_COLLATERAL_MISSING", { policy: null }],
    [
      "TCB info by another",
      "ATTEST_COLLATERAL_INVALID",
      { files: intel({ tcbInfo: tdxPlatform.tcbInfo(() => {}, strangerKey()) }) },
    ],
    ["an identity by another", "ATTEST_COLLATERAL_INVALID", { files: intel({ identity: other.enclaveIdentity() }) }],
    ["a list by another", "ATTEST_CRL_INVALID", { files: intel({ platform: { signer: strangerKey() } }) }],
    [
      "a revoked signing key",
      "ATTEST_CERTIFICATE_REVOKED",
      { files: intel({ root: { revoked: [tdxPlatform.signingCertificate] } }) },
    ],
    ["documents that have ended", "ATTEST_COLLATERAL_EXPIRED", { at: new Date("2026-02-01T00:00:00Z") }],
    [
      "an evaluation older than the policy knows",
      "ATTEST_COLLATERAL_ROLLED_BACK",
      { policy: { ...tdxPolicy, ...number } as AnyPolicy },
    ],
    [
      "a list older than the policy knows",
      "ATTEST_COLLATERAL_ROLLED_BACK",
      { policy: { ...tdxPolicy, minimumListNumbers: { root: 1, platform: 2 } } as AnyPolicy },
    ],
  ];
  assert.ok(checkTdx({ at: new Date(TDX_AT) }).length > 0);
  for (const [what, code, question] of refused) assert.throws(() => checkTdx(question), coded(code), what);
});

test("a list of needs has facts and no address, each need once, and is refused when it is not exactly that", () => {
  const bytes = writeCollateralRequest([...snpNeeds, ...tdxNeeds, ...snpNeeds]);
  assert.deepEqual(readCollateralRequest(bytes), [...snpNeeds, ...tdxNeeds]);
  assert.doesNotMatch(bytes.toString(), /https?:|amd\.com|intel\.com/);
  const change = (edit: (value: { needs: Record<string, unknown>[] }) => void): Buffer => {
    const value = JSON.parse(bytes.toString());
    edit(value);
    return canonicalJson(value);
  };
  const bad = [
    Buffer.from(`${bytes} `),
    Buffer.from("{}"),
    change((value) => (value.needs = [])),
    change((value) => (value.needs[0] = { ...value.needs[0], url: "http://127.0.0.1" })),
    change((value) => (value.needs[0] = { ...value.needs[0], chip: "../../x" })),
    change((value) => (value.needs[0] = { ...value.needs[0], product: "Naples" })),
    Buffer.alloc(64 * 1024 + 1, 0x20),
  ];
  for (const one of bad) assert.throws(() => readCollateralRequest(one), coded("ATTEST_COLLATERAL_MALFORMED"));
});

test("a kit whose files, names or statement are not exactly what was signed is malformed", () => {
  const kit = kitOf(makeSigner(), snpNeeds, AT, snpFiles);
  assert.equal(readCollateralKit(kit).files.length, snpFiles.length);
  const change = (edit: (value: { files: { name: string; base64: string }[]; statement: string }) => void): Buffer => {
    const value = JSON.parse(kit.toString());
    edit(value);
    return canonicalJson(value);
  };
  const rename = (name: string) => (value: { files: { name: string }[]; statement: string }) => {
    const [first] = value.files as [{ name: string }];
    value.statement = value.statement.replace(first.name, name);
    first.name = name;
  };
  const bad = [
    Buffer.from(`${kit}\n`),
    Buffer.alloc(8 * 1024 * 1024 + 1, 0x20),
    change((value) => value.files.pop()),
    change((value) => value.files.reverse()),
    change((value) => ((value.files[0] as { base64: string }).base64 = "AAAA")),
    change((value) => (value.statement = value.statement.replace("2026-01-15", "2026-13-15"))),
    change((value) => (value.statement = `${value.statement} `)),
    ...["../evil", ".hidden", "a/b", "UPPER", "", "a".repeat(129)].map((name) => change(rename(name))),
    change(rename(snpFiles[1]?.name ?? "")),
  ];
  for (const one of bad) assert.throws(() => readCollateralKit(one), coded("ATTEST_COLLATERAL_MALFORMED"));
  assert.ok(readCollateralKit(change(rename("another.der"))), "a name that may be is none of the reasons");
});

test("a kit has one spelling: another one of the same bytes is refused", () => {
  const kit = JSON.parse(kitOf(makeSigner(), tdxNeeds, TDX_FROM, tdxFiles).toString()) as {
    readonly signature: string;
  };
  const other = canonicalJson({ ...kit, signature: kit.signature.replace("S", "\u0153") });
  assert.throws(() => readCollateralKit(other), { code: "ATTEST_COLLATERAL_MALFORMED", message: /as it was written/ });
});
