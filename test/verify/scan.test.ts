import assert from "node:assert/strict";
import { closeSync, openSync, statSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { closeStore, openStore } from "../../bundles/layout/layout.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import {
  OSV_SNAPSHOT_TAR,
  OSV_SNAPSHOT_TAR_ZSTD,
  OSV_SNAPSHOT_ZIP,
  VEX_STATEMENTS,
  WAIVERS,
} from "../../bundles/model/media-types.ts";
import { signBlob } from "../../bundles/sign/blob.ts";
import { DEFAULT_SCAN_POLICY, type ScanPolicy } from "../../sbom/scan/scan-policy.ts";
import { DEFAULT_POLICY, MAY_STAY_UNCHECKED } from "../../verify/policy.ts";
import { decide, type Finding } from "../../verify/verdict.ts";
import type { Judged } from "../../verify/verify.ts";
import { examine, type JudgeOptions } from "../support/judge.ts";
import { osvRecord, type RecordParts } from "../support/scan-inputs.ts";
import { scratch } from "../support/scratch.ts";
import {
  makeSigner,
  makeSigners,
  type SignedBundle,
  signedBundle,
  writeSignedBundle,
} from "../support/signed-bundle.ts";
import { type SmallReleaseOptions, smallRelease, tarOf } from "../support/small-bundle.ts";
import { zipFile } from "../support/zip-file.ts";

const LIB = "pkg:npm/lib@1.0.0";
const DEB = "pkg:deb/debian/libx@1.0?arch=amd64&distro=debian-13&upstream=x%401.0";
const HIGH = { database_specific: { severity: "HIGH" } };
const signers = makeSigners();

type CarriedFile = NonNullable<SmallReleaseOptions["files"]>[number];

function recordFiles(records: readonly (RecordParts | string)[]): Record<string, string> {
  return Object.fromEntries(
    records.map((one, i) => [`${i}.json`, typeof one === "string" ? one : JSON.stringify(osvRecord(one))]),
  );
}

/** A snapshot as a carried file; `lib` is not in it, and its ecosystem is. */
function snapshot(records: readonly (RecordParts | string)[] = [{ name: "other" }]): CarriedFile {
  return { name: "osv", mediaType: OSV_SNAPSHOT_TAR, bytes: tarOf(recordFiles(records)) };
}

interface Release {
  readonly files?: readonly CarriedFile[];
  readonly purls?: readonly string[];
  readonly version?: string;
  /** Other ones make another image. */
  readonly layers?: readonly Record<string, string>[];
}

function release({ files = [snapshot()], purls = [LIB], version = "1.0.0", layers }: Release = {}): SignedBundle {
  const small = smallRelease({
    version,
    images: [{ name: "app", ...(layers && { layers }) }],
    files,
    sbom: (sbom) => ({
      ...sbom,
      components: purls.map((purl) => ({ type: "library", name: "lib", "bom-ref": purl, purl })),
    }),
  });
  return signedBundle({ small, signers });
}

async function verify(
  context: TestContext,
  bundle: SignedBundle,
  scan: Partial<ScanPolicy> | null = {},
  options: Partial<JudgeOptions> = {},
): Promise<Judged & { readonly scans: readonly Finding[] }> {
  const path = join(await scratch(context), "bundle");
  await writeSignedBundle(path, bundle);
  const policy = { ...(scan && { scan: { ...DEFAULT_SCAN_POLICY, ...scan } }) };
  const judged = await examine(path, { trustFiles: bundle.trustFiles, policy, ...options });
  return { ...judged, scans: judged.verdict.findings.filter(({ check }) => check === "scan") };
}

function codes(findings: readonly Finding[]): string[] {
  return findings.filter(({ status }) => status === "fail").map(({ code }) => code);
}

test("a release whose packages have no known vulnerability passes, and the age of the records is told", async (context) => {
  const { verdict, scans } = await verify(context, release());
  assert.equal(verdict.decision, "allow");
  assert.deepEqual(
    scans.map(({ status, subject }) => [status, subject]),
    [
      ["pass", "vulnerability records"],
      ["pass", "app"],
    ],
  );
  assert.match(scans[0]?.message ?? "", /^151 days old, the newest of 2026-01-01T00:00:00\.000Z; 1 records/);
});

