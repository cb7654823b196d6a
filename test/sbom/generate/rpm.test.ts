import assert from "node:assert/strict";
import { test } from "node:test";
import { RPM_DATABASE_MAX_BYTES } from "../../../sbom/generate/rpm-database.ts";
import {
  directory,
  file,
  hardlink,
  header,
  layer,
  type PlainComponent,
  type PlainSbom,
  pax,
  propertiesOf,
  sbomOf,
  symlink,
} from "../../support/layer-tar.ts";
import { rpmDatabase, rpmHeader, rpmPackage } from "../../support/rpm-database.ts";

const OS = file("etc/os-release", 'ID="rhel"\nVERSION_ID="9.4"\nPRETTY_NAME="RHEL 9.4"\n');
const DATABASE = "var/lib/rpm/rpmdb.sqlite";

const BASH = rpmPackage("bash", "5.1.8", "9.el9", {
  files: { "/usr/bin/bash": 0, "/etc/bashrc": 1, "/usr/share/doc/bash/README": 2, "/run/bash": 64 },
});
const CURL = rpmPackage("curl", "7.76.1", "29.el9_4", {
  epoch: 1,
  source: "curl-src-7.76.1-29.el9_4.src.rpm",
  requires: ["/bin/bash", "rpmlib(CompressedFileNames)", "libx.so.1()(64bit)"],
});
const LIBX = rpmPackage("libx", "1~rc1", "1", { provides: ["libx", "libx.so.1()(64bit)"], requires: ["(a or b)"] });
const KEY = rpmPackage("gpg-pubkey", "fd431d51", "4ae0493b", { architecture: "" });

function find(sbom: PlainSbom, name: string): PlainComponent {
  const found = sbom.components.find((one) => one.name === name);
  assert.ok(found, name);
  return found;
}

const notCatalogued = (sbom: PlainSbom): string[] =>
  propertiesOf(sbom.metadata.component, "sealift:sbom:not-catalogued");

test("lists rpm packages with epoch, architecture, source and licence, and not the keys that rpm lists", async () => {
  const sbom = await sbomOf(
    layer(OS, file(DATABASE, rpmDatabase([BASH, KEY, CURL, LIBX])), file("usr/bin/bash", "x"), file("etc/bashrc", "y")),
  );
  assert.deepEqual(sbom.components.flatMap(({ purl }) => purl ?? []).sort(), [
    "pkg:rpm/redhat/bash@5.1.8-9.el9?arch=x86_64&distro=rhel-9.4&upstream=bash-5.1.8-9.el9.src.rpm",
    "pkg:rpm/redhat/curl@7.76.1-29.el9_4?arch=x86_64&distro=rhel-9.4&epoch=1&upstream=curl-src-7.76.1-29.el9_4.src.rpm",
    "pkg:rpm/redhat/libx@1~rc1-1?arch=x86_64&distro=rhel-9.4&upstream=libx-1~rc1-1.src.rpm",
  ]);
  const curl = find(sbom, "curl");
  assert.equal(curl.version, "1:7.76.1-29.el9_4");
  assert.deepEqual(propertiesOf(curl, "aquasecurity:trivy:SrcName"), ["curl-src"]);
  assert.deepEqual(propertiesOf(curl, "aquasecurity:trivy:SrcEpoch"), ["1"]);
  assert.match(JSON.stringify(curl.licenses), /"MIT"/);
  assert.deepEqual(notCatalogued(sbom), []);
  // Only os-release belongs to none.
  assert.deepEqual(propertiesOf(sbom.metadata.component, "sealift:sbom:files-without-package"), ["1"]);
});

test("finds what satisfies a file, a library and nothing", async () => {
  const sbom = await sbomOf(layer(OS, file(DATABASE, rpmDatabase([BASH, CURL, LIBX]))));
  const refOf = (name: string): string => find(sbom, name)["bom-ref"] as string;
  const of = (name: string): readonly string[] =>
    sbom.dependencies.find(({ ref }) => ref === refOf(name))?.dependsOn ?? [];
  assert.deepEqual([...of("curl")].sort(), [refOf("bash"), refOf("libx")]);
  assert.deepEqual(of("libx"), []);
  const incomplete = sbom.compositions.find(
    ({ aggregate, dependencies }) => aggregate === "incomplete" && dependencies,
  );
  // "(a or b)" is a condition that is not read.
  assert.deepEqual(incomplete?.dependencies, [refOf("libx")]);
});

test("takes the higher layer's database, wherever the distribution keeps it", async () => {
  const lower = layer(OS, file(DATABASE, rpmDatabase([BASH, CURL])));
  const upper = layer(file(DATABASE, rpmDatabase([BASH])));
  const names = (sbom: PlainSbom): string[] => sbom.components.flatMap(({ name, purl }) => (purl ? [name] : [])).sort();
  assert.deepEqual(names(await sbomOf(lower, upper)), ["bash"]);
  const moved = layer(
    OS,
    file("usr/lib/sysimage/rpm/rpmdb.sqlite", rpmDatabase([LIBX])),
    directory("var/lib"),
    symlink("var/lib/rpm", "../../usr/lib/sysimage/rpm"),
  );
  assert.deepEqual(names(await sbomOf(moved)), ["libx"]);
});

