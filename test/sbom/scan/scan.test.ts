import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import type { ScanReport } from "../../../sbom/scan/report.ts";
import { reportLines } from "../../../sbom/scan/report-text.ts";
import { DEFAULT_SCAN_POLICY, type Rule, type ScanPolicy } from "../../../sbom/scan/scan-policy.ts";
import { file, layer } from "../../support/layer-tar.ts";
import { denialsOf, ndjson, osvRecord, type RecordParts, sbomWith, scanOne } from "../../support/scan-inputs.ts";
import { scratch } from "../../support/scratch.ts";
import { zipFile } from "../../support/zip-file.ts";

type Context = Parameters<typeof scratch>[0];

/** Writes records as NDJSON and scans packages by them. */
async function scan(
  context: Context,
  purls: readonly string[],
  records: readonly (object | string)[],
  policy: Partial<ScanPolicy> = {},
): Promise<ScanReport> {
  const path = join(await scratch(context), "db.ndjson");
  await writeFile(path, records.map((one) => (typeof one === "string" ? `${one}\n` : ndjson([one]))).join(""));
  return scanOne(sbomWith(purls), path, { policy: { ...DEFAULT_SCAN_POLICY, ...policy } });
}

function found(report: ScanReport): string[] {
  return (report.subjects[0]?.findings ?? []).map(({ id, package: { purl } }) => `${id} ${purl}`).sort();
}

const LIB = "pkg:npm/lib@1.0.0";
const HIGH = { database_specific: { severity: "HIGH" } };
const LOW = { database_specific: { severity: "LOW" } };
/** Makes an ecosystem covered without being about anything. */
const cover = (ecosystem: string): object => osvRecord({ id: `COVER-${ecosystem}`, ecosystem, name: "nothing-here" });

test("finds a package that a record names, and denies by its level", async (context) => {
  const report = await scan(
    context,
    [LIB],
    [osvRecord({ events: [{ introduced: "0" }, { fixed: "1.0.1" }], more: HIGH })],
  );
  assert.deepEqual(found(report), [`TEST-1 ${LIB}`]);
  assert.deepEqual(report.subjects[0]?.findings[0]?.fixed, ["1.0.1"]);
  assert.equal(report.decision, "deny");
  assert.deepEqual(denialsOf(report), ["vulnerability"]);
  const low = await scan(context, [LIB], [osvRecord({ more: LOW })]);
  assert.equal(low.decision, "allow");
  assert.equal(found(low).length, 1);
});

test("a vulnerability that nobody rated is denied, and a policy may demand a fix", async (context) => {
  assert.deepEqual(denialsOf(await scan(context, [LIB], [osvRecord()])), ["vulnerability"]);
  const fixable = { vulnerabilities: { ...DEFAULT_SCAN_POLICY.vulnerabilities, unknown: "deny-fixable" as Rule } };
  assert.deepEqual(denialsOf(await scan(context, [LIB], [osvRecord()], fixable)), []);
  const fixed = osvRecord({ events: [{ introduced: "0" }, { fixed: "2.0.0" }] });
  assert.deepEqual(denialsOf(await scan(context, [LIB], [fixed], fixable)), ["vulnerability"]);
});

test("looks at every affected entry of a record, and at every range of it", async (context) => {
  const away = {
    package: { ecosystem: "npm", name: "lib" },
    ranges: [{ type: "SEMVER", events: [{ introduced: "9.0.0" }] }],
  };
  const here = {
    package: { ecosystem: "npm", name: "lib" },
    ranges: [...away.ranges, { type: "SEMVER", events: [{ introduced: "0" }] }],
  };
  assert.equal(found(await scan(context, [LIB], [{ id: "A-1", affected: [away, here] }])).length, 1);
  assert.equal(found(await scan(context, [LIB], [{ id: "A-1", affected: [away] }])).length, 0);
});

test("neither a withdrawn record nor one of another ecosystem, release or name counts", async (context) => {
  const records = [
    osvRecord({ more: { withdrawn: "2025-01-01T00:00:00Z" } }),
    osvRecord({ id: "A-2", ecosystem: "PyPI" }),
    osvRecord({ id: "A-3", name: "Lib" }),
    osvRecord({ id: "A-4", name: "@scope/lib" }),
  ];
  const report = await scan(context, [LIB], records);
  assert.deepEqual(found(report), []);
  assert.equal(report.database.withdrawn, 1);
});