test("each kind of snapshot is read, and several count as one", async (context) => {
  const bad = recordFiles([{ more: HIGH }]);
  const tar = tarOf(bad);
  const zip = zipFile(Object.entries(bad).map(([name, content]) => ({ name, content })));
  for (const [mediaType, bytes] of [
    [OSV_SNAPSHOT_TAR, tar],
    [OSV_SNAPSHOT_TAR_ZSTD, zstdCompressSync(tar)],
    [OSV_SNAPSHOT_ZIP, zip],
  ] as const) {
    const files = [{ name: "bad", mediaType, bytes }, snapshot()];
    const { verdict, scans } = await verify(context, release({ files }));
    assert.equal(verdict.decision, "deny");
    assert.deepEqual(codes(scans), ["SCAN_VULNERABILITY"], mediaType);
    assert.match(
      scans.find(({ status }) => status === "fail")?.message ?? "",
      /TEST-1 \(high\) in pkg:npm\/lib@1\.0\.0/,
    );
  }
});

/** What peers pass over in silence: each denies by itself. */
const REFUSED: readonly (readonly [string, Release, Partial<ScanPolicy>, string])[] = [
  ["a vulnerability that nobody rated", { files: [snapshot([{}])] }, {}, "SCAN_VULNERABILITY"],
  ["one record that is no JSON", { files: [snapshot([{ name: "other" }, "{"])] }, {}, "SCAN_RECORD_UNREADABLE"],
  ["an ecosystem that the records do not have", { files: [snapshot([{ ecosystem: "PyPI" }])] }, {}, "SCAN_NOT_COVERED"],
  [
    "a release of Debian that the records do not have",
    { purls: [DEB], files: [snapshot([{ ecosystem: "Debian:12", name: "y" }])] },
    {},
    "SCAN_NOT_COVERED",
  ],
  [
    "a distribution that nobody knows",
    { purls: ["pkg:deb/devuan/x@1.0?arch=amd64&distro=devuan-5"] },
    {},
    "SCAN_NOT_COVERED",
  ],
  ["an SBOM without a package", { purls: ["pkg:oci/x@1"] }, {}, "SCAN_NOTHING_TO_SCAN"],
  ["records that are too old", {}, { maxDatabaseAgeDays: 150 }, "SCAN_DATABASE_TOO_OLD"],
  [
    "records from the future",
    { files: [snapshot([{ name: "other", more: { modified: "2026-07-01T00:00:00Z" } }])] },
    {},
    "SCAN_DATABASE_FROM_FUTURE",
  ],
  [
    "records without a time",
    { files: [snapshot([{ name: "other", more: { modified: "0001-01-01T00:00:00Z" } }])] },
    { maxDatabaseAgeDays: 3650 },
    "SCAN_DATABASE_WITHOUT_TIME",
  ],
  [
    "a snapshot without records",
    { files: [{ ...snapshot(), bytes: tarOf({ "readme.txt": "" }) }] },
    {},
    "SCAN_DATABASE_EMPTY",
  ],
  [
    "a snapshot that is cut short",
    { files: [{ ...snapshot(), bytes: snapshot().bytes.subarray(0, 700) }] },
    {},
    "SCAN_DATABASE_UNREADABLE",
  ],
  [
    "a snapshot in a form that nobody knows",
    { files: [snapshot(), { ...snapshot(), name: "more", mediaType: "application/vnd.sealift.osv.v1.tar+xz" }] },
    {},
    "SCAN_DATABASE_UNREADABLE",
  ],
  [
    "a snapshot that is no archive",
    { files: [{ ...snapshot(), mediaType: OSV_SNAPSHOT_ZIP }] },
    {},
    "SCAN_DATABASE_UNREADABLE",
  ],
  [
    "VEX that is none",
    { files: [snapshot(), { name: "vex", mediaType: VEX_STATEMENTS, bytes: Buffer.from("{}") }] },
    {},
    "SCAN_STATEMENT_MALFORMED",
  ],
  [
    "waivers that are none",
    { files: [snapshot(), { name: "waivers", mediaType: WAIVERS, bytes: Buffer.from("{}") }] },
    {},
    "SCAN_STATEMENT_MALFORMED",
  ],
];

