import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { BinaryProbe } from "../../../sbom/generate/binary-probe.ts";
import { parseModules } from "../../../sbom/generate/programs.ts";
import {
  file,
  hardlink,
  layer,
  type PlainComponent,
  type PlainSbom,
  propertiesOf,
  sbomOf,
  symlink,
} from "../../support/layer-tar.ts";
import { zipFile } from "../../support/zip-file.ts";

const ALPINE = file("etc/os-release", 'ID=alpine\nVERSION_ID=3.20.3\nPRETTY_NAME="Alpine Linux v3.20"\n');
const DEBIAN = file("etc/os-release", 'ID=debian\nVERSION_ID="13"\n');

function purls(sbom: PlainSbom): string[] {
  return sbom.components.flatMap(({ purl }) => (purl === undefined ? [] : [purl])).sort();
}

function skipped(sbom: PlainSbom): string[] {
  return propertiesOf(sbom.metadata.component, "sealift:sbom:skipped");
}

function notCatalogued(sbom: PlainSbom): string[] {
  return propertiesOf(sbom.metadata.component, "sealift:sbom:not-catalogued");
}

function dependenciesOf(sbom: PlainSbom, name: string): string[] {
  const ref = sbom.components.find((one) => one.name === name)?.["bom-ref"];
  return [...(sbom.dependencies.find((one) => one.ref === ref)?.dependsOn ?? [])];
}

const APK = [
  "C:Q1abc\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nm:N <n@example.com>\np:so:libc.musl-x86_64.so.1=1\nF:lib\nR:ld.so\nZ:Q1x",
  "C:Q1def\nP:libssl3\nV:3.3.2-r0\nA:x86_64\nL:Apache-2.0\no:openssl\nD:so:libc.musl-x86_64.so.1 missing>1 !conflict",
].join("\n\n");

test("lists Alpine packages with their origin, and what depends on what", async () => {
  const sbom = await sbomOf(layer(ALPINE, file("lib/apk/db/installed", `${APK}\n\n`), file("lib/ld.so", "x")));
  assert.deepEqual(purls(sbom), [
    "pkg:apk/alpine/libssl3@3.3.2-r0?arch=x86_64&distro=alpine-3.20.3&upstream=openssl",
    "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.3",
  ]);
  assert.deepEqual(
    dependenciesOf(sbom, "libssl3").map((ref) => ref.split("@")[0]),
    ["pkg:apk/alpine/musl"],
  );
  assert.deepEqual(notCatalogued(sbom), []);
  const owned = propertiesOf(sbom.metadata.component, "sealift:sbom:files-without-package");
  assert.deepEqual(owned, ["1"], "etc/os-release alone belongs to none");
});

test("reads apk's database once where /lib is a link, and refuses one that is broken or without a distribution", async () => {
  const merged = layer(ALPINE, file("usr/lib/apk/db/installed", APK), symlink("lib", "usr/lib"));
  assert.equal(purls(await sbomOf(merged)).length, 2);
  const broken = ["P:a\nnonsense", "V:1", "P:a b\nV:1", "P:a\nV:1 2"];
  for (const text of broken) {
    await assert.rejects(
      sbomOf(layer(ALPINE, file("lib/apk/db/installed", text))),
      { code: "SBOM_APK_MALFORMED" },
      text,
    );
  }
  await assert.rejects(sbomOf(layer(file("lib/apk/db/installed", APK))), { code: "SBOM_DISTRO_UNKNOWN" });
  const link = hardlink("lib/apk/db/installed", "store/a");
  await assert.rejects(sbomOf(layer(ALPINE, file("store/a", APK), link)), { code: "SBOM_CONTENT_NOT_KEPT" });
});

test("packages of an ecosystem that is not read are told as not listed, never as none", async () => {
  for (const [ecosystem, path] of [
    ["gem", "usr/lib/ruby/gems/3.3.0/specifications/rake-13.gemspec"],
    ["composer", "srv/app/vendor/composer/installed.json"],
    ["nuget", "app/service.deps.json"],
    ["conda", "opt/conda/conda-meta/numpy-2.0.json"],
    ["cran", "usr/local/lib/R/site-library/jsonlite/DESCRIPTION"],
    ["alpm", "var/lib/pacman/local/bash-5.2-1/desc"],
    ["opkg", "usr/lib/opkg/status"],
    ["ebuild", "var/db/pkg/app-shells/bash-5.2/PF"],
    ["nix", "nix/store/abc-bash-5.2/bin/bash"],
  ] as const) {
    const manifest = file("srv/x/node_modules/a/package.json", '{"name":"a","version":"1.0.0"}');
    assert.deepEqual(notCatalogued(await sbomOf(layer(manifest, file(path, "x")))), [ecosystem], path);
  }
});