test("records that name each other are one finding, with the CVE's name and the worst level", async (context) => {
  const report = await scan(
    context,
    [LIB],
    [
      osvRecord({ id: "GHSA-a", more: { aliases: ["CVE-2024-1"], ...LOW } }),
      osvRecord({ id: "B-2", more: { aliases: ["B-3"] } }),
      osvRecord({ id: "SNYK-b", more: { aliases: ["CVE-2024-1", "B-3"], ...HIGH } }),
      osvRecord({ id: "GHSA-c", more: { aliases: ["CVE-2024-2"] } }),
    ],
  );
  const [first, second] = report.subjects[0]?.findings ?? [];
  assert.deepEqual(found(report), [`CVE-2024-1 ${LIB}`, `CVE-2024-2 ${LIB}`]);
  assert.deepEqual(first?.records, ["B-2", "GHSA-a", "SNYK-b"]);
  assert.equal(first?.severity.level, "high");
  assert.equal(second?.severity.level, "unknown");
});

test("names of Python and Go packages match in any spelling", async (context) => {
  const purls = ["pkg:pypi/zope-interface@1.0", "pkg:golang/github.com/masterminds/goutils@v1.1.0"];
  const report = await scan(context, purls, [
    osvRecord({ id: "P-1", ecosystem: "PyPI", name: "Zope.Interface" }),
    osvRecord({
      id: "G-1",
      ecosystem: "Go",
      name: "github.com/Masterminds/goutils",
      events: [{ introduced: "0" }, { fixed: "1.1.1" }],
    }),
  ]);
  assert.equal(found(report).length, 2);
});

test("a Debian package is judged by its source and the source's version, however the SBOM spells them", async (context) => {
  const record: RecordParts = {
    ecosystem: "Debian:12",
    name: "src",
    events: [{ introduced: "0" }, { fixed: "1:2.0-2" }],
  };
  const spellings = [
    "pkg:deb/debian/bin@1:2.0-1?arch=amd64&distro=debian-12&upstream=src",
    "pkg:deb/debian/bin@9.0-1?distro=bookworm&upstream=src%401:2.0-1",
    "pkg:deb/debian/bin@2.0-1?distro=debian-12.5&epoch=1&upstream=src",
    "pkg:deb/debian/src@1:2.0-1?arch=source&distro=debian-12",
    "pkg:deb/debian/bin@1:2.0-1%2Bb7?distro=debian-12&upstream=src",
  ];
  for (const purl of spellings) assert.equal(found(await scan(context, [purl], [osvRecord(record)])).length, 1, purl);
  const others = [
    "pkg:deb/debian/bin@1:2.0-2?distro=debian-12&upstream=src",
    "pkg:deb/debian/bin@1:2.0-2%2Bb1?distro=debian-12&upstream=src",
    "pkg:deb/debian/src@1:2.0-1?distro=debian-12&upstream=other",
  ];
  for (const purl of others) assert.equal(found(await scan(context, [purl], [osvRecord(record)])).length, 0, purl);
});

test("trivy's properties name the source too", async (context) => {
  const path = join(await scratch(context), "db.ndjson");
  await writeFile(
    path,
    ndjson([osvRecord({ ecosystem: "Debian:12", name: "src", events: [{ introduced: "0" }, { fixed: "1:2.0-2" }] })]),
  );
  const purl = "pkg:deb/debian/bin@7?distro=debian-12";
  const properties = Object.entries({ SrcName: "src", SrcVersion: "2.0", SrcRelease: "1", SrcEpoch: "1" }).map(
    ([name, value]) => ({ name: `aquasecurity:trivy:${name}`, value }),
  );
  const report = await scanOne(
    sbomWith([], { components: [{ type: "library", name: "bin", purl, properties }] }),
    path,
  );
  assert.deepEqual(found(report), [`TEST-1 ${purl}`]);
});