for (const [what, parts, policy, code] of REFUSED) {
  test(`denies ${what}`, async (context) => {
    const { verdict, scans } = await verify(context, release(parts), policy);
    assert.equal(verdict.decision, "deny");
    assert.deepEqual(codes(scans), [code], JSON.stringify(scans));
  });
}

test("a package of an ecosystem that the SBOM does not list denies", async (context) => {
  const small = smallRelease({
    images: [{ name: "app" }],
    files: [snapshot()],
    sbom: (sbom) => {
      const { component, ...metadata } = sbom["metadata"] as { component: object };
      const properties = [{ name: "sealift:sbom:not-catalogued", value: "rpm" }];
      const components = [{ type: "library", name: "lib", "bom-ref": LIB, purl: LIB }];
      return { ...sbom, components, metadata: { ...metadata, component: { ...component, properties } } };
    },
  });
  const { scans } = await verify(context, signedBundle({ small, signers }));
  assert.deepEqual(codes(scans), ["SCAN_NOT_CATALOGUED"]);
});

test("files that are not as their package installed them are told, and denied if the policy says so", async (context) => {
  const properties = [
    { name: "sealift:package:changed-files", value: "2" },
    { name: "sealift:package:changed-file", value: "/usr/bin/x" },
  ];
  const small = smallRelease({
    images: [{ name: "app" }],
    files: [snapshot()],
    sbom: (sbom) => ({
      ...sbom,
      components: [{ type: "library", name: "lib", "bom-ref": LIB, purl: LIB, properties }],
    }),
  });
  const told = await verify(context, signedBundle({ small, signers }));
  assert.deepEqual(codes(told.scans), []);
  assert.match(told.scans[1]?.message ?? "", /1 packages have files that are not as packaged$/);
  assert.equal(told.scans[2]?.message, "not as packaged, pkg:npm/lib@1.0.0: 2 files: /usr/bin/x and 1 more");
  const denied = await verify(context, signedBundle({ small, signers }), { changedFiles: "deny" });
  assert.deepEqual(codes(denied.scans), ["SCAN_FILES_CHANGED"]);
  assert.match(
    denied.scans[1]?.message ?? "",
    /pkg:npm\/lib@1\.0\.0: not as packaged are 2 files: \/usr\/bin\/x and 1 more$/,
  );
});

test("without rules in the policy nothing is judged, and a policy that wants rules followed denies without records", async (context) => {
  const bad = release({ files: [snapshot([{ more: HIGH }])] });
  const unjudged = await verify(context, bad, null);
  assert.equal(unjudged.verdict.decision, "allow");
  assert.deepEqual(
    unjudged.scans.map(({ status }) => status),
    ["not-checked"],
  );
  assert.match(unjudged.scans[0]?.reason ?? "", /the policy does not say/);
  const bare = await verify(context, release({ files: [] }));
  assert.deepEqual([bare.verdict.decision, bare.scans[0]?.status], ["allow", "not-checked"]);
  assert.match(bare.scans[0]?.reason ?? "", /carries no vulnerability records/);
  const acceptNotChecked = MAY_STAY_UNCHECKED.filter((check) => check !== "scan");
  assert.equal(decide(bare.verdict.findings, { ...DEFAULT_POLICY, acceptNotChecked }), "deny");
});

function waiver(expires: string): CarriedFile {
  const waivers = [
    { vulnerability: "TEST-1", package: LIB, reason: "not reachable", created: "2026-05-01T00:00:00Z", expires },
  ];
  return { name: "waivers", mediaType: WAIVERS, bytes: Buffer.from(JSON.stringify({ schemaVersion: 1, waivers })) };
}