const metadata = (name: string, version: string, more = ""): string =>
  `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n${more}\nName: not-this\n`;

test("lists Python packages from dist-info and egg-info, with the files that RECORD names", async () => {
  const site = "usr/local/lib/python3.12/site-packages";
  const sbom = await sbomOf(
    layer(
      DEBIAN,
      file(
        `${site}/Foo_Bar-1.0.dist-info/METADATA`,
        metadata(
          "Foo_Bar",
          "1.0",
          'License-Expression: MIT\nRequires-Dist: baz.qux>=1\nRequires-Dist: gone; extra == "x"\n',
        ),
      ),
      file(`${site}/Foo_Bar-1.0.dist-info/RECORD`, 'foo_bar/a.py,sha256=x,1\n"foo_bar/b,c.py",,\n'),
      file(`${site}/foo_bar/a.py`, "x"),
      file(`${site}/foo_bar/b,c.py`, "x"),
      file(
        `${site}/baz.qux-2.egg-info/PKG-INFO`,
        metadata("baz.qux", "2", "License: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License\n"),
      ),
      file(`${site}/single-3.egg-info`, metadata("single", "3", "Requires-Dist: absent\n")),
      file(`${site}/bad-1.dist-info/METADATA`, "Name: bad\n\n"),
    ),
  );
  assert.deepEqual(purls(sbom), ["pkg:pypi/baz-qux@2", "pkg:pypi/foo-bar@1.0", "pkg:pypi/single@3"]);
  assert.deepEqual(dependenciesOf(sbom, "foo-bar"), ["pkg:pypi/baz-qux@2"]);
  assert.deepEqual(skipped(sbom), [`/${site}/bad-1.dist-info/METADATA: no version`]);
  assert.deepEqual(notCatalogued(sbom), ["pypi"]);
  // os-release and the package that could not be read.
  assert.deepEqual(propertiesOf(sbom.metadata.component, "sealift:sbom:files-without-package"), ["2"]);
  const licences = sbom.components.map(({ name, licenses }) => [name, JSON.stringify(licenses ?? [])]);
  assert.match(Object.fromEntries(licences)["baz-qux"], /BSD License/);
});

test("a Python package that a Debian package installed is listed once, as that", async () => {
  const path = "usr/lib/python3/dist-packages/six-1.0.egg-info";
  const status = "Package: python3-six\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0-1\n";
  const sbom = await sbomOf(
    layer(
      DEBIAN,
      file("var/lib/dpkg/status", status),
      file("var/lib/dpkg/info/python3-six.list", `/${path}\n`),
      file(path, metadata("six", "1.0")),
    ),
  );
  assert.deepEqual(purls(sbom), ["pkg:deb/debian/python3-six@1.0-1?arch=all&distro=debian-13"]);
});

const pom = (group: string, artifact: string, version: string): { name: string; content: string } => ({
  name: `META-INF/maven/${group}/${artifact}/pom.properties`,
  content: `#made by\ngroupId=${group}\nartifactId=${artifact}\nversion=${version}\n`,
});

test("lists Maven's packages in archives, shaded and nested ones too", async () => {
  const inner = zipFile([pom("org.in", "inner", "3.0")]);
  const shaded = zipFile([pom("org.a", "a", "1.0"), pom("org.b", "b", "2.0")]);
  const fat = zipFile([
    { name: "BOOT-INF/lib/shaded.jar", content: shaded },
    { name: "BOOT-INF/lib/middle.war", content: zipFile([{ name: "WEB-INF/lib/inner.jar", content: inner }]) },
    pom("org.app", "app", "9"),
  ]);
  const sbom = await sbomOf(layer(DEBIAN, file("srv/app.jar", fat)));
  assert.deepEqual(purls(sbom), [
    "pkg:maven/org.a/a@1.0",
    "pkg:maven/org.app/app@9",
    "pkg:maven/org.b/b@2.0",
    "pkg:maven/org.in/inner@3.0",
  ]);
  const occurrence = sbom.components.find(({ name }) => name === "inner")?.evidence?.occurrences[0]?.location;
  assert.equal(occurrence, "/srv/app.jar!/BOOT-INF/lib/middle.war!/WEB-INF/lib/inner.jar");
});

