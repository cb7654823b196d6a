import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../bundles/model/digest.ts";
import { parseSbom } from "../../../sbom/document.ts";
import { imageSbom } from "../../../sbom/generate/image-sbom.ts";
import { scoreSbom } from "../../../sbom/score/score.ts";
import { validateSbom } from "../../../sbom/validate.ts";
import {
  configOf,
  directory,
  file,
  hardlink,
  layer,
  OS_RELEASE,
  packagesOf,
  pax,
  propertiesOf,
  sbomBytesOf,
  sbomOf,
  scanOf,
  symlink,
} from "../../support/layer-tar.ts";

const npm = (name: string, version: string, more: object = {}): string => JSON.stringify({ name, version, ...more });
const deb = (name: string, version: string, more = "", status = "install ok installed"): string =>
  `Package: ${name}\nStatus: ${status}\nArchitecture: amd64\nVersion: ${version}\n${more}\n`;
const osRelease = file("etc/os-release", OS_RELEASE);
const at = (name: string, version: string): Buffer => file(`app/node_modules/${name}/package.json`, npm(name, version));

async function npmPackages(...layers: readonly Buffer[]): Promise<string[]> {
  return packagesOf(await sbomOf(...layers), "npm");
}

test("drops a package whose file a higher layer whites out", async () => {
  const lower = layer(at("gone", "1.0.0"), at("kept", "1.0.0"));
  assert.deepEqual(await npmPackages(lower, layer(file("app/node_modules/gone/.wh.package.json"))), ["kept@1.0.0"]);
  assert.deepEqual(await npmPackages(lower, layer(file("app/node_modules/.wh.gone"))), ["kept@1.0.0"]);
});

test("hides what lies below an opaque directory, and not its own layer's files, wherever the marker stands", async () => {
  const lower = layer(at("old", "1.0.0"));
  const marker = file("app/node_modules/.wh..wh..opq");
  assert.deepEqual(await npmPackages(lower, layer(marker, at("new", "2.0.0"))), ["new@2.0.0"]);
  assert.deepEqual(await npmPackages(lower, layer(at("new", "2.0.0"), marker)), ["new@2.0.0"]);
});

test("applies a whiteout to lower layers only, also after the same name in its own layer", async () => {
  const lower = layer(at("a", "1.0.0"));
  assert.deepEqual(await npmPackages(lower, layer(at("a", "2.0.0"), file("app/node_modules/.wh.a"))), ["a@2.0.0"]);
});

test("takes the higher layer's version of a file, and the last of a file that is twice in one layer", async () => {
  assert.deepEqual(await npmPackages(layer(at("a", "1.0.0")), layer(at("a", "2.0.0"))), ["a@2.0.0"]);
  assert.deepEqual(await npmPackages(layer(at("a", "1.0.0"), at("a", "3.0.0"))), ["a@3.0.0"]);
});

test("resolves a hardlink to a file of a lower layer, which may be gone afterwards", async () => {
  const lower = layer(at("hard", "3.0.0"), file("store/0a1b", npm("stored", "4.0.0")));
  const upper = layer(
    hardlink("srv/node_modules/hard/package.json", "app/node_modules/hard/package.json"),
    hardlink("srv/node_modules/stored/package.json", "/store/0a1b"),
    file("app/.wh.node_modules"),
  );
  // The whiteout acts on the lower layer before anything is unpacked, so the link's target is not there.
  await assert.rejects(sbomOf(lower, upper), { code: "SBOM_LAYER_MALFORMED" });
  const links = layer(
    hardlink("srv/node_modules/hard/package.json", "app/node_modules/hard/package.json"),
    hardlink("srv/node_modules/stored/package.json", "/store/0a1b"),
  );
  assert.deepEqual(await npmPackages(lower, links, layer(file(".wh.app"), file(".wh.store"))), [
    "hard@3.0.0",
    "stored@4.0.0",
  ]);
});