test("says that it does not cover Berkeley DB, ndb, a write-ahead log and a database that is too large", async () => {
  const npm = file("app/node_modules/a/package.json", '{"name":"a","version":"1.0.0"}');
  for (const path of ["var/lib/rpm/Packages", "usr/lib/sysimage/rpm/Packages.db"]) {
    assert.deepEqual(notCatalogued(await sbomOf(layer(OS, npm, file(path, "x")))), ["rpm"], path);
  }
  const database = file(DATABASE, rpmDatabase([BASH]));
  const logged = await sbomOf(layer(OS, npm, database, file(`${DATABASE}-wal`, "changes")));
  assert.deepEqual(notCatalogued(logged), ["rpm"]);
  assert.deepEqual(propertiesOf(logged.metadata.component, "sealift:sbom:skipped"), [
    `/${DATABASE}: its last changes are in a write-ahead log`,
  ]);
  const emptyLog = await sbomOf(layer(OS, npm, database, file(`${DATABASE}-wal`)));
  assert.deepEqual(notCatalogued(emptyLog), []);
  const size = RPM_DATABASE_MAX_BYTES + 512;
  const large = Buffer.concat([header({ path: DATABASE, size, type: "File" }), Buffer.alloc(size)]);
  assert.deepEqual(notCatalogued(await sbomOf(layer(OS, npm, large))), ["rpm"]);
  const sparse = Buffer.concat([pax({ "GNU.sparse.major": "1" }), database]);
  assert.deepEqual(notCatalogued(await sbomOf(layer(OS, npm, sparse))), ["rpm"]);
});

test("refuses a database that is broken, a link to one, and packages of no known distribution", async () => {
  const good = rpmDatabase([BASH]);
  const broken = [
    Buffer.from("x"),
    good.subarray(0, 4096),
    rpmDatabase([Buffer.alloc(7)]),
    rpmDatabase([rpmHeader({ 1001: "1" })]),
    rpmDatabase([rpmHeader({ 1000: "a b", 1001: "1", 1002: "1" })]),
    rpmDatabase([rpmHeader({ 1000: "a", 1001: "1-2", 1002: "1" })]),
    rpmDatabase([rpmHeader({ 1000: "a", 1001: "1", 1002: "1", 1022: "x/86" })]),
    rpmDatabase([rpmHeader({ 1000: [7], 1001: "1", 1002: "1" })]),
    rpmDatabase([rpmHeader({ 1000: "a", 1001: "1", 1002: "1", 1003: "1" })]),
    // A file in a directory that is not listed.
    rpmDatabase([rpmHeader({ 1000: "a", 1001: "1", 1002: "1", 1117: ["f"], 1116: [1], 1118: ["/"] })]),
    rpmDatabase([
      rpmHeader({ 1000: "a", 1001: "1", 1002: "1", 1117: ["f"], 1116: [0], 1118: [`/${"d".repeat(4096)}`] }),
    ]),
  ];
  for (const [i, bytes] of broken.entries()) {
    await assert.rejects(sbomOf(layer(OS, file(DATABASE, bytes))), { code: "SBOM_RPM_MALFORMED" }, `case ${i}`);
  }
  const hidden = layer(
    OS,
    file("app/node_modules/a/package.json", '{"name":"a","version":"1.0.0"}'),
    file(DATABASE, "x"),
  );
  assert.deepEqual(
    notCatalogued(await sbomOf(hidden, layer(file("var/lib/.wh.rpm")))),
    [],
    "a hidden one is not there",
  );
  await assert.rejects(sbomOf(layer(file(DATABASE, good))), { code: "SBOM_DISTRO_UNKNOWN" });
  const linked = layer(OS, file("store/a", good), hardlink(DATABASE, "store/a"));
  await assert.rejects(sbomOf(linked), { code: "SBOM_CONTENT_NOT_KEPT" });
});

test("never fails otherwise, whatever bytes of a header are changed", async () => {
  const good = rpmHeader({
    1000: "name",
    1001: "1",
    1002: "1",
    1047: ["a", "b"],
    1117: ["f"],
    1116: [0],
    1118: ["/d/"],
  });
  for (let at = 0; at < good.length; at += 1) {
    for (const value of [0, 1, 0x7f, 0xff]) {
      const changed = Buffer.from(good);
      changed[at] = value;
      try {
        await sbomOf(layer(OS, file(DATABASE, rpmDatabase([changed]))));
      } catch (cause) {
        assert.equal((cause as { code?: string }).code, "SBOM_RPM_MALFORMED", `byte ${at} = ${value}: ${cause}`);
      }
    }
  }
});
