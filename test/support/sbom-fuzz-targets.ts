/** Targets of the fuzzer (fuzz-targets.ts): what an SBOM is made of, and what a scan is told beside it. */
import assert from "node:assert/strict";
import { parseSbom, parseSbomJson } from "../../sbom/document.ts";
import { BinaryProbe } from "../../sbom/generate/binary-probe.ts";
import { catalogDpkg } from "../../sbom/generate/dpkg.ts";
import { FileTree } from "../../sbom/generate/file-tree.ts";
import { findOsRelease } from "../../sbom/generate/os-release.ts";
import { parseModules } from "../../sbom/generate/programs.ts";
import { judgeLicences, parseLicencePolicy } from "../../sbom/licence/evaluate.ts";
import { lintSbom } from "../../sbom/lint.ts";
import { ECOSYSTEMS, splitEcosystem } from "../../sbom/scan/ecosystems.ts";
import { DEFAULT_SCAN_POLICY_BYTES, parseScanPolicy } from "../../sbom/scan/scan-policy.ts";
import { Snapshot } from "../../sbom/scan/snapshot.ts";
import { snapshotKindOf } from "../../sbom/scan/snapshot-kind.ts";
import { readWaivers } from "../../sbom/scan/waiver.ts";
import { scoreSbom } from "../../sbom/score/score.ts";
import { sbomLines } from "../../sbom/show-text.ts";
import { bufferAccess } from "../../sbom/zip-reader.ts";
import { accepted, acceptedLater, codes, type FuzzTarget } from "./fuzz-target.ts";
import { chunksOf, file, layer, OS_RELEASE, sbomBytesOf, scanOf } from "./layer-tar.ts";
import { ndjson, osvRecord, sbomWith } from "./scan-inputs.ts";
import { smallElf } from "./small-elf.ts";
import { zipFile } from "./zip-file.ts";

const text = (data: Buffer): string => data.toString("utf8");
const seed = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** What stands between two files of an input, and between a file's name and its content. */
const [BETWEEN, BEHIND_NAME] = ["\x1e", "\x1f"];
const NAME_MAX_BYTES = 90;

const filesSeed = (files: Readonly<Record<string, string | Buffer>>): Buffer =>
  Buffer.concat(
    Object.entries(files).flatMap(([name, content]) => [
      Buffer.from(`${name}${BEHIND_NAME}`),
      Buffer.from(content),
      Buffer.from(BETWEEN),
    ]),
  );

/** A layer with the files that an input names: the fuzzer would never get a tar's checksums right. */
function layerOf(data: Buffer): Buffer {
  const entries = data
    .toString("latin1")
    .split(BETWEEN)
    .flatMap((one) => {
      const [name = "", ...content] = one.split(BEHIND_NAME);
      const isName = /^[\x21-\x7e]+$/.test(name) && name.length <= NAME_MAX_BYTES && !name.endsWith("/");
      return isName ? [file(name, Buffer.from(content.join(BEHIND_NAME), "latin1"))] : [];
    });
  return layer(...entries);
}