test("refuses a hardlink to nothing, to a directory, and to content that was not kept", async () => {
  const link = hardlink("app/node_modules/a/package.json", "store/a");
  await assert.rejects(sbomOf(layer(link)), { code: "SBOM_LAYER_MALFORMED" });
  await assert.rejects(sbomOf(layer(directory("store/a"), link)), { code: "SBOM_LAYER_MALFORMED" });
  const large = npm("a", "1.0.0", { x: "x".repeat(200_000) });
  await assert.rejects(sbomOf(layer(file("store/a", large), link)), { code: "SBOM_CONTENT_NOT_KEPT" });
});

test("lets a file or link take the place of a directory with all that is in it, and a directory that of a link", async () => {
  const lower = layer(at("a", "1.0.0"), file("other/node_modules/b/package.json", npm("b", "1.0.0")));
  const survivors = ["b@1.0.0"];
  assert.deepEqual(await npmPackages(lower, layer(file("app", "x"))), survivors);
  assert.deepEqual(await npmPackages(lower, layer(symlink("app", "nowhere"))), survivors);
  assert.deepEqual(await npmPackages(lower, layer(symlink("app", "other"))), survivors);
  const swapped = layer(directory("app"), at("c", "1.0.0"));
  assert.deepEqual(await npmPackages(lower, layer(symlink("app", "other")), swapped), ["b@1.0.0", "c@1.0.0"]);
});

test("unpacks through a symbolic link in a parent directory, and never out of the root", async () => {
  const lower = layer(directory("real"), symlink("app", "/real"), symlink("up", "../../../../real"));
  const upper = layer(at("a", "1.0.0"), file("up/node_modules/b/package.json", npm("b", "1.0.0")));
  const sbom = await sbomOf(lower, upper);
  assert.deepEqual(
    sbom.components.map((component) => component.evidence?.occurrences[0]?.location),
    ["/real/node_modules/a/package.json", "/real/node_modules/b/package.json"],
  );
});

test("refuses layers that no runtime could unpack: below a file, through a loop, a root that is no directory", async () => {
  await assert.rejects(sbomOf(layer(file("app", "x")), layer(at("a", "1.0.0"))), { code: "SBOM_LAYER_MALFORMED" });
  const loop = layer(symlink("app", "ppa"), symlink("ppa", "app"));
  await assert.rejects(sbomOf(loop, layer(at("a", "1.0.0"))), { code: "SBOM_LAYER_MALFORMED" });
  await assert.rejects(sbomOf(layer(symlink("./", "app"))), { code: "SBOM_LAYER_MALFORMED" });
});

test("does not take forever over links that multiply", async () => {
  const steps = Array.from({ length: 60 }, (_, i) => symlink(`l${i}`, `l${i + 1}/l${i + 1}`));
  await assert.rejects(sbomOf(layer(...steps, file("l0/x"))), { code: "SBOM_LAYER_MALFORMED" });
});

test("refuses more directories than a limit, though few entries imply them", async () => {
  const deep = Array.from({ length: 1100 }, (_, i) =>
    Buffer.concat([pax({ path: `${i}/${"a/".repeat(1990)}f` }), file("f")]),
  );
  await assert.rejects(sbomOf(layer(...deep)), { code: "SBOM_LAYER_TOO_LARGE" });
});

test("refuses a layer that is not the configuration's, and a configuration with another number of layers", async () => {
  const bytes = layer(at("a", "1.0.0"));
  const scan = await scanOf(bytes);
  const input = {
    name: "x",
    manifestDigest: digestOf("m"),
    scans: [scan],
    created: "2026-01-02T03:04:05Z",
    toolVersion: "0",
  };
  for (const diffIds of [[digestOf("other")], [], [scan.diffId, scan.diffId]]) {
    assert.throws(() => imageSbom({ ...input, config: configOf(diffIds) }), { code: "SBOM_DIFF_ID_MISMATCH" });
  }
});

