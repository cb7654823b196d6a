import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { ScanReport } from "../../../sbom/scan/report.ts";
import { reportLines } from "../../../sbom/scan/report-text.ts";
import type { Claims } from "../../../sbom/scan/statements.ts";
import { readVex, type VexDocument } from "../../../sbom/scan/vex.ts";
import { vexDocument } from "../../../sbom/scan/vex-document.ts";
import { readWaivers } from "../../../sbom/scan/waiver.ts";
import { validateSbom } from "../../../sbom/validate.ts";
import { denialsOf, IMAGE, ndjson, osvRecord, SERIAL, sbomWith, scanOne } from "../../support/scan-inputs.ts";
import { scratch } from "../../support/scratch.ts";

type Context = Parameters<typeof scratch>[0];

const AT = new Date("2026-01-03T00:00:00Z");
const LIB = "pkg:npm/lib@1.0.0";
const OCI = `pkg:oci/test@${IMAGE.replace(":", "%3A")}`;

function read(value: unknown): VexDocument {
  return readVex(Buffer.from(JSON.stringify(value)), { name: "vex.json", isSigned: false, at: AT });
}

function openvex(...statements: readonly object[]): object {
  return { "@context": "https://openvex.dev/ns/v0.2.0", timestamp: "2026-01-01T00:00:00Z", statements };
}

function statement(more: object = {}): object {
  const products = [{ "@id": OCI, subcomponents: [{ "@id": LIB }] }];
  return {
    vulnerability: { name: "CVE-2024-1" },
    status: "not_affected",
    justification: "component_not_present",
    products,
    ...more,
  };
}

function cyclonedx(affects: string, analysis: object = { state: "not_affected" }, more: object = {}): object {
  const vulnerabilities = [{ id: "CVE-2024-1", analysis, affects: [{ ref: affects }] }];
  return { bomFormat: "CycloneDX", specVersion: "1.6", vulnerabilities, ...more };
}

const RECORD = osvRecord({ more: { aliases: ["CVE-2024-1"] } });

async function scan(context: Context, claims: Partial<Claims>, record: object = RECORD): Promise<ScanReport> {
  const path = join(await scratch(context), "db.ndjson");
  await writeFile(path, ndjson([record]));
  return scanOne(sbomWith([LIB]), path, { claims: { vex: [], waivers: [], problems: [], ...claims } });
}

async function statusWith(context: Context, ...documents: readonly object[]): Promise<string | undefined> {
  const read_ = documents.map(read);
  const claims = {
    vex: read_.flatMap(({ statements }) => statements),
    problems: read_.flatMap(({ problems }) => problems),
  };
  const report = await scan(context, claims);
  assert.equal(report.decision, report.subjects[0]?.findings[0]?.status === "suppressed" ? "allow" : "deny");
  return report.subjects[0]?.findings[0]?.status;
}

test("OpenVEX suppresses what is not affected or fixed, for the image by digest and the package by version", async (context) => {
  assert.equal(await statusWith(context, openvex(statement())), "suppressed");
  assert.equal(await statusWith(context, openvex(statement({ status: "fixed" }))), "suppressed");
  assert.equal(await statusWith(context, openvex(statement({ status: "affected" }))), "open");
  assert.equal(await statusWith(context, openvex(statement({ status: "under_investigation" }))), "open");
  assert.equal(await statusWith(context, openvex(statement({ products: [{ "@id": OCI }] }))), "suppressed");
  assert.equal(await statusWith(context, openvex(statement({ products: [{ "@id": LIB }] }))), "suppressed");
  assert.equal(
    await statusWith(context, openvex(statement({ vulnerability: { name: "X", aliases: ["CVE-2024-1"] } }))),
    "suppressed",
  );
  assert.equal(await statusWith(context, openvex(statement({ vulnerability: "TEST-1" }))), "suppressed");
});

