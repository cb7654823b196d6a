import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parseOsvRecord } from "../../../sbom/scan/osv-record.ts";
import type { ScanReport } from "../../../sbom/scan/report.ts";
import { severityOf } from "../../../sbom/scan/severity.ts";
import { file, layer, sbomBytesOf } from "../../support/layer-tar.ts";
import { rpmDatabase, rpmPackage } from "../../support/rpm-database.ts";
import { denialsOf, ndjson, osvRecord, type RecordParts, sbomWith, scanOne } from "../../support/scan-inputs.ts";
import { scratch } from "../../support/scratch.ts";

type Context = Parameters<typeof scratch>[0];

/** Fixed in `version`, of `name` in AlmaLinux 9 unless `more` says otherwise. */
const fix = (id: string, name: string, version: string, more: RecordParts = {}): object =>
  osvRecord({ id, ecosystem: "AlmaLinux:9", name, events: [{ introduced: "0" }, { fixed: version }], ...more });

async function scan(context: Context, sbom: Buffer, records: readonly object[]): Promise<ScanReport> {
  const path = join(await scratch(context), "db.ndjson");
  await writeFile(path, ndjson(records));
  return scanOne(sbom, path);
}

const found = (report: ScanReport): string[] =>
  (report.subjects[0]?.findings ?? []).map(({ records, decision }) => `${records} ${decision}`).sort();

async function foundFor(context: Context, purl: string, ...records: readonly object[]): Promise<string[]> {
  return found(await scan(context, sbomWith([purl]), records));
}

const curl = (version: string, epoch = ""): string =>
  `pkg:rpm/almalinux/curl@${version}?distro=almalinux-9.4${epoch}&upstream=curl-${version}.src.rpm`;

test("a package of an rpm distribution is judged in rpm's order, with its epoch", async (context) => {
  const record = fix("ALSA-2026:1", "curl", "1:7.76.1-29.el9_4.1");
  for (const [purl, want] of [
    [curl("7.76.1-29.el9_4", "&epoch=1"), ["ALSA-2026:1 affected"]],
    [curl("7.76.1-29.el9_4.1", "&epoch=1"), []],
    [curl("7.76.1-29.el9_10", "&epoch=1"), []],
    [curl("1:7.76.1-29.el9_4"), ["ALSA-2026:1 affected"]],
    [curl("9.0-1.el9"), ["ALSA-2026:1 affected"]],
    [curl("7.9-1.el9", "&epoch=2"), []],
  ] as const) {
    assert.deepEqual(await foundFor(context, purl, record), want, purl);
  }
});

test("what Sealift lists in an image is what the records name", async (context) => {
  for (const [id, ecosystem] of [
    ["almalinux", "AlmaLinux:9"],
    ["rocky", "Rocky Linux:9"],
    ["rhel", "Red Hat:enterprise_linux:9::baseos"],
  ] as const) {
    const os = file("etc/os-release", `ID="${id}"\nVERSION_ID="9.4"\n`);
    const database = rpmDatabase([
      rpmPackage("curl", "7.76.1", "29.el9_4", { epoch: 1 }),
      rpmPackage("bash", "5.1.8", "9.el9"),
    ]);
    const sbom = await sbomBytesOf(layer(os, file("var/lib/rpm/rpmdb.sqlite", database)));
    const records = [
      fix("T-1", "curl", "1:7.76.1-30.el9", { ecosystem }),
      fix("T-2", "bash", "0:5.1.8-9.el9", { ecosystem }),
    ];
    const report = await scan(context, sbom, records);
    assert.deepEqual(found(report), ["T-1 affected"], id);
    assert.deepEqual(report.subjects[0]?.notCovered, [], id);
    assert.equal(report.subjects[0]?.scanned, 2);
  }
});

test("only records of the package's own distribution and release count, of Red Hat those of RHEL itself", async (context) => {
  const purl = curl("1.0-1.el9").replaceAll("almalinux", "redhat");
  const of = (id: string, ecosystem: string): object => fix(id, "curl", "2.0-1", { ecosystem });
  const records = [
    of("T-1", "Red Hat:enterprise_linux:9::baseos"),
    of("T-2", "Red Hat:enterprise_linux:9.4"),
    of("T-3", "Red Hat:enterprise_linux:8::baseos"),
    of("T-4", "Red Hat:enterprise_linux:90::baseos"),
    of("T-5", "Red Hat:rhel_aus:9.4::appstream"),
    of("T-6", "AlmaLinux:9"),
    of("T-7", "Red Hat"),
  ];
  assert.deepEqual(await foundFor(context, purl, ...records), ["T-1 affected", "T-2 affected", "T-7 affected"]);
});

test("Rocky Linux's records may name the source or the package, and neither is told twice", async (context) => {
  const purl = "pkg:rpm/rocky/httpd-tools@2.4.57-8.el9?distro=rocky-9.4&upstream=httpd-2.4.57-8.el9.src.rpm";
  const of = (id: string, name: string, version: string): object =>
    fix(id, name, version, { ecosystem: "Rocky Linux:9" });
  const both = {
    ...of("T-3", "httpd", "0:2.4.57-9.el9"),
    affected: ["httpd", "httpd-tools"].map((name) => ({
      package: { ecosystem: "Rocky Linux:9", name },
      ranges: [{ type: "ECOSYSTEM", events: [{ introduced: "0" }, { fixed: "0:2.4.57-9.el9" }] }],
    })),
  };
  assert.deepEqual(await foundFor(context, purl, of("T-1", "httpd", "0:2.4.57-9.el9")), ["T-1 affected"]);
  assert.deepEqual(await foundFor(context, purl, of("T-2", "httpd-tools", "0:2.4.57-9.el9")), ["T-2 affected"]);
  assert.deepEqual(await foundFor(context, purl, both), ["T-3 affected"]);
  assert.deepEqual(await foundFor(context, purl, of("T-4", "httpd", "0:2.4.57-8.el9")), []);
  // AlmaLinux's name packages: the source has no say.
  const alma = purl.replaceAll("rocky", "almalinux");
  assert.deepEqual(await foundFor(context, alma, fix("T-5", "httpd", "0:2.4.57-9.el9")), []);
  const sourceless = await scan(context, sbomWith(["pkg:rpm/rocky/a@1-1?distro=rocky-9"]), [of("T-1", "a", "0:2-1")]);
  assert.equal(sourceless.subjects[0]?.notCovered[0]?.reason, "source-unknown");
});