test("fails for an image with files and no package, and describes one without files", async () => {
  await assert.rejects(sbomOf(layer(file("bin/tool", "x"), osRelease)), { code: "SBOM_EMPTY" });
  const rpm = layer(file("var/lib/rpm/Packages", "x"));
  await assert.rejects(sbomOf(rpm), { code: "SBOM_EMPTY", message: /rpm/ });
  assert.deepEqual((await sbomOf(layer(directory("tmp")))).components, []);
});

test("lists what dpkg has on disk: installed, on hold and half configured, not removed", async () => {
  const status = [
    deb("kept", "1:2.3-4+b1"),
    deb("removed", "1.0-1", "", "deinstall ok config-files"),
    deb("purged", "1.0-1", "", "purge ok not-installed"),
    deb("held", "2.0-1", "", "hold ok installed"),
    deb("pending", "2.0-2", "", "install ok triggers-pending"),
  ].join("\n");
  const sbom = await sbomOf(layer(osRelease, file("var/lib/dpkg/status", status)));
  assert.deepEqual(packagesOf(sbom, "deb"), ["held@2.0-1", "kept@1:2.3-4+b1", "pending@2.0-2"]);
  const pending = sbom.components.find((component) => component.name === "pending");
  assert.deepEqual(propertiesOf(pending as never, "sealift:dpkg:state"), ["triggers-pending"]);
});

test("writes purls and properties by which grype and trivy find Debian's advisories", async () => {
  const status = `${deb("libc6", "2.41-12", "Source: glibc\nMaintainer: GNU Libc Maintainers <x@example.invalid>")}\n${deb("libstdc++6", "1:14.2.0-19+b1", "Source: gcc-14 (14.2.0-19)")}`;
  const sbom = await sbomOf(layer(osRelease, file("var/lib/dpkg/status", status)));
  const [, libc, libstdc] = sbom.components;
  assert.equal(libc?.purl, "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc");
  assert.equal(
    libstdc?.purl,
    "pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19%2Bb1?arch=amd64&distro=debian-13&upstream=gcc-14%4014.2.0-19",
  );
  assert.deepEqual(propertiesOf(libstdc as never, "aquasecurity:trivy:SrcName"), ["gcc-14"]);
  assert.deepEqual(propertiesOf(libstdc as never, "aquasecurity:trivy:SrcVersion"), ["14.2.0"]);
  assert.deepEqual(propertiesOf(libstdc as never, "aquasecurity:trivy:SrcRelease"), ["19"]);
});

test("reads distroless status.d, and a whiteout of one of its files", async () => {
  const lower = layer(
    osRelease,
    file("var/lib/dpkg/status.d/libc6", deb("libc6", "2.41-12").replace(/^Status.*\n/m, "")),
    file("var/lib/dpkg/status.d/libc6.md5sums", `${"0".repeat(32)}  usr/lib/libc.so.6\n`),
    file("var/lib/dpkg/status.d/tzdata", deb("tzdata", "2026a").replace(/^Status.*\n/m, "")),
    file("usr/lib/libc.so.6", "elf"),
  );
  const sbom = await sbomOf(lower, layer(file("var/lib/dpkg/status.d/.wh.tzdata")));
  assert.deepEqual(packagesOf(sbom, "deb"), ["libc6@2.41-12"]);
  assert.deepEqual(propertiesOf(sbom.metadata.component, "sealift:sbom:files-without-package"), ["1"]);
});