test("an archive without coordinates is listed by its file's name and without a purl", async () => {
  const manifest = {
    name: "META-INF/MANIFEST.MF",
    content: "Manifest-Version: 1.0\r\nImplementation-Version: 7.1\r\n\r\n",
  };
  const sbom = await sbomOf(
    layer(
      DEBIAN,
      file("srv/lib-2.5.jar", zipFile([manifest])),
      file("srv/plain.jar", zipFile([manifest])),
      file("srv/none.jar", zipFile([])),
    ),
  );
  const listed = sbom.components
    .filter(({ type }) => type === "library")
    .map(({ name, version }) => `${name} ${version}`);
  assert.deepEqual(listed.sort(), ["lib 2.5", "none undefined", "plain 7.1"]);
  assert.deepEqual(purls(sbom), []);
});

test("an archive that cannot be read is told, never left out", async () => {
  const good = zipFile([pom("org.a", "a", "1.0")]);
  const nested = zipFile([{ name: "lib/broken.jar", content: "no zip" }, pom("org.b", "b", "1.0")]);
  let deep = good;
  for (let i = 0; i < 6; i++) deep = zipFile([{ name: `${i}.jar`, content: deep }]);
  const sbom = await sbomOf(
    layer(DEBIAN, file("a/cut.jar", good.subarray(0, -4)), file("a/nested.jar", nested), file("a/deep.jar", deep)),
  );
  assert.deepEqual(notCatalogued(sbom), ["maven"]);
  const reasons = skipped(sbom).join("\n");
  for (const want of [/cut\.jar: .*cut short/, /nested\.jar: lib\/broken\.jar/, /deep\.jar: .*nested deeper/]) {
    assert.match(reasons, want);
  }
  assert.ok(purls(sbom).includes("pkg:maven/org.b/b@1.0"));
});

/** A program with Go's build information as the linker of Go 1.18 and newer writes it. */
function goProgram(toolchain: string, modules: string, at = 200_000): Buffer {
  const string = (bytes: Buffer): Buffer => {
    const length: number[] = [];
    for (let left = bytes.length; ; left >>>= 7) {
      length.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
      if (left <= 0x7f) break;
    }
    return Buffer.concat([Buffer.from(length), bytes]);
  };
  const frame = Buffer.alloc(16, 0x77);
  const framed = modules === "" ? Buffer.alloc(0) : Buffer.concat([frame, Buffer.from(modules), frame]);
  const head = Buffer.concat([Buffer.from("\xff Go buildinf:", "latin1"), Buffer.of(8, 2), Buffer.alloc(16)]);
  const start = Buffer.concat([Buffer.from("\x7fELF", "latin1"), Buffer.alloc(at)]);
  return Buffer.concat([start, head, string(Buffer.from(toolchain)), string(framed), Buffer.alloc(1000)]);
}

const MODULES = [
  "path\texample.com/App/cmd/app",
  "mod\texample.com/App\tv1.2.3\th1:x=",
  "dep\tgolang.org/x/net\tv0.1.0\th1:y=",
  "dep\tgithub.com/Old/Lib\tv1.0.0",
  "=>\tgithub.com/new/lib\tv1.1.0\th1:z=",
  "build\t-compiler=gc",
  "",
].join("\n");

test("lists the modules of a lone Go program, its toolchain and what replaced what", async () => {
  const sbom = await sbomOf(layer(DEBIAN, file("usr/local/bin/app", goProgram("go1.22.1", MODULES), 0o755)));
  assert.deepEqual(purls(sbom), [
    "pkg:golang/example.com/App@v1.2.3",
    "pkg:golang/github.com/new/lib@v1.1.0",
    "pkg:golang/golang.org/x/net@v0.1.0",
    "pkg:golang/stdlib@1.22.1",
  ]);
  assert.equal(dependenciesOf(sbom, "example.com/App/cmd/app").length, 3);
  assert.deepEqual(notCatalogued(sbom), []);
});

test("a Go program that does not say what is in it is told", async () => {
  const old = goProgram("go1.22.1", MODULES);
  old[old.indexOf("Go buildinf:") + 13] = 0;
  const programs = [file("bin/old", old), file("bin/bare", goProgram("go1.24.3", "path\tcommand-line-arguments\n"))];
  const sbom = await sbomOf(layer(DEBIAN, ...programs));
  assert.deepEqual(notCatalogued(sbom), ["golang"]);
  assert.match(skipped(sbom).join("\n"), /\/bin\/bare: a Go program that does not name its modules/);
  assert.match(skipped(sbom).join("\n"), /\/bin\/old: a Go program whose build information/);
  assert.deepEqual(purls(sbom), ["pkg:golang/stdlib@1.24.3"]);
});