function vex(purl: string): CarriedFile {
  const statement = {
    vulnerability: { name: "TEST-1" },
    products: [{ "@id": purl }],
    status: "not_affected",
    justification: "vulnerable_code_not_present",
    timestamp: "2026-05-01T00:00:00Z",
  };
  const document = { "@context": "https://openvex.dev/ns/v0.2.0", statements: [statement] };
  return { name: "vex", mediaType: VEX_STATEMENTS, bytes: Buffer.from(JSON.stringify(document)) };
}

test("carried VEX and a waiver that runs suppress; an expired waiver and a statement about nothing exact do not", async (context) => {
  const bad = snapshot([{ more: HIGH }]);
  for (const file of [waiver("2026-06-02T00:00:00Z"), vex(LIB)]) {
    const { verdict, scans } = await verify(context, release({ files: [bad, file] }));
    assert.equal(verdict.decision, "allow", JSON.stringify(scans));
    assert.match(scans.find(({ subject }) => subject === "app")?.message ?? "", /1 suppressed/);
  }
  for (const file of [waiver("2026-05-31T00:00:00Z"), vex("pkg:npm/lib")]) {
    const { verdict, scans } = await verify(context, release({ files: [bad, file] }));
    assert.equal(verdict.decision, "deny");
    assert.deepEqual(codes(scans), ["SCAN_VULNERABILITY"]);
  }
  const long = await verify(context, release({ files: [bad, waiver("2026-06-02T00:00:00Z")] }), { maxWaiverDays: 10 });
  assert.deepEqual(codes(long.scans), ["SCAN_STATEMENT_MALFORMED"]);
});

test("a carried snapshot is signed by who signed the release, as a policy may demand", async (context) => {
  const { verdict } = await verify(context, release(), { requireSignedDatabase: true });
  assert.equal(verdict.decision, "allow");
});

/** Runs `use` with a snapshot that did not come with the release, signed by `keys`. */
async function imported<T>(
  context: TestContext,
  bytes: Buffer,
  keys: readonly Parameters<typeof signBlob>[0][],
  use: (records: NonNullable<JudgeOptions["imported"]>) => Promise<T>,
): Promise<T> {
  const path = join(await scratch(context), "osv.tar");
  await writeFile(path, bytes);
  const signatures = keys.map((key) => signBlob(key, bytes));
  const fd = openSync(path, "r");
  try {
    return await use({ kind: "tar", fd, size: statSync(path).size, signatures });
  } finally {
    closeSync(fd);
  }
}

test("imported records count if the security role signed them, and the newer ones decide", async (context) => {
  const newer = tarOf(recordFiles([{ more: { ...HIGH, modified: "2026-05-01T00:00:00Z" } }]));
  const older = tarOf(recordFiles([{ more: { ...HIGH, modified: "2025-05-01T00:00:00Z" } }]));
  const security = signers.security.map(({ key }) => key);
  const with_ = (bytes: Buffer, bundle: SignedBundle): Promise<Judged & { readonly scans: readonly Finding[] }> =>
    imported(context, bytes, security, (records) => verify(context, bundle, {}, { imported: records }));
  assert.deepEqual(codes((await with_(newer, release({ files: [] }))).scans), ["SCAN_VULNERABILITY"]);
  assert.deepEqual(codes((await with_(newer, release())).scans), ["SCAN_VULNERABILITY"]);
  assert.deepEqual(codes((await with_(older, release())).scans), []);
});

test("imported records without a signature, or of another key, deny and are not parsed", async (context) => {
  const broken = Buffer.from("not a tar at all");
  const scanned = (keys: readonly Parameters<typeof signBlob>[0][]) =>
    imported(context, broken, keys, (records) => verify(context, release(), {}, { imported: records }));
  assert.deepEqual(codes((await scanned([])).scans), ["SCAN_DATABASE_NOT_SIGNED"]);
  assert.deepEqual(codes((await scanned([makeSigner("eve").key])).scans), ["SIGNATURE_UNKNOWN_KEY"]);
  assert.deepEqual(codes((await scanned(signers.builder.map(({ key }) => key))).scans), ["SIGNATURE_UNKNOWN_KEY"]);
  assert.deepEqual(codes((await scanned(signers.security.map(({ key }) => key))).scans), ["SCAN_DATABASE_UNREADABLE"]);
});