test("connects Debian packages by Depends, alternatives and versioned Provides", async () => {
  const status = [
    deb("app", "1.0", "Pre-Depends: libc6 (>= 2.40)\nDepends: mailer | exim, awk, perl:any,\n ssl (>= 3)"),
    deb("libc6", "2.41-12"),
    deb("exim", "4.0"),
    deb("mawk", "1.3", "Provides: awk"),
    deb("perl", "5.40"),
    deb("oldssl", "1.0", "Provides: ssl (= 1.1)"),
    deb("newssl", "3.0", "Provides: ssl (= 3.5)"),
    deb("plainssl", "9.0", "Provides: ssl"),
    deb("broken", "1.0", "Depends: libc6 (>= 9), nothere"),
  ].join("\n");
  const sbom = await sbomOf(layer(osRelease, file("var/lib/dpkg/status", status)));
  const refOf = (name: string): string => sbom.components.find((one) => one.name === name)?.["bom-ref"] ?? "";
  const dependsOn = (name: string): readonly string[] =>
    sbom.dependencies.find((one) => one.ref === refOf(name))?.dependsOn ?? [];
  assert.deepEqual(dependsOn("app"), ["exim", "libc6", "mawk", "newssl", "perl"].map(refOf).sort());
  assert.deepEqual(dependsOn("broken"), []);
  const incomplete = sbom.compositions.find((one) => one.aggregate === "incomplete" && one.dependencies);
  assert.deepEqual(incomplete?.dependencies, [refOf("broken")]);
});

test("refuses a dpkg database that is none", async () => {
  for (const status of [
    "not a field\n",
    " continuation first\n",
    "Package: a\nPackage: b\n",
    "Status: install ok installed\nVersion: 1\n",
    "Package: a\nStatus: install ok installed\n",
    "Package: a\nStatus: install ok installed\nVersion: one two\n",
    "Package: ../a\nStatus: install ok installed\nVersion: 1\n",
    "Package: a\nStatus: whatever\nVersion: 1\n",
    "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: x&y\n",
  ]) {
    await assert.rejects(
      sbomOf(layer(osRelease, file("var/lib/dpkg/status", status))),
      { code: "SBOM_DPKG_MALFORMED" },
      status,
    );
  }
});

test("refuses Debian packages of an unknown distribution", async () => {
  const status = file("var/lib/dpkg/status", deb("a", "1.0"));
  await assert.rejects(sbomOf(layer(status)), { code: "SBOM_DISTRO_UNKNOWN" });
  await assert.rejects(sbomOf(layer(status, file("etc/os-release", "NAME=x\n"))), { code: "SBOM_DISTRO_UNKNOWN" });
});

test("finds os-release behind the usual link", async () => {
  const bytes = layer(
    file("usr/lib/os-release", OS_RELEASE),
    symlink("etc/os-release", "../usr/lib/os-release"),
    file("var/lib/dpkg/status", deb("a", "1.0")),
  );
  const os = (await sbomOf(bytes)).components.find((component) => component.type === "operating-system");
  assert.deepEqual([os?.name, os?.version], ["debian", "13"]);
});

test("lists two copies of one version once, with both places and layers", async () => {
  const lower = layer(at("twice", "1.0.0"));
  const upper = layer(
    file("app/node_modules/b/node_modules/twice/package.json", npm("twice", "1.0.0")),
    at("b", "1.0.0"),
  );
  const sbom = await sbomOf(lower, upper);
  assert.deepEqual(packagesOf(sbom, "npm"), ["b@1.0.0", "twice@1.0.0"]);
  assert.deepEqual(sbom.components[1]?.evidence?.occurrences, [
    { location: "/app/node_modules/b/node_modules/twice/package.json", additionalContext: `layer ${digestOf(upper)}` },
    { location: "/app/node_modules/twice/package.json", additionalContext: `layer ${digestOf(lower)}` },
  ]);
});