const DPKG = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.3-4\nDepends: b (>= 1)\n";
const goBuild = ((): Buffer => {
  const string = (content: string): Buffer =>
    Buffer.concat([Buffer.of((content.length & 0x7f) | 0x80, content.length >> 7), Buffer.from(content)]);
  const modules = `${"x".repeat(16)}path\ta\nmod\ta\tv1.0.0\ndep\tb\tv2.0.0\th1:x=\n=>\tc\tv3.0.0\n${"y".repeat(16)}`;
  const mark = Buffer.concat([Buffer.from("\xff Go buildinf:\x08\x02", "latin1"), Buffer.alloc(16)]);
  return Buffer.concat([Buffer.from("\x7fELF", "latin1"), mark, string("go1.22.1"), string(modules)]);
})();
const nodeProgram = Buffer.from("\x7fELF https://nodejs.org/download/release/v24.1.0/node-v24.1.0.tar.gz", "latin1");
const metadata = [
  ...["Metadata-Version: 2.4", "Name: a", "Version: 1.0", "License-Expression: MIT", "Author: x"],
  ...["Requires-Dist: b>=1", 'Requires-Dist: c; extra == "d"', "", "Text"],
].join("\n");
const record = `a.py,sha256=${"A".repeat(43)},1\n"b ""c"".py",,\na-1.0.dist-info/RECORD,,\n`;
const imageSeeds = [
  {
    "etc/os-release": OS_RELEASE,
    "var/lib/dpkg/status": DPKG,
    "var/lib/dpkg/info/a.md5sums": `${"0".repeat(32)}  a\n`,
  },
  {
    "app/package.json": '{"name":"a","version":"1.0.0","dependencies":{"b":"^1"},"license":"MIT"}',
    "app/node_modules/b/package.json": '{"name":"b","version":"1.2.3","licenses":[{"type":"MIT"}]}',
    "app/node_modules/.package-lock.json":
      '{"packages":{"node_modules/b":{"version":"1.2.3","integrity":"sha512-AAAAAAAAAAAAAAAAAAAAAA=="}}}',
  },
  {
    "lib/a-1.0.dist-info/METADATA": metadata,
    "lib/a-1.0.dist-info/RECORD": record,
    "lib/a.py": "1",
    "lib/b.egg-info": metadata,
  },
  {
    "lib/apk/db/installed": "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n",
    "etc/os-release": "ID=alpine\nVERSION_ID=3.20.1\n",
  },
].map(filesSeed);

const licencePolicy = {
  schemaVersion: 1,
  allow: ["MIT", "Apache-2.0"],
  review: ["GPL-2.0-only WITH Classpath-exception-2.0"],
  ...{ deny: ["AGPL-3.0-only"], unlisted: "review", unknown: "deny" },
};
const waivers = {
  schemaVersion: 1,
  waivers: [
    {
      ...{ vulnerability: "CVE-2026-1", package: "pkg:npm/lib@1.0.0", image: `sha256:${"0".repeat(64)}`, reason: "x" },
      ...{ created: "2026-01-01T00:00:00Z", expires: "2026-02-01T00:00:00Z" },
    },
  ],
};
const licensed = parseSbom(
  sbomWith([], {
    components: [
      { type: "library", name: "a", "bom-ref": "a", version: "1", licenses: [{ license: { id: "MIT" } }] },
      { type: "library", name: "b", "bom-ref": "b", version: "1", licenses: [{ expression: "MIT OR AGPL-3.0-only" }] },
    ],
  }),
);
const VERSIONS_MAX = 4;

/** What the records of a snapshot of this kind are, as the scan reads them. */
async function recordsOf(name: string, data: Buffer): Promise<(string | undefined)[]> {
  const kind = snapshotKindOf(name);
  const whole = { name, kind, stream: () => chunksOf(data, 1000) };
  const withRandomAccess = (
    use: (bytes: ReturnType<typeof bufferAccess>) => AsyncGenerator<{ text: string | undefined }>,
  ) => use(bufferAccess(data));
  const snapshot = new Snapshot({
    location: "x",
    isDirectory: false,
    files: [{ ...whole, withRandomAccess }],
  } as never);
  const texts: (string | undefined)[] = [];
  for await (const one of snapshot.texts()) texts.push(one.text);
  snapshot.digest();
  return texts;
}

function factsOf(data: Buffer, pieces: number): unknown {
  const probe = new BinaryProbe();
  for (let at = 0; at < data.length; at += pieces) probe.write(data.subarray(at, at + pieces));
  return probe.facts();
}

const records = ndjson([osvRecord()]);

