import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { file, hardlink, layer, pax, propertiesOf, sbomOf, symlink } from "../../support/layer-tar.ts";
import { rpmDatabase, rpmPackage } from "../../support/rpm-database.ts";

const hex = (algorithm: string, content: string): string => createHash(algorithm).update(content).digest("hex");
const DEBIAN = file("etc/os-release", "ID=debian\nVERSION_ID=13\n");

/** What the SBOM says of the only package named "tool": changed paths, their number, files that were not compared. */
async function changed(...layers: readonly Buffer[]): Promise<[string[], string[], string[]]> {
  const { components } = await sbomOf(...layers);
  const tool = components.find(({ name }) => name === "tool");
  assert.ok(tool);
  const of = (name: string): string[] => propertiesOf(tool, `sealift:package:${name}`);
  return [of("changed-file"), of("changed-files"), of("files-not-compared")];
}

const NOTHING: [string[], string[], string[]] = [[], [], []];
const FILES = { "usr/bin/tool": "program", "usr/lib/tool/data": "x".repeat(300_000), "etc/tool.conf": "a=1" };

function debian(files: Readonly<Record<string, string>>, record = "info/tool.md5sums", status = "status"): Buffer {
  const sums = Object.entries(FILES).map(([path, content]) => `${hex("md5", content)}  ${path}\n`);
  const row = "Package: tool\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n";
  return layer(
    DEBIAN,
    ...Object.entries(files).map(([path, content]) => file(path, content)),
    file(`var/lib/dpkg/${status}`, row),
    file(`var/lib/dpkg/${record}`, sums.join("")),
  );
}

test("a file of a Debian package with other bytes than dpkg recorded is told, in whichever layer it was changed", async () => {
  assert.deepEqual(await changed(debian(FILES)), NOTHING);
  assert.deepEqual(await changed(debian({ ...FILES, "usr/bin/tool": "Program" })), [["/usr/bin/tool"], ["1"], []]);
  const above = layer(file("usr/lib/tool/data", "y".repeat(300_000)));
  assert.deepEqual(await changed(debian(FILES), above), [["/usr/lib/tool/data"], ["1"], []]);
  assert.deepEqual(await changed(debian(FILES), above, debian(FILES)), NOTHING);
  for (const record of ["info/tool:amd64.md5sums", "status.d/tool.md5sums"]) {
    assert.deepEqual(await changed(debian(FILES, record), above), [["/usr/lib/tool/data"], ["1"], []], record);
  }
});

test("configuration, what is missing, and what dpkg diverted are no changes", async () => {
  assert.deepEqual(await changed(debian({ ...FILES, "etc/tool.conf": "a=2" })), NOTHING);
  assert.deepEqual(await changed(debian(FILES), layer(file("usr/bin/.wh.tool"))), NOTHING);
  const diverted = file("var/lib/dpkg/diversions", "/usr/bin/tool\n/usr/bin/tool.distrib\nother\n");
  assert.deepEqual(await changed(debian(FILES), layer(diverted, file("usr/bin/tool", "other"))), NOTHING);
});

test("a link to another file is followed to its bytes, and through a directory that is a link", async () => {
  const linked = layer(file("usr/share/evil", "evil"), hardlink("usr/bin/tool", "usr/share/evil"));
  assert.deepEqual(await changed(debian(FILES), linked), [["/usr/bin/tool"], ["1"], []]);
  const sums = file("var/lib/dpkg/info/tool.md5sums", `${hex("md5", "program")}  bin/tool\n`);
  const merged = layer(symlink("bin", "usr/bin"), sums);
  assert.deepEqual(await changed(debian(FILES), merged), NOTHING);
  assert.deepEqual(await changed(debian({ ...FILES, "usr/bin/tool": "P" }), merged), [["/bin/tool"], ["1"], []]);
});