test("records a package.json that gives no package", async () => {
  const bytes = layer(
    at("good", "1.0.0"),
    file("app/node_modules/noversion/package.json", '{"name":"noversion"}'),
    file("app/node_modules/noname/package.json", '{"version":"1.0.0"}'),
    file("app/node_modules/broken/package.json", "{"),
    file("app/node_modules/list/package.json", "[]"),
    file("app/node_modules/odd/package.json", npm("../evil", "1.0.0")),
    file("app/node_modules/spaced/package.json", npm("spaced", "1.0 0")),
  );
  const sbom = await sbomOf(bytes);
  assert.deepEqual(packagesOf(sbom, "npm"), ["good@1.0.0"]);
  assert.deepEqual(propertiesOf(sbom.metadata.component, "sealift:sbom:skipped"), [
    "/app/node_modules/broken/package.json: not JSON",
    "/app/node_modules/list/package.json: not an object",
    "/app/node_modules/noname/package.json: no name",
    "/app/node_modules/noversion/package.json: no version",
    "/app/node_modules/odd/package.json: not a package's name",
    "/app/node_modules/spaced/package.json: not a version",
  ]);
  assert.equal(sbom.compositions.find((one) => one.assemblies)?.aggregate, "incomplete");
});

test("lists pnpm's packages once, where they really are, and resolves through its links", async () => {
  const real = (name: string, more = {}): Buffer =>
    file(`app/node_modules/.pnpm/${name}@1.0.0/node_modules/${name}/package.json`, npm(name, "1.0.0", more));
  const sbom = await sbomOf(
    layer(
      file("app/package.json", npm("app", "0.1.0", { private: true, dependencies: { a: "1" } })),
      real("a", { dependencies: { b: "1" } }),
      real("b"),
      symlink("app/node_modules/a", ".pnpm/a@1.0.0/node_modules/a"),
      symlink("app/node_modules/.pnpm/a@1.0.0/node_modules/b", "../../b@1.0.0/node_modules/b"),
    ),
  );
  assert.deepEqual(packagesOf(sbom, "npm"), ["a@1.0.0", "b@1.0.0"]);
  const edges = Object.fromEntries(sbom.dependencies.map((one) => [one.ref, one.dependsOn]));
  assert.deepEqual(edges["npm-application:/app"], ["pkg:npm/a@1.0.0"]);
  assert.deepEqual(edges["pkg:npm/a@1.0.0"], ["pkg:npm/b@1.0.0"]);
});

test("resolves dependencies as Node does: the nearest node_modules wins, optional ones may be missing", async () => {
  const sbom = await sbomOf(
    layer(
      at("b", "1.0.0"),
      file(
        "app/node_modules/a/package.json",
        npm("a", "1.0.0", {
          dependencies: { b: "2", c: "1" },
          optionalDependencies: { missing: "1" },
          peerDependencies: { p: "1" },
        }),
      ),
      file("app/node_modules/a/node_modules/b/package.json", npm("b", "2.0.0", { dependencies: { gone: "1" } })),
      file("node_modules/c/package.json", npm("c", "1.0.0")),
    ),
  );
  const edges = Object.fromEntries(sbom.dependencies.map((one) => [one.ref, one.dependsOn]));
  assert.deepEqual(edges["pkg:npm/a@1.0.0"], ["pkg:npm/b@2.0.0", "pkg:npm/c@1.0.0"]);
  const incomplete = sbom.compositions.find((one) => one.aggregate === "incomplete" && one.dependencies);
  assert.deepEqual(incomplete?.dependencies, ["pkg:npm/b@2.0.0"]);
});

test("lists applications: with a purl where they are published, without where they are private; and workspaces", async () => {
  const sbom = await sbomOf(
    layer(
      file("srv/package.json", npm("tool", "3.0.0")),
      file("app/package.json", npm("mine", "0.1.0", { private: true })),
      file("app/fixtures/x/package.json", npm("fixture", "1.0.0")),
      file("app/packages/lib/package.json", npm("@mine/lib", "0.1.0", { private: true })),
      symlink("app/node_modules/@mine/lib", "../../packages/lib"),
    ),
  );
  assert.deepEqual(
    sbom.components.map(({ type, group, name, purl }) => [type, group, name, purl]),
    [
      ["application", undefined, "mine", undefined],
      ["application", "@mine", "lib", undefined],
      ["application", undefined, "tool", "pkg:npm/tool@3.0.0"],
    ],
  );
});

