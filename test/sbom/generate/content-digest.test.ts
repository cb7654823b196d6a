import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { diffReleases } from "../../../sbom/diff/diff.ts";
import { parseSbom } from "../../../sbom/document.ts";
import { file, hardlink, layer, pax, propertiesOf, sbomBytesOf, sbomOf } from "../../support/layer-tar.ts";
import { rpmDatabase, rpmPackage } from "../../support/rpm-database.ts";
import { scratch } from "../../support/scratch.ts";

const OS = file("etc/os-release", "ID=debian\nVERSION_ID=13\n");
const DPKG = "var/lib/dpkg";
const STATUS = "Package: tool\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n";

async function digestsOf(name: string, ...layers: readonly Buffer[]): Promise<string[]> {
  const { components } = await sbomOf(...layers);
  const found = components.filter((one) => one.name === name);
  assert.equal(found.length, 1);
  return propertiesOf(found[0] as (typeof found)[0], "sealift:package:digest");
}

function debian(more: Readonly<Record<string, string>>, list = Object.keys(more)): Buffer {
  const files = Object.entries(more).map(([path, content]) => file(path, content));
  const lines = list.map((path) => `/${path}\n`).join("");
  return layer(OS, file(`${DPKG}/status`, STATUS), file(`${DPKG}/info/tool.list`, lines), ...files);
}

const TOOL = { "usr/bin/tool": "program", "usr/lib/tool/data": "x".repeat(300_000), "etc/tool.conf": "a=1" };