test("what is in the release is described only when asked, also of a release that is denied for it", async (context) => {
  const bad = release({
    files: [snapshot([{ more: HIGH }])],
    version: "1.1.0",
    purls: ["pkg:npm/lib@1.0.0", "pkg:npm/new@1.0.0"],
  });
  assert.equal((await verify(context, bad)).contents, undefined);
  const path = join(await scratch(context), "older");
  await writeSignedBundle(path, release({ purls: ["pkg:npm/lib@0.9.0"], layers: [{ "etc/motd": "old" }] }));
  const earlier = { store: openStore(path), digest: undefined };
  try {
    const { verdict, contents } = await verify(context, bad, {}, { describe: { earlier } });
    assert.equal(verdict.decision, "deny");
    assert.deepEqual(
      contents?.images[0]?.packages.map(({ kind, name }) => [kind, name]),
      [
        ["npm", "lib"],
        ["npm", "lib"],
      ],
    );
    assert.deepEqual(
      contents?.vulnerabilities.map(({ id, level, package: one }) => [id, level, one]),
      [["TEST-1", "high", LIB]],
    );
    assert.match(contents?.comparison.against ?? "", /^demo 1\.0\.0, sha256:/);
    const [image] = contents?.comparison.images ?? [];
    assert.deepEqual(
      image?.rows.map(({ kind, package: one }) => `${kind} ${one}`),
      ["upgraded pkg:npm/lib", "added pkg:npm/new", "vulnerability carried pkg:npm/lib"],
    );
    assert.match(contents?.comparison.records ?? "", /^newest of 2026-01-01T00:00:00\.000Z, sha256:/);
    const tomorrow = await verify(context, bad, {}, { describe: { earlier }, at: "2026-06-02T00:00:00.000Z" });
    assert.deepEqual(tomorrow.contents?.comparison, contents?.comparison, "the same on another day");
    const other = { ...earlier, digest: digestOf("another") };
    const mistaken = (await verify(context, bad, {}, { describe: { earlier: other } })).contents?.comparison;
    assert.match(mistaken?.against ?? "", /^not checked: .* it is sha256:/);
  } finally {
    closeStore(earlier.store);
  }
});

test("a description never changes the decision: an earlier release that is none is told, and so is a broken scan", async (context) => {
  const path = join(await scratch(context), "older");
  await writeFile(path, "no bundle");
  const earlier = { store: openStore(path), digest: undefined };
  try {
    const broken = release({ files: [snapshot(["{"])] });
    const { verdict, contents } = await verify(context, broken, null, { describe: { earlier } });
    assert.equal(contents?.comparison.isScanned, false);
    assert.equal(verdict.decision, "allow");
    assert.match(contents?.comparison.against ?? "", /^not checked: the earlier release cannot be read/);
    const unsigned = imported(context, Buffer.from("x"), [], (records) =>
      verify(context, release({ files: [] }), null, { imported: records, describe: { earlier: undefined } }),
    );
    assert.match(
      (await unsigned).contents?.records ?? "",
      /^not checked: imported vulnerability records .* not signed/,
    );
  } finally {
    closeStore(earlier.store);
  }
});

test("an image that stayed digest for digest changed nothing, whatever its newer SBOM lists more", async (context) => {
  const path = join(await scratch(context), "older");
  const bundle = release({ purls: [LIB, "pkg:npm/new@1.0.0"], version: "1.1.0" });
  await writeSignedBundle(path, release());
  const earlier = { store: openStore(path), digest: undefined };
  try {
    const { contents } = await verify(context, bundle, {}, { describe: { earlier } });
    assert.deepEqual(
      contents?.comparison.images.map(({ unchanged, rows }) => [unchanged, rows]),
      [[2, []]],
    );
  } finally {
    closeStore(earlier.store);
  }
});