test("does not take a Debian package's files for an application, and counts files of no package", async () => {
  const sbom = await sbomOf(
    layer(
      osRelease,
      file("var/lib/dpkg/status", deb("node-x", "1.0-1")),
      file("var/lib/dpkg/info/node-x.list", "/.\n/usr\n/usr/share/nodejs/x/package.json\n/lib/libx.so\n"),
      file("usr/share/nodejs/x/package.json", npm("x", "1.0.0")),
      symlink("lib", "usr/lib"),
      file("usr/lib/libx.so", "elf"),
      file("opt/tool", "elf", 0o755),
      file("opt/some.jar", "zip"),
    ),
  );
  assert.deepEqual(packagesOf(sbom, "npm"), []);
  const image = sbom.metadata.component;
  assert.deepEqual(propertiesOf(image, "sealift:sbom:files"), ["7"]);
  // os-release, the tool and the jar.
  assert.deepEqual(propertiesOf(image, "sealift:sbom:files-without-package"), ["3"]);
  assert.deepEqual(propertiesOf(image, "sealift:sbom:executables-without-package"), ["1"]);
  assert.deepEqual(propertiesOf(image, "sealift:sbom:not-catalogued"), ["maven"]);
});

test("states licences: an id, an expression, several, and free text by name", async () => {
  const licensed = (name: string, more: object): Buffer =>
    file(`node_modules/${name}/package.json`, npm(name, "1.0.0", more));
  const sbom = await sbomOf(
    layer(
      licensed("a", { license: "MIT" }),
      licensed("b", { license: "(MIT OR Apache-2.0)" }),
      licensed("c", { licenses: [{ type: "MIT" }, { type: "BSD-3-Clause" }] }),
      licensed("d", { license: "SEE LICENSE IN LICENSE.txt" }),
      licensed("e", { license: { type: "ISC" } }),
      licensed("f", { license: 7 }),
    ),
  );
  const acknowledgement = "declared";
  assert.deepEqual(
    sbom.components.map((component) => component.licenses),
    [
      [{ license: { id: "MIT", acknowledgement } }],
      [{ expression: "(MIT OR Apache-2.0)", acknowledgement }],
      [{ license: { id: "BSD-3-Clause", acknowledgement } }, { license: { id: "MIT", acknowledgement } }],
      [{ license: { name: "SEE LICENSE IN LICENSE.txt", acknowledgement } }],
      [{ license: { id: "ISC", acknowledgement } }],
      undefined,
    ],
  );
});

test("keeps two packages apart whose names differ only in capitals", async () => {
  const sbom = await sbomOf(layer(at("JSONStream", "1.0.0"), at("jsonstream", "1.0.0")));
  assert.equal(new Set(sbom.components.map((component) => component["bom-ref"])).size, 2);
});

test("reaches every component from the image, dependency cycles too", async () => {
  const cycle = (name: string, other: string): Buffer =>
    file(`node_modules/${name}/package.json`, npm(name, "1.0.0", { dependencies: { [other]: "1" } }));
  const status = file("var/lib/dpkg/status", `${deb("p", "1", "Depends: q")}\n${deb("q", "1", "Depends: p")}`);
  const sbom = await sbomOf(layer(osRelease, status, cycle("a", "b"), cycle("b", "a"), cycle("c", "c")));
  const edges = new Map(sbom.dependencies.map((one) => [one.ref, one.dependsOn ?? []]));
  const reached = new Set<string>();
  const todo = [sbom.metadata.component["bom-ref"]];
  for (let ref = todo.pop(); ref !== undefined; ref = todo.pop()) {
    if (reached.has(ref)) continue;
    reached.add(ref);
    todo.push(...(edges.get(ref) ?? []));
  }
  assert.deepEqual(
    sbom.components.map((component) => component["bom-ref"]).filter((ref) => !reached.has(ref)),
    [],
  );
});