test("the digest is that of what sha256sum prints for the package's files", async (context) => {
  const root = await scratch(context);
  for (const [path, content] of Object.entries(TOOL)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
  const script =
    "find usr -type f | LC_ALL=C sort | sed 's,^,/,' | while read f; do echo \"$(sha256sum <.$f | cut -c1-64)  $f\"; done | sha256sum | cut -c1-64";
  const wanted = execFileSync("sh", ["-c", script], { cwd: root, encoding: "utf8" }).trim();
  assert.deepEqual(await digestsOf("tool", debian(TOOL)), [`files-sha256:${wanted}`]);
});

test("other bytes change a Debian package's digest; configuration, documentation and diverted files do not", async () => {
  const [plain] = await digestsOf("tool", debian(TOOL));
  const digest = async (changed: Readonly<Record<string, string>>, ...layers: readonly Buffer[]): Promise<string[]> =>
    digestsOf("tool", debian({ ...TOOL, ...changed }), ...layers);
  assert.deepEqual(await digest({ "etc/tool.conf": "a=2" }), [plain]);
  assert.deepEqual(await digest({ "usr/share/doc/tool/README": "hello" }), [plain]);
  assert.deepEqual(await digest({}, layer(file("usr/bin/.wh.absent"))), [plain]);
  assert.notDeepEqual(await digest({ "usr/bin/tool": "Program" }), [plain]);
  assert.notDeepEqual(await digest({}, layer(file("usr/lib/tool/data", "other"))), [plain]);
  assert.notDeepEqual(await digest({}, layer(file("usr/bin/.wh.tool"))), [plain]);
  const diverted = layer(
    file(`${DPKG}/diversions`, "/usr/bin/sh\n/usr/bin/sh.distrib\ndash\n"),
    file("usr/bin/sh", "dash"),
  );
  assert.deepEqual(await digestsOf("tool", debian({ ...TOOL, "usr/bin/sh": "own" }), diverted), [plain]);
});

test("a hardlink has the digest of its target; of a sparse file nothing is known, so the package has none", async () => {
  const [plain] = await digestsOf("tool", debian(TOOL));
  const lower = layer(file("store/1", "program"));
  const { "usr/bin/tool": _, ...rest } = TOOL;
  const linked = debian(rest, Object.keys(TOOL));
  assert.deepEqual(await digestsOf("tool", lower, linked, layer(hardlink("usr/bin/tool", "store/1"))), [plain]);
  const sparse = Buffer.concat([pax({ "GNU.sparse.major": "1" }), file("usr/bin/tool", "program")]);
  assert.deepEqual(await digestsOf("tool", debian(TOOL), layer(sparse)), []);
});

const npm = (directory: string, more: Readonly<Record<string, string>> = {}): Buffer[] => [
  file(`${directory}/package.json`, '{"name":"a","version":"1.0.0"}'),
  ...Object.entries({ "index.js": "1", "lib/b.js": "2", ...more }).map(([name, text]) =>
    file(`${directory}/${name}`, text),
  ),
];
const LOCK = JSON.stringify({
  packages: {
    "node_modules/a": { version: "1.0.0", integrity: "sha512-abcdefghijklmnopqrstuvwxyz==" },
    "node_modules/b": { version: "1.0.0", integrity: "sha512-abcdefghijklmnopqrstuvwxyz==" },
    "../../etc": { version: "1.0.0", integrity: "sha512-abcdefghijklmnopqrstuvwxyz==" },
  },
});

test("an npm package's digest is of its own files, wherever it lies; npm's record is beside it", async () => {
  const first = await digestsOf("a", layer(...npm("app/node_modules/a")));
  assert.equal(first.length, 1);
  const nested = file("srv/node_modules/a/node_modules/b/package.json", '{"name":"b","version":"1.0.0"}');
  assert.deepEqual(await digestsOf("a", layer(...npm("srv/node_modules/a"), nested)), first);
  const copies = await digestsOf(
    "a",
    layer(...npm("app/node_modules/a"), ...npm("b/node_modules/a", { "index.js": "!" })),
  );
  assert.equal(copies.length, 2, "two copies that differ have a digest each");
  const lock = file("app/node_modules/.package-lock.json", LOCK);
  assert.deepEqual(await digestsOf("a", layer(...npm("app/node_modules/a"), lock)), [
    ...first,
    "npm-integrity:sha512-abcdefghijklmnopqrstuvwxyz==",
  ]);
  const other = file("app/node_modules/.package-lock.json", LOCK.replaceAll("1.0.0", "1.0.1"));
  assert.deepEqual(await digestsOf("a", layer(...npm("app/node_modules/a"), other)), first, "of another version");
  for (const odd of ["", "[]", "{", '{"packages":{"node_modules/a":7}}', '{"packages":[]}']) {
    assert.deepEqual(
      await digestsOf("a", layer(...npm("app/node_modules/a"), file("app/node_modules/.package-lock.json", odd))),
      first,
    );
  }
  const application = await digestsOf("a", layer(...npm("app")));
  assert.deepEqual(application, [], "an application keeps its version while it is worked on");
});

test("a Python package's digest is of what it brought, not of what the installer wrote", async () => {
  const site = "usr/lib/python3/site-packages";
  const python = (more: Readonly<Record<string, string>>): Buffer => {
    const files: Record<string, string> = {
      "p-1.dist-info/METADATA": "Name: p\nVersion: 1\n\n",
      "p/__init__.py": "x",
      "p/__pycache__/__init__.pyc": "1",
      "p-1.dist-info/INSTALLER": "pip",
      "../../../bin/p": "#!/usr/bin/python3",
      ...more,
    };
    const record = Object.keys(files)
      .map((name) => `${name},,\n`)
      .join("");
    const entries = Object.entries(files).map(([name, text]) =>
      file(name.replace(/^(?:\.\.\/)+/, "usr/").replace(/^p/, `${site}/p`), text),
    );
    return layer(OS, file(`${site}/p-1.dist-info/RECORD`, record), ...entries);
  };
  const plain = await digestsOf("p", python({}));
  assert.equal(plain.length, 1);
  assert.deepEqual(
    await digestsOf("p", python({ "p/__pycache__/__init__.pyc": "2", "../../../bin/p": "#!/opt" })),
    plain,
  );
  assert.notDeepEqual(await digestsOf("p", python({ "p/__init__.py": "y" })), plain);
});

test("rpm's and apk's own records of a package are beside its digest", async () => {
  const rpm = rpmPackage("r", "1", "1", { files: { "/usr/bin/r": 0, "/etc/r.conf": 1 } });
  const image = (conf: string): Buffer =>
    layer(OS, file("var/lib/rpm/rpmdb.sqlite", rpmDatabase([rpm])), file("usr/bin/r", "x"), file("etc/r.conf", conf));
  const digests = await digestsOf("r", image("1"));
  assert.match(digests.join(), /^files-sha256:[0-9a-f]{64}$/);
  assert.deepEqual(await digestsOf("r", image("2")), digests);
  const apk = "C:Q1abc=\nP:musl\nV:1.2-r0\nA:x86_64\nF:lib\nR:ld.so\nF:etc\nR:conf\n";
  const alpine = (so: string, conf: string): Buffer =>
    layer(OS, file("lib/apk/db/installed", apk), file("lib/ld.so", so), file("etc/conf", conf));
  const musl = await digestsOf("musl", alpine("1", "1"));
  assert.deepEqual(
    musl.map((one) => one.split(":")[0]),
    ["apk-checksum", "files-sha256"],
  );
  assert.equal(musl[0], "apk-checksum:Q1abc=");
  assert.deepEqual(await digestsOf("musl", alpine("1", "2")), musl);
  assert.notDeepEqual(await digestsOf("musl", alpine("2", "1")), musl);
});

test("a diff raises the alarm for a package of the same version with other files", async () => {
  const side = async (content: string): Promise<Parameters<typeof diffReleases>[0]> => [
    {
      name: "x",
      document: parseSbom(await sbomBytesOf(debian({ ...TOOL, "usr/bin/tool": content }))),
      findings: undefined,
    },
  ];
  const [one, two] = [await side("program"), await side("evil")];
  assert.equal(diffReleases(one, one).alarms, 0);
  const diff = diffReleases(one, two);
  assert.equal(diff.alarms, 1);
  assert.deepEqual(
    diff.images[0]?.changes.map(({ kind, package: name }) => [kind, name]),
    [["hash-changed", "pkg:deb/debian/tool?arch=amd64"]],
  );
});