test("Alpine and Ubuntu packages are judged by their release", async (context) => {
  const records = [
    osvRecord({
      id: "A-1",
      ecosystem: "Alpine:v3.19",
      name: "openssl",
      events: [{ introduced: "0" }, { fixed: "3.1.4-r6" }],
    }),
    osvRecord({ id: "A-2", ecosystem: "Alpine:v3.20", name: "openssl" }),
    osvRecord({ id: "U-1", ecosystem: "Ubuntu:24.04:LTS", name: "openssl" }),
    osvRecord({ id: "U-2", ecosystem: "Ubuntu:Pro:24.04:LTS", name: "openssl" }),
  ];
  const alpine = "pkg:apk/alpine/libssl3@3.1.4-r5?distro=alpine-3.19.1&upstream=openssl";
  const ubuntu = "pkg:deb/ubuntu/libssl3t64@3.0-1?distro=ubuntu-24.04&upstream=openssl";
  assert.deepEqual(found(await scan(context, [alpine, ubuntu], records)), [`A-1 ${alpine}`, `U-1 ${ubuntu}`]);
});

test("denies what no record covers, and says why", async (context) => {
  const reasonOf = async (purl: string, records: readonly object[]): Promise<string | undefined> => {
    const report = await scan(context, [purl, LIB], [cover("npm"), ...records]);
    assert.deepEqual(denialsOf(report), ["not-covered"], purl);
    return report.subjects[0]?.notCovered[0]?.reason;
  };
  assert.equal(await reasonOf("pkg:pypi/a@1", []), "ecosystem-not-in-database");
  assert.equal(await reasonOf("pkg:gem/a@1", [cover("RubyGems")]), "ecosystem-unknown");
  assert.equal(await reasonOf("pkg:npm/a", []), "no-version");
  assert.equal(await reasonOf("no purl", []), "purl-malformed");
  const deb = (distro: string, more = "&upstream=a"): string => `pkg:deb/debian/a@1?distro=${distro}${more}`;
  assert.equal(await reasonOf(deb("debian-13"), [cover("Debian:12")]), "release-not-in-database");
  assert.equal(await reasonOf(deb("sid"), [cover("Debian:12")]), "distribution-unknown");
  assert.equal(await reasonOf("pkg:deb/debian/a@1?upstream=a", [cover("Debian:12")]), "distribution-unknown");
  assert.equal(
    await reasonOf("pkg:deb/kali/a@1?distro=kali-2024&upstream=a", [cover("Debian:12")]),
    "distribution-unknown",
  );
  assert.equal(await reasonOf(deb("debian-12", ""), [cover("Debian:12")]), "source-unknown");
});

test("a policy may accept that a package is not covered, and an own application needs no record", async (context) => {
  const accept = { acceptNotCovered: ["pkg:gem/*"] };
  const report = await scan(context, ["pkg:gem/a@1", LIB], [cover("npm")], accept);
  assert.equal(report.decision, "allow");
  assert.deepEqual(report.subjects[0]?.notCovered, [
    { purl: "pkg:gem/a@1", reason: "ecosystem-unknown", accepted: true },
  ]);
  const path = join(await scratch(context), "db.ndjson");
  await writeFile(path, ndjson([cover("npm")]));
  const own = { type: "application", name: "own", version: "1.0.0" };
  const library = { type: "library", name: "x", purl: LIB };
  assert.equal((await scanOne(sbomWith([], { components: [own, library] }), path)).decision, "allow");
  assert.deepEqual(denialsOf(await scanOne(sbomWith([], { components: [own] }), path)), ["nothing-to-scan"]);
  const unnamed = { type: "library", name: "x", version: "1" };
  assert.deepEqual(denialsOf(await scanOne(sbomWith([], { components: [unnamed, library] }), path)), ["not-covered"]);
});

test("denies an SBOM without packages, and one that says it does not list all", async (context) => {
  assert.deepEqual(denialsOf(await scan(context, [], [cover("npm")])), ["nothing-to-scan"]);
  const path = join(await scratch(context), "db.ndjson");
  await writeFile(path, ndjson([cover("npm")]));
  const properties = [{ name: "sealift:sbom:not-catalogued", value: "rpm" }];
  const metadata = { component: { type: "container", name: "x", properties } };
  const unlisted = sbomWith([LIB], { metadata });
  assert.deepEqual(denialsOf(await scanOne(unlisted, path)), ["not-catalogued"]);
  const accepting = (pattern: string): Promise<ScanReport> =>
    scanOne(unlisted, path, { policy: { ...DEFAULT_SCAN_POLICY, acceptNotCovered: [pattern] } });
  assert.deepEqual(denialsOf(await accepting("pkg:rpm/redhat/*")), ["not-catalogued"]);
  const accepted = await accepting("pkg:rpm/*");
  assert.deepEqual(denialsOf(accepted), []);
  assert.deepEqual(accepted.subjects[0]?.notCatalogued, ["rpm"]);
});