test("writes the same bytes for the same image, valid by the schema and by our own rules, in 1.6 and 1.7", async () => {
  const bytes = layer(
    osRelease,
    file("var/lib/dpkg/status", `${deb("a", "1:1.0-1", "Depends: b")}\n${deb("b", "2~rc1-1")}`),
    file("app/package.json", npm("app", "1.0.0", { license: "MIT", dependencies: { "@s/x": "1" } })),
    file("app/node_modules/@s/x/package.json", npm("@s/x", "1.0.0-rc.1+build", { license: "MIT AND ISC" })),
    file("app/node_modules/y/package.json", '{"name":"y"}'),
    Buffer.concat([
      pax({ path: `app/node_modules/${"z".repeat(120)}\u202e/node_modules/é/package.json` }),
      file("s", npm("é", "1")),
    ]),
  );
  const once = await sbomBytesOf(bytes);
  assert.ok(once.equals(await sbomBytesOf(bytes)));
  assert.deepEqual((await validateSbom(once)).problems, []);
  const scan = await scanOf(bytes);
  const input = {
    name: "x",
    manifestDigest: digestOf("m"),
    config: configOf([scan.diffId]),
    scans: [scan],
    created: "2026-01-02T03:04:05Z",
    toolVersion: "0",
  };
  const newer = imageSbom({ ...input, specVersion: "1.7" });
  assert.deepEqual((await validateSbom(newer)).problems, []);
  const document = parseSbom(newer);
  assert.equal(document.specVersion, "1.7");
  assert.equal(document.subject?.purl, `pkg:oci/x@${digestOf("m")}?arch=amd64`);
  assert.equal(document.timestamp, "2026-01-02T03:04:05Z");
});

test("names the publisher as who made the document and supplies the image, with an address if there is one", async () => {
  const scan = await scanOf(layer(at("a", "1.0.0")));
  const input = {
    name: "x",
    manifestDigest: digestOf("m"),
    config: configOf([scan.diffId]),
    scans: [scan],
    created: "2026-01-02T03:04:05Z",
    toolVersion: "0",
  };
  const lacksOf = (document: Buffer): readonly string[] =>
    scoreSbom(JSON.parse(document.toString("utf8"))).flatMap(({ rules }) =>
      rules.filter(({ met }) => met === 0).map(({ id }) => id),
    );
  const nobody = lacksOf(imageSbom(input));
  const named = lacksOf(imageSbom({ ...input, publisher: { name: "Example <Labs>" } }));
  const full = imageSbom({
    ...input,
    specVersion: "1.7",
    publisher: { name: "Example", email: "sbom@example.org", url: "https://example.org/" },
  });
  assert.deepEqual((await validateSbom(full)).problems, []);
  assert.deepEqual(JSON.parse(full.toString("utf8")).metadata.manufacturer, {
    name: "Example",
    url: ["https://example.org/"],
    contact: [{ email: "sbom@example.org" }],
  });
  const added = (one: readonly string[], other: readonly string[]) => one.filter((id) => !other.includes(id)).sort();
  assert.deepEqual(added(nobody, named), ["ntia-author"]);
  assert.deepEqual(added(named, lacksOf(full)), ["bsi-author-contact"]);
});

test("gives another serial number to another image, time or version", async () => {
  const scan = await scanOf(layer(at("a", "1.0.0")));
  const input = {
    name: "x",
    manifestDigest: digestOf("m"),
    config: configOf([scan.diffId]),
    scans: [scan],
    created: "2026-01-02T03:04:05Z",
    toolVersion: "0",
  };
  const changed = [
    {},
    { manifestDigest: digestOf("n") },
    { toolVersion: "1" },
    { created: "2027-01-02T03:04:05Z" },
    { name: "y" },
    { publisher: { name: "P" } },
  ];
  const serials = changed.map((change) => parseSbom(imageSbom({ ...input, ...change })).serialNumber);
  assert.equal(new Set(serials).size, changed.length);
});