export const sbomFuzzTargets: Readonly<Record<string, FuzzTarget>> = {
  "files of an image": {
    isAsync: true,
    seeds: imageSeeds,
    run: async (data) => {
      const bytes = await acceptedLater(() => sbomBytesOf(layerOf(data)));
      // What is written of whatever lies in an image, our own readers take.
      if (!bytes) return;
      const document = parseSbom(bytes);
      assert.deepEqual(lintSbom(parseSbomJson(bytes)), []);
      sbomLines(document);
    },
  },
  "dpkg's file lists": {
    isAsync: true,
    seeds: [Buffer.from(`${"0".repeat(32)}  usr/bin/a\n`), Buffer.from("/.\n/usr\n/usr/bin/a\n")],
    run: async (data) => {
      const entries = { "etc/os-release": OS_RELEASE, "var/lib/dpkg/status": DPKG, "usr/bin/a": "x" };
      const lists = ["list", "md5sums", "conffiles"].map((kind) => file(`var/lib/dpkg/info/a.${kind}`, data));
      const scan = await scanOf(
        layer(...Object.entries(entries).map(([path, content]) => file(path, content)), ...lists),
      );
      const tree = FileTree.of([scan]);
      accepted(() => catalogDpkg(tree, findOsRelease(tree)));
    },
  },
  "program in an image": {
    seeds: [goBuild, nodeProgram, smallElf()],
    run: (data) => {
      // The pieces that it comes in are no matter, from the first one on that shows what it is.
      if (data.length >= 16) assert.deepEqual(factsOf(data, 16), factsOf(data, data.length));
    },
  },
  "modules of a Go program": {
    seeds: [Buffer.from("path\ta\nmod\ta\tv1.0.0\th1:x=\ndep\tb\tv2.0.0\n=>\tc\tv3.0.0\n")],
    run: (data) => {
      const { path, main, dependencies } = parseModules(text(data));
      const names = [path, ...[...dependencies, ...(main ? [main] : [])].flatMap((one) => [one.path, one.version])];
      assert.ok(names.every((name) => !/[\s\p{Cc}]/u.test(name)));
    },
  },
  "SBOM as it is used": {
    seeds: [sbomWith(["pkg:deb/debian/a@1", "pkg:npm/%40a/b@1.0.0"])],
    run: (data) => {
      const document = accepted(() => parseSbom(data));
      if (!document) return;
      const json = parseSbomJson(data);
      lintSbom(json);
      scoreSbom(json);
      sbomLines(document);
      judgeLicences(document, accepted(() => parseLicencePolicy(seed(licencePolicy))) as never);
    },
  },
  "scan policy": codes(parseScanPolicy, DEFAULT_SCAN_POLICY_BYTES),
  "licence policy": {
    seeds: [seed(licencePolicy)],
    run: (data) => {
      const policy = accepted(() => parseLicencePolicy(data));
      if (policy) assert.equal(judgeLicences(licensed, policy).length, licensed.components.length);
    },
  },
  waivers: {
    seeds: [seed(waivers)],
    run: (data) => {
      for (const { created, expires } of accepted(() => readWaivers(data, "waivers.json", 365)) ?? []) {
        assert.ok(created < expires);
      }
    },
  },
  versions: {
    seeds: [
      "1.2.3\n1.2.3-rc.1\nv1.2.4",
      "1.0_alpha1-r0\n1.0~ab-r2",
      "1!2.0.post1.dev2+a.1\n2.0a1",
      "1.0-SNAPSHOT\n1.0.ga",
      "go1.21rc2\n1.21",
    ].map((one) => Buffer.from(one)),
    run: (data) => {
      const [ecosystem = "", ...versions] = text(data)
        .split("\n")
        .slice(0, VERSIONS_MAX + 1);
      splitEcosystem(ecosystem);
      for (const [name, { compare }] of ECOSYSTEMS) {
        // Maven's algorithm goes round for some that begin with a full stop, such as ".", ".B11.4" and "f21..".
        const others = name === "Maven" ? [] : versions;
        for (const a of versions) for (const b of versions) requireOrder(compare, a, b, others);
      }
    },
  },
  "records of vulnerabilities": {
    isAsync: true,
    seeds: [Buffer.from(records), zipFile([{ name: "a.json", content: records }]), layer(file("a.json", records))],
    run: async (data) => {
      for (const name of ["a.json", "a.ndjson", "a.zip", "a.tar"]) await acceptedLater(() => recordsOf(name, data));
    },
  },
};

/** Both are versions of each other's kind or neither is; what is above is not below; and what is above that is above. */
function requireOrder(
  compare: (a: string, b: string) => number | undefined,
  a: string,
  b: string,
  others: readonly string[],
): void {
  const order = compare(a, b);
  assert.equal(compare(b, a) === undefined, order === undefined);
  if (order === undefined) return;
  assert.equal(Math.sign(order) + Math.sign(compare(b, a) as number), 0);
  for (const c of others) {
    if (order > 0 && (compare(b, c) ?? 0) > 0) assert.ok((compare(a, c) ?? 0) > 0, "an order that goes round");
  }
}