test("a statement about another image, package, version or vulnerability suppresses nothing", async (context) => {
  const other = OCI.replace("aaaa", "bbbb");
  const cases: readonly object[] = [
    { products: [{ "@id": other, subcomponents: [{ "@id": LIB }] }] },
    { products: [{ "@id": OCI, subcomponents: [{ "@id": "pkg:npm/lib@1.0.1" }] }] },
    { products: [{ "@id": OCI, subcomponents: [{ "@id": "pkg:pypi/lib@1.0.0" }] }] },
    { products: [{ "@id": "pkg:npm/lib@2.0.0" }] },
    { vulnerability: { name: "CVE-2024-2" } },
    { products: [] },
  ];
  for (const one of cases)
    assert.equal(await statusWith(context, openvex(statement(one))), "open", JSON.stringify(one));
});

test("a product by its name alone is left out and told", () => {
  for (const id of ["pkg:oci/test", "pkg:oci/test@latest", "pkg:npm/lib", "lib", OCI.slice(0, -1)]) {
    const { statements, problems } = read(openvex(statement({ products: [{ "@id": id }] })));
    assert.equal(problems.length, 1, id);
    assert.deepEqual(statements[0]?.products, [], id);
  }
  const part = { "@id": OCI, subcomponents: [{ "@id": "pkg:npm/lib" }] };
  assert.deepEqual(read(openvex(statement({ products: [part] }))).statements[0]?.products, []);
});

test("the latest statement decides, and one from the future is left out", async (context) => {
  const fixed = { status: "fixed", timestamp: "2025-01-01T00:00:00Z" };
  const affected = { status: "affected", timestamp: "2025-06-01T00:00:00Z" };
  assert.equal(await statusWith(context, openvex(statement(fixed), statement(affected))), "open");
  const later = { ...fixed, timestamp: "2025-12-01T00:00:00Z" };
  assert.equal(await statusWith(context, openvex(statement(affected), statement(later))), "suppressed");
  const same = { ...affected, timestamp: fixed.timestamp };
  assert.equal(await statusWith(context, openvex(statement(fixed), statement(same))), "open");
  const future = { ...fixed, timestamp: "2027-01-01T00:00:00Z" };
  assert.equal(await statusWith(context, openvex(statement(affected), statement(future))), "open");
  assert.equal(read(openvex(statement(future))).problems.length, 1);
});

test("CycloneDX VEX is read by BOM-Link, by purl and by its own components", async (context) => {
  const link = (serial: string, ref: string): string => `urn:cdx:${serial.slice(9)}/1#${encodeURIComponent(ref)}`;
  assert.equal(await statusWith(context, cyclonedx(link(SERIAL, LIB))), "suppressed");
  assert.equal(await statusWith(context, cyclonedx(link(SERIAL.replace("6f2f", "0000"), LIB))), "open");
  assert.equal(await statusWith(context, cyclonedx(link(SERIAL, "other"))), "open");
  assert.equal(await statusWith(context, cyclonedx(LIB)), "suppressed");
  const components = [{ type: "library", name: "lib", "bom-ref": "one", purl: LIB }];
  assert.equal(await statusWith(context, cyclonedx("one", { state: "resolved" }, { components })), "suppressed");
  assert.equal(await statusWith(context, cyclonedx("one", { state: "exploitable" }, { components })), "open");
  assert.equal(await statusWith(context, cyclonedx("one")), "open");
});

test("an advisory about several vulnerabilities is suppressed only when each of them is", async (context) => {
  const record = osvRecord({ id: "DSA-1", more: { upstream: ["CVE-2024-1", "CVE-2024-2"] } });
  const about = (name: string): object => statement({ vulnerability: { name } });
  const status = async (...statements: readonly object[]): Promise<string | undefined> => {
    const report = await scan(context, { vex: read(openvex(...statements)).statements }, record);
    return report.subjects[0]?.findings[0]?.status;
  };
  assert.equal(await status(about("CVE-2024-1")), "open");
  assert.equal(await status(about("CVE-2024-1"), about("CVE-2024-2")), "suppressed");
  assert.equal(await status(about("DSA-1")), "suppressed");
});