test("tells files that are not as packaged, by path and number, and denies them by policy alone", async (context) => {
  const path = join(await scratch(context), "db.ndjson");
  await writeFile(path, ndjson([cover("npm")]));
  const property = (name: string, value: string): object => ({ name: `sealift:package:${name}`, value });
  const one = (...properties: object[]): object => ({ type: "library", name: "lib", purl: LIB, properties });
  const of = (...properties: object[]): Promise<ScanReport> =>
    scanOne(sbomWith([], { components: [one(...properties)] }), path);
  const report = await of(property("changed-file", "/usr/bin/a\u001b[2J"), property("changed-files", "3"));
  assert.equal(report.decision, "allow");
  assert.deepEqual(report.subjects[0]?.changedFiles, [{ purl: LIB, count: 3, files: ["/usr/bin/a\u001b[2J"] }]);
  const line = reportLines(report).find((text) => text.includes("not as packaged"));
  assert.match(line ?? "", /pkg:npm\/lib@1\.0\.0: 3 files: \/usr\/bin\/a.* and 2 more$/);
  assert.ok(!line?.includes("\u001b"));
  assert.deepEqual((await of(property("changed-files", "0"))).subjects[0]?.changedFiles, []);
  // A number that is none does not hide the file.
  const odd = await of(property("changed-file", "/a"), property("changed-files", "none"));
  assert.equal(odd.subjects[0]?.changedFiles[0]?.count, 1);
  const sbom = sbomWith([], { components: [one(property("changed-file", "/a"))] });
  const denied = await scanOne(sbom, path, { policy: { ...DEFAULT_SCAN_POLICY, changedFiles: "deny" } });
  assert.deepEqual(denialsOf(denied), ["changed-files"]);
});

test("denies when a record cannot be read, whatever it is about", async (context) => {
  const broken = ["{", '{"id":"A-1","affected":[{"package":{"name":"other"}}]}', '"\u{fffd}"'];
  const report = await scan(context, [LIB], [cover("npm"), ...broken]);
  assert.deepEqual(denialsOf(report), ["record-unreadable"]);
  assert.equal(report.database.unreadableCount, 3);
  assert.match(report.database.unreadable[0]?.name ?? "", /^db\.ndjson:2$/);
});

test("a version that cannot be compared is denied like an affected one", async (context) => {
  const latest = "pkg:npm/lib@latest";
  const report = await scan(
    context,
    [latest],
    [osvRecord({ events: [{ introduced: "0" }, { fixed: "2.0.0" }], more: HIGH })],
  );
  assert.equal(report.subjects[0]?.findings[0]?.decision, "undecided");
  assert.deepEqual(denialsOf(report), ["vulnerability"]);
});

test("the age of the database is always told, and its limit is policy", async (context) => {
  const report = await scan(context, [LIB], [cover("npm")]);
  assert.equal(report.database.ageDays, 2);
  assert.equal(report.decision, "allow");
  assert.deepEqual(denialsOf(await scan(context, [LIB], [cover("npm")], { maxDatabaseAgeDays: 1 })), [
    "database-too-old",
  ]);
  assert.deepEqual(denialsOf(await scan(context, [LIB], [cover("npm")], { maxDatabaseAgeDays: 2 })), []);
  const undated = { ...cover("npm"), modified: "0001-01-01T00:00:00Z" };
  assert.deepEqual(denialsOf(await scan(context, [LIB], [undated], { maxDatabaseAgeDays: 9 })), [
    "database-without-time",
  ]);
  const future = { ...cover("npm"), modified: "2027-01-01T00:00:00Z" };
  assert.deepEqual(denialsOf(await scan(context, [LIB], [future])), ["database-from-the-future"]);
  assert.deepEqual(denialsOf(await scan(context, [LIB], [cover("npm")], { requireSignedDatabase: true })), [
    "database-not-signed",
  ]);
});