test("a module's build is compared with modules' alone, and below a fix it is undecided: the stream is not known", async (context) => {
  const node = (version: string): string => `pkg:rpm/almalinux/nodejs@${version}?distro=almalinux-9&epoch=1`;
  const of18 = fix("T-18", "nodejs", "1:18.20.2-1.module_el9.3.0+1+aa");
  const of20 = fix("T-20", "nodejs", "1:20.12.2-1.module_el9.3.0+2+bb");
  const plain = fix("T-16", "nodejs", "1:16.20.2-4.el9");
  const all = [of18, of20, plain];
  const judged = (version: string): Promise<string[]> => foundFor(context, node(version), ...all);
  assert.deepEqual(await judged("20.12.2-1.module_el9.3.0+2+bb"), []);
  assert.deepEqual(await judged("20.11.0-1.module_el9.3.0+1+cc"), ["T-20 undecided"]);
  assert.deepEqual(await judged("18.20.2-1.module_el9.3.0+1+aa"), ["T-20 undecided"]);
  assert.deepEqual(await judged("18.1.0-1.module+el9.1.0+1+dd"), ["T-18 undecided", "T-20 undecided"]);
  assert.deepEqual(await judged("16.20.2-4.el9"), []);
  assert.deepEqual(await judged("16.20.1-1.el9"), ["T-16 affected"]);
  // Undecided is denied like affected, and the fix is named.
  const report = await scan(context, sbomWith([node("18.1.0-1.module+el9.1.0+1+dd")]), [of18]);
  assert.deepEqual(denialsOf(report), ["vulnerability"]);
  assert.deepEqual(report.subjects[0]?.findings[0]?.fixed, ["1:18.20.2-1.module_el9.3.0+1+aa"]);
  // Without a fix, and by a listed version, there is nothing to doubt but the stream.
  const unfixed = osvRecord({ id: "T-0", ecosystem: "AlmaLinux:9", name: "nodejs" });
  assert.deepEqual(await foundFor(context, node("16.20.2-4.el9"), unfixed), ["T-0 affected"]);
  const listed = { ecosystem: "AlmaLinux:9", name: "nodejs", events: [], versions: ["1:18.1.0-1.module+el9"] };
  assert.deepEqual(await foundFor(context, node("18.1.0-1.module+el9"), osvRecord({ id: "T-9", ...listed })), [
    "T-9 affected",
  ]);
});

test("a distribution whose errata OSV does not have, and a package without a release, are not covered", async (context) => {
  for (const purl of [
    "pkg:rpm/centos/bash@5-1?distro=centos-9&upstream=bash-5-1.src.rpm",
    "pkg:rpm/fedora/bash@5-1?distro=fedora-41&upstream=bash-5-1.src.rpm",
    "pkg:rpm/almalinux/bash@5-1?upstream=bash-5-1.src.rpm",
    "pkg:rpm/bash@5-1?distro=almalinux-9",
  ]) {
    const report = await scan(context, sbomWith([purl]), [fix("T-1", "bash", "6-1")]);
    assert.deepEqual(denialsOf(report), ["not-covered"], purl);
    assert.equal(report.subjects[0]?.notCovered[0]?.reason, "distribution-unknown");
  }
  const older = await scan(context, sbomWith([curl("1-1").replace("9.4", "8.9")]), [fix("T-1", "curl", "6-1")]);
  assert.equal(older.subjects[0]?.notCovered[0]?.reason, "release-not-in-database");
});

test("an erratum is as bad as its title says, about the CVEs that it names, and none if it is about bugs", () => {
  const read = (
    id: string,
    summary: string,
    related: readonly string[] = [],
  ): [string | undefined, readonly string[]] => {
    const record = parseOsvRecord(JSON.stringify({ ...fix(id, "a", "2-1"), id, summary, related }));
    if (typeof record === "string") return assert.fail(record);
    return [severityOf(record.ratings)?.level, record.upstream];
  };
  const cves = ["CVE-2026-1", "CVE-2026-2"];
  assert.deepEqual(read("ALSA-2026:1", "Important: curl security update", [...cves, "GHSA-a"]), ["high", cves]);
  assert.deepEqual(read("RLSA-2026:1", "Moderate: curl"), ["medium", []]);
  assert.deepEqual(read("ALSA-2026:1", "curl security update"), [undefined, []]);
  assert.deepEqual(read("ALBA-2026:1", "curl bug fix update"), ["none", []]);
  assert.deepEqual(read("ALEA-2026:1", "curl", ["CVE-2026-1"]), [undefined, ["CVE-2026-1"]]);
  // Elsewhere a title is no rating, and a related vulnerability is another one.
  assert.deepEqual(read("GHSA-aaaa", "Critical: a title", cves), [undefined, []]);
});