test("refuses what breaks VEX's own rules, and what is no VEX", () => {
  const bad: readonly unknown[] = [
    {},
    [],
    openvex({ ...statement(), justification: undefined }),
    openvex(statement({ status: "unknown" })),
    openvex(statement({ vulnerability: {} })),
    openvex(statement({ timestamp: "yesterday" })),
    openvex(statement({ products: {} })),
    cyclonedx(LIB, { state: "fine" }),
    { ...cyclonedx(LIB), vulnerabilities: [{ analysis: { state: "resolved" } }] },
  ];
  for (const one of bad) assert.throws(() => read(one), { code: "SCAN_STATEMENT_MALFORMED" }, JSON.stringify(one));
  const source = { name: "x", isSigned: false, at: AT };
  assert.throws(() => readVex(Buffer.from("{"), source), { code: "SCAN_STATEMENT_MALFORMED" });
});

const WAIVER = {
  vulnerability: "CVE-2024-1",
  package: LIB,
  reason: "not reachable",
  created: "2026-01-01T00:00:00Z",
  expires: "2026-02-01T00:00:00Z",
};

function waivers(more: object = {}, days = 365): ReturnType<typeof readWaivers> {
  return readWaivers(
    Buffer.from(JSON.stringify({ schemaVersion: 1, waivers: [{ ...WAIVER, ...more }] })),
    "w.json",
    days,
  );
}

test("a waiver counts for one version of one package until it expires", async (context) => {
  const status = async (more: object): Promise<string | undefined> =>
    (await scan(context, { waivers: waivers(more) })).subjects[0]?.findings[0]?.status;
  assert.equal(await status({}), "suppressed");
  assert.equal(await status({ image: IMAGE }), "suppressed");
  assert.equal(await status({ vulnerability: "TEST-1" }), "suppressed");
  assert.equal(await status({ expires: "2026-01-02T23:59:59Z" }), "open");
  assert.equal(await status({ image: IMAGE.replaceAll("a", "b").replace("shb", "sha") }), "open");
  assert.equal(await status({ package: "pkg:npm/lib@1.0.1" }), "open");
  assert.equal(await status({ vulnerability: "CVE-2024-2" }), "open");
});

test("refuses waivers without a version or an end, and those that run too long", () => {
  const bad = [
    { package: "pkg:npm/lib" },
    { expires: undefined },
    { expires: "2025-01-01T00:00:00Z" },
    { expires: "2028-01-01T00:00:00Z" },
    { expires: "2026-13-45T00:00:00Z" },
    { reason: "" },
    { image: "latest" },
    { extra: 1 },
  ];
  for (const one of bad) {
    assert.throws(() => waivers(one), { code: "SCAN_STATEMENT_MALFORMED" }, JSON.stringify(one));
  }
  assert.throws(() => waivers({}, 30), { code: "SCAN_STATEMENT_MALFORMED" });
});

test("the VEX that we write is valid, the same each time, and says again what it was told", async (context) => {
  const claims = { vex: read(openvex(statement())).statements };
  for (const report of [
    await scan(context, claims),
    await scan(context, { waivers: waivers() }),
    await scan(context, {}),
  ]) {
    const [subject] = report.subjects;
    assert.ok(subject);
    const bytes = vexDocument(report, subject, "0.0.0");
    assert.deepEqual((await validateSbom(bytes)).problems, []);
    assert.deepEqual(vexDocument(report, subject, "0.0.0"), bytes);
    const again = readVex(bytes, { name: "again.json", isSigned: false, at: AT });
    assert.deepEqual(again.problems, []);
    const second = await scan(context, { vex: again.statements });
    const isVex = subject.findings[0]?.statements[0]?.source === "vex";
    assert.equal(second.subjects[0]?.findings[0]?.status, isVex ? "suppressed" : "open");
  }
});

test("a suppressed vulnerability stays in the report, with who said so", async (context) => {
  const report = await scan(context, { waivers: waivers() });
  assert.deepEqual(denialsOf(report), []);
  const lines = reportLines(report).join("\n");
  assert.match(lines, /suppressed unknown {2}CVE-2024-1 \(TEST-1\) {2}pkg:npm\/lib@1\.0\.0/);
  assert.match(lines, /waiver waived, signed: w\.json waivers\[0\]: not reachable \(until 2026-02-01/);
  assert.match(lines, /database: 2 days old/);
});