test("reads the same records from a directory, a zip, a tar and their compressed forms", async (context) => {
  const directory = await scratch(context);
  const record = osvRecord({ more: HIGH });
  const json = JSON.stringify(record);
  const tar = layer(file("npm/a.json", json), file("README.md", "x"));
  await mkdir(join(directory, "tree/npm"), { recursive: true });
  await writeFile(join(directory, "tree/npm/a.json"), json);
  await writeFile(join(directory, "tree/README.md"), "x");
  await mkdir(join(directory, "zipped/npm"), { recursive: true });
  await writeFile(
    join(directory, "zipped/npm/all.zip"),
    zipFile([
      { name: "a.json", content: json },
      { name: "d/", content: "" },
    ]),
  );
  await writeFile(join(directory, "a.json"), json);
  await writeFile(join(directory, "a.tar"), tar);
  await writeFile(join(directory, "a.tar.gz"), gzipSync(tar));
  // Longer than what is read at once.
  const long = JSON.stringify({ ...record, details: "x".repeat(200_000) });
  await writeFile(join(directory, "a.ndjson"), `\n${long}\n`);
  await writeFile(join(directory, "no-last-newline.ndjson"), long);
  const lines = ["a.ndjson", "no-last-newline.ndjson"];
  for (const name of ["tree", "zipped", "zipped/npm/all.zip", "a.json", "a.tar", "a.tar.gz", ...lines]) {
    const report = await scanOne(sbomWith([LIB]), join(directory, name));
    assert.deepEqual(found(report), [`TEST-1 ${LIB}`], name);
    assert.equal(report.database.records, 1, name);
    assert.equal((await scanOne(sbomWith([LIB]), join(directory, name))).database.digest, report.database.digest);
  }
  assert.equal((await scanOne(sbomWith([LIB]), join(directory, "tree"))).database.ignoredFiles, 1);
});

test("a snapshot that is not there, is empty or damaged stops the scan", async (context) => {
  const directory = await scratch(context);
  const refuses = async (name: string, code: string): Promise<void> => {
    await assert.rejects(scanOne(sbomWith([LIB]), join(directory, name)), { code }, name);
  };
  await refuses("nothing", "SCAN_DATABASE_NOT_FOUND");
  await mkdir(join(directory, "empty"));
  await refuses("empty", "SCAN_DATABASE_EMPTY");
  await writeFile(join(directory, "notes.txt"), "x");
  await refuses("notes.txt", "SCAN_DATABASE_EMPTY");
  const zip = zipFile([{ name: "a.json", content: JSON.stringify(osvRecord()) }]);
  await writeFile(join(directory, "short.zip"), zip.subarray(0, -5));
  await refuses("short.zip", "SCAN_DATABASE_UNREADABLE");
  const tar = layer(file("a.json", JSON.stringify(osvRecord())));
  await writeFile(join(directory, "short.tar"), tar.subarray(0, 600));
  await refuses("short.tar", "SCAN_DATABASE_UNREADABLE");
  await writeFile(join(directory, "short.tar.gz"), gzipSync(tar).subarray(0, 60));
  await refuses("short.tar.gz", "SCAN_DATABASE_UNREADABLE");
});

test("more records never take a finding away, and neither their order nor other packages matter", async (context) => {
  const records = Array.from({ length: 30 }, (_, i) =>
    osvRecord({
      id: `T-${i}`,
      name: i % 3 === 0 ? "lib" : "other",
      events: [{ introduced: `${i % 4}.0.0` }, { fixed: `${(i % 4) + 1}.0.0` }],
    }),
  );
  const all = found(await scan(context, [LIB], records));
  assert.deepEqual(found(await scan(context, [LIB], [...records].reverse())), all);
  for (let count = 1; count < records.length; count += 7) {
    const part = found(await scan(context, [LIB], records.slice(0, count)));
    assert.ok(part.every((one) => all.includes(one)));
  }
  const more = found(await scan(context, ["pkg:npm/third@1.0.0", LIB, LIB.replace("1.0.0", "9.0.0")], records));
  assert.deepEqual(
    more.filter((one) => one.endsWith(LIB)),
    all,
  );
});