test("finds build information and Node's version wherever the pieces of the stream end", () => {
  const go = goProgram("go1.22.1", MODULES, 1000);
  const url = "https://nodejs.org/download/release/v26.10.0/node-v26.10.0.tar.gz";
  const node = Buffer.concat([
    Buffer.alloc(1000),
    Buffer.from(`https://nodejs.org/download/release/\0${url}`),
    Buffer.alloc(100),
  ]);
  for (const [bytes, want] of [
    [go, "go1.22.1"],
    [node, "26.10.0"],
  ] as const) {
    for (const size of [1, 7, 13, 64, 999, 1013, 4096]) {
      const probe = new BinaryProbe();
      for (let at = 0; at < bytes.length; at += size) probe.write(bytes.subarray(at, at + size));
      const facts = probe.facts();
      assert.equal(facts?.kind === "go" ? facts.toolchain : facts?.version, want, `pieces of ${size}`);
      if (facts?.kind === "go") assert.equal(parseModules(facts.modules).dependencies.length, 2);
    }
  }
});

test("lists Node.js itself, and a package's own program only as the package", async () => {
  const url = "https://nodejs.org/download/release/v26.10.0/node-v26.10.0.tar.gz";
  const node = Buffer.concat([
    Buffer.from("\x7fELF", "latin1"),
    Buffer.alloc(200_000),
    Buffer.from(url),
    Buffer.alloc(9),
  ]);
  const lone = await sbomOf(layer(DEBIAN, file("usr/local/bin/node", node, 0o755)));
  assert.deepEqual(purls(lone), ["pkg:generic/node@26.10.0"]);
  const status = "Package: nodejs\nStatus: install ok installed\nArchitecture: amd64\nVersion: 26-1\n";
  const packaged = await sbomOf(
    layer(
      DEBIAN,
      file("var/lib/dpkg/status", status),
      file("var/lib/dpkg/info/nodejs.list", "/usr/bin/node\n"),
      file("usr/bin/node", node, 0o755),
    ),
  );
  assert.deepEqual(purls(packaged), ["pkg:deb/debian/nodejs@26-1?arch=amd64&distro=debian-13"]);
});

test("a package that is one file has its SHA-512, its name and what BSI TR-03183-2 asks of files", async () => {
  const program = goProgram("go1.22.1", MODULES);
  const archive = zipFile([pom("org.a", "a", "1.0")]);
  const shaded = zipFile([pom("org.b", "b", "1.0"), pom("org.c", "c", "1.0")]);
  const sbom = await sbomOf(
    layer(DEBIAN, file("bin/app", program, 0o755), file("srv/a.jar", archive), file("srv/shaded.jar", shaded)),
  );
  const of = (name: string): object => {
    const one: PlainComponent & { readonly hashes?: { alg: string; content: string }[] } =
      sbom.components.find((found) => found.name === name) ?? assert.fail(name);
    const { hashes, properties = [] } = one;
    const told = properties
      .filter((one) => one.name.startsWith("bsi:"))
      .map(({ name: key, value }) => [key.slice(14), value]);
    return { sha512: hashes?.find(({ alg }) => alg === "SHA-512")?.content, ...Object.fromEntries(told) };
  };
  const sha512 = (bytes: Buffer): string => createHash("sha512").update(bytes).digest("hex");
  assert.deepEqual(of("example.com/App/cmd/app"), {
    sha512: sha512(program),
    filename: "app",
    executable: "executable",
    archive: "no archive",
    structured: "unstructured",
  });
  const jar = { filename: "a.jar", executable: "non-executable", archive: "archive", structured: "structured" };
  assert.deepEqual(of("a"), { sha512: sha512(archive), ...jar });
  assert.deepEqual(of("b"), { sha512: undefined });
  const two = await sbomOf(
    layer(
      DEBIAN,
      file("x/a.jar", archive),
      file("y/a.jar", zipFile([pom("org.a", "a", "1.0"), { name: "x", content: "" }])),
    ),
  );
  assert.equal(two.components.filter(({ name }) => name === "a").length, 1);
  assert.ok(!JSON.stringify(two.components).includes("SHA-512"));
});

test("a broken program is no Go program", () => {
  const bytes = goProgram("go1.22.1", MODULES, 100);
  const mark = bytes.indexOf("Go buildinf:") - 2;
  for (const end of [mark + 5, mark + 20, mark + 34]) {
    const probe = new BinaryProbe();
    probe.write(bytes.subarray(0, end));
    assert.equal(probe.facts(), undefined, String(end));
  }
  const lying = Buffer.from(bytes);
  lying.fill(0xff, mark + 32, mark + 40);
  const probe = new BinaryProbe();
  probe.write(lying);
  assert.equal(probe.facts(), undefined);
});