test("what cannot be compared is counted, and of many changes the first are named", async () => {
  const sparse = Buffer.concat([pax({ "GNU.sparse.major": "1" }), file("usr/bin/tool", "program")]);
  assert.deepEqual(await changed(debian(FILES), layer(sparse)), [[], [], ["1"]]);
  const names = Array.from({ length: 30 }, (_, i) => `usr/share/tool/${String(i).padStart(2, "0")}`);
  const sums = names.map((name) => `${"0".repeat(32)}  ${name}\n`).join("");
  const many = layer(...names.map((name) => file(name, name)), file("var/lib/dpkg/info/tool.md5sums", sums));
  const [paths, count] = await changed(debian(FILES), many);
  assert.deepEqual(
    paths,
    names.slice(0, 20).map((name) => `/${name}`),
  );
  assert.deepEqual(count, ["30"]);
});

test("apk's checksums are compared, SHA-1 and SHA-256", async () => {
  const alpine = file("etc/os-release", "ID=alpine\nVERSION_ID=3.22.1\n");
  const image = (content: string, algorithm: "sha1" | "sha256", recorded = "program"): Buffer => {
    const base64 = createHash(algorithm).update(recorded).digest("base64");
    const database = [
      "P:tool\nV:1-r0\nA:x86_64",
      `F:usr/bin\nR:tool\na:0:0:755\nZ:Q${algorithm === "sha1" ? 1 : 2}${base64}`,
      "R:unrecorded\nF:etc\nR:tool.conf\nZ:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    ].join("\n");
    const others = [file("etc/tool.conf", "x"), file("usr/bin/unrecorded", "x")];
    return layer(alpine, ...others, file("lib/apk/db/installed", database), file("usr/bin/tool", content));
  };
  for (const algorithm of ["sha1", "sha256"] as const) {
    assert.deepEqual(await changed(image("program", algorithm)), NOTHING);
    assert.deepEqual(await changed(image("evil", algorithm)), [["/usr/bin/tool"], ["1"], []]);
    assert.deepEqual(await changed(image("program", algorithm), layer(file("usr/bin/tool", "e"))), [
      ["/usr/bin/tool"],
      ["1"],
      [],
    ]);
  }
});

test("rpm's digests are compared where they are SHA-256 and rpm itself would look at them", async () => {
  const os = file("etc/os-release", "ID=rocky\nVERSION_ID=9.4\n");
  const image = (more: Parameters<typeof rpmPackage>[3], content = "evil"): Buffer =>
    layer(
      os,
      file("usr/bin/tool", content),
      file("var/lib/rpm/rpmdb.sqlite", rpmDatabase([rpmPackage("tool", "1", "1.el9", more)])),
    );
  const files = { "/usr/bin/tool": 0 };
  const digests = [hex("sha256", "program")];
  assert.deepEqual(await changed(image({ files, digests }, "program")), NOTHING);
  assert.deepEqual(await changed(image({ files, digests })), [["/usr/bin/tool"], ["1"], []]);
  assert.deepEqual(await changed(image({ files: { "/usr/bin/tool": 1 }, digests })), NOTHING, "configuration");
  assert.deepEqual(await changed(image({ files, digests, verifyFlags: [0xffff_fffe] })), NOTHING, "not to be verified");
  assert.deepEqual(await changed(image({ files, digests: [hex("md5", "program")], digestAlgorithm: 1 })), NOTHING);
  assert.deepEqual(await changed(image({ files })), NOTHING);
});

test("a wheel's RECORD is compared", async () => {
  const site = "usr/local/lib/python3.13/site-packages";
  const record = (path: string, content: string): string =>
    `${path},sha256=${createHash("sha256").update(content).digest("base64url")},${content.length}\n`;
  const image = (content: string): Buffer =>
    layer(
      file(`${site}/tool/__init__.py`, content),
      file(`${site}/tool/x.pyc`, "made here"),
      file(`${site}/tool-1.dist-info/METADATA`, "Metadata-Version: 2.1\nName: tool\nVersion: 1\n"),
      file(
        `${site}/tool-1.dist-info/RECORD`,
        `${record("tool/__init__.py", "print(1)")}tool/x.pyc,,\ntool-1.dist-info/RECORD,,\n`,
      ),
    );
  assert.deepEqual(await changed(image("print(1)")), NOTHING);
  assert.deepEqual(await changed(image("print(2)")), [[`/${site}/tool/__init__.py`], ["1"], []]);
});
