import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFile, mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { zstdDecompressSync } from "node:zlib";
import { stringify } from "yaml";
import type { ImageLock } from "../../bundles/model/appliance.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { parseImageConfig, parseManifest } from "../../bundles/model/oci.ts";
import { dropFilter } from "../../bundles/source/recipe/build-recipe.ts";
import { LAYER_TIME } from "../../bundles/source/recipe/layer.ts";
import { readRecipe } from "../../bundles/source/recipe/recipe.ts";
import { recipeSource } from "../../bundles/source/recipe/recipe-source.ts";
import { listTar, type TarMember } from "../../bundles/source/recipe/tar-reader.ts";
import type { SourceContext, SourcedImage } from "../../bundles/source/source.ts";
import { directory, file, hardlink, header, pax, symlink } from "../support/layer-tar.ts";
import { scratch } from "../support/scratch.ts";
import { type SmallElf, smallElf } from "../support/small-elf.ts";
import {
  type DebOptions,
  type Mirror,
  type SyntheticDeb,
  type SyntheticNpm,
  startMirror,
  syntheticDeb,
  syntheticNpm,
} from "../support/synthetic-packages.ts";
import { coded } from "../support/test-trust.ts";

interface Kitchen {
  readonly root: string;
  readonly mirror: Mirror;
  readonly context: SourceContext;
}

async function kitchen(t: TestContext): Promise<Kitchen> {
  const root = await scratch(t);
  const mirror = await startMirror(t);
  const context: SourceContext = {
    root,
    platform: "linux/amd64",
    cacheDir: join(root, "cache"),
    created: "2026-03-04T05:06:07Z",
    ignoreBuiltLayers: false,
    onProgress: () => {},
  };
  return { root, mirror, context };
}

/** Writes the recipe and a lock that fits it, and puts the packages on the mirror. */
async function cook(
  { root, mirror, context }: Kitchen,
  recipe: object,
  debs: readonly SyntheticDeb[] = [],
  npm: readonly SyntheticNpm[] = [],
): Promise<{ lock: ImageLock; load: (changes?: Partial<SourceContext>) => Promise<SourcedImage> }> {
  const packages = debs.map(({ input }) => input.package);
  const debian = { suite: "trixie", packages, ...(recipe as { debian?: object }).debian };
  const whole = { schemaVersion: 1, ...recipe, ...(debs.length > 0 && { debian }) };
  await writeFile(join(root, "image.yaml"), stringify(whole));
  for (const deb of debs) mirror.files.set(deb.input.path, deb.bytes);
  for (const item of npm) mirror.files.set(item.path, item.bytes);
  const lock: ImageLock = {
    kind: "recipe",
    recipe: (await readRecipe(root, "image.yaml")).digest,
    debian: debs.map(({ input }) => input),
    npm: npm.map(({ input }) => input),
  };
  return { lock, load: (changes = {}) => recipeSource("image.yaml").load(lock, { ...context, ...changes }) };
}

interface Member extends TarMember {
  readonly bytes: Buffer;
}

/** The members of the image's last layer. */
async function topLayer(root: string, image: SourcedImage): Promise<Map<string, Member>> {
  const layer = image.layers.at(-1);
  assert.ok(layer);
  const chunks: Uint8Array[] = [];
  for await (const chunk of layer.blob.open()) chunks.push(chunk);
  const compressed = Buffer.concat(chunks);
  assert.equal(digestOf(compressed), layer.descriptor.digest);
  assert.equal(compressed.length, layer.descriptor.size);
  const tar = zstdDecompressSync(compressed);
  assert.equal(digestOf(tar), parseImageConfig(image.config).rootfs.diff_ids.at(-1));
  const path = join(root, "layer.tar");
  await writeFile(path, tar);
  const members = listTar(path, "layer");
  return new Map(members.map((m) => [m.path, { ...m, bytes: tar.subarray(m.position, m.position + m.size) }]));
}

const text = (members: Map<string, Member>, path: string): string | undefined => members.get(path)?.bytes.toString();

const BASE_FILES = syntheticDeb("base-files", [
  directory("./usr"),
  directory("./usr/lib"),
  directory("./usr/bin"),
  symlink("./lib", "usr/lib"),
  symlink("./bin", "usr/bin"),
]);

test("makes an image with accounts, package database, links, modes and configuration", async (t) => {
  const place = await kitchen(t);
  const tool = file("./bin/tool", "#!/bin/tool\n", 0o4755);
  const debs = [
    syntheticDeb("tool", [tool, hardlink("./bin/again", "./bin/tool"), file("./usr/share/man/tool.1", "x")], {
      control: "Multi-Arch: same\nDescription: a tool\n more\n",
      md5sums: "aa".repeat(16).concat("  usr/share/man/tool.1\n", "bb".repeat(16), "  bin/tool\n"),
    }),
    BASE_FILES,
  ];
  const { load } = await cook(
    place,
    {
      debian: { drop: ["usr/share/man"] },
      users: { app: 10001 },
      directories: { "/var/lib/app": { mode: "0700", user: "app" } },
      files: { "/etc/app.conf": { content: "a = 1\n", mode: "0640", user: "app" } },
      links: { "/etc/link": "app.conf" },
      config: { Entrypoint: ["/bin/tool"], User: "app", Env: { B: "2", A: "1" }, ExposedPorts: ["80/tcp"] },
    },
    debs,
  );
  const image = await load();
  const members = await topLayer(place.root, image);
  assert.deepEqual([...members.keys()], [...members.keys()].sort());
  assert.equal(members.get("usr/bin/tool")?.mode, 0o755, "set-uid is taken away, and /bin followed to /usr/bin");
  assert.equal(text(members, "usr/bin/again"), "#!/bin/tool\n");
  assert.equal(members.get("bin")?.target, "usr/bin");
  assert.equal(members.has("usr/share/man/tool.1"), false);
  assert.deepEqual(
    [members.get("var/lib/app")?.mode, members.get("var/lib/app")?.uid, members.get("etc/app.conf")?.gid],
    [0o700, 10001, 10001],
  );
  assert.equal(members.get("etc/link")?.target, "app.conf");
  assert.match(text(members, "etc/passwd") ?? "", /^root:x:0:0:.*\napp:x:10001:10001:.*nologin\nnobody:x:65534:/);
  assert.equal(text(members, "var/lib/dpkg/info/format"), "1\n");
  assert.equal(text(members, "var/lib/dpkg/info/tool:amd64.list"), "/.\n/bin/tool\n/bin/again\n");
  assert.equal(text(members, "var/lib/dpkg/info/tool:amd64.md5sums"), `${"bb".repeat(16)}  bin/tool\n`);
  assert.match(
    text(members, "var/lib/dpkg/status") ?? "",
    /^Package: base-files\nStatus: install ok installed\n[\s\S]*\n\nPackage: tool\nStatus: install ok installed\n[\s\S]*\n more\n$/,
  );
  const { config } = parseImageConfig(image.config);
  assert.deepEqual(config, {
    Entrypoint: ["/bin/tool"],
    Env: ["B=2", "A=1"],
    ExposedPorts: { "80/tcp": {} },
    User: "10001:10001",
  });
  assert.equal(parseManifest(image.manifest).config.digest, digestOf(image.config));
  assert.ok(image.materials.some(({ uri }) => uri === "pkg:deb/debian/tool@1.0-1?arch=amd64&distro=trixie"));
});

test("writes a database that dpkg-query and dpkg --verify accept", async (t) => {
  const place = await kitchen(t);
  const md5 = createHash("md5").update("hello").digest("hex");
  const { load } = await cook(place, {}, [
    syntheticDeb("tool", [file("./usr/share/tool", "hello")], {
      control: "Description: a tool\n",
      md5sums: `${md5}  usr/share/tool\n`,
    }),
  ]);
  const image = await load();
  const layer = image.layers[0];
  assert.ok(layer);
  const rootfs = join(place.root, "rootfs");
  await mkdir(rootfs);
  const hex = layer.descriptor.digest.slice("sha256:".length);
  await writeFile(
    join(place.root, "layer.tar"),
    zstdDecompressSync(await readFile(join(place.context.cacheDir, "layers", hex))),
  );
  execFileSync("tar", ["-xf", join(place.root, "layer.tar"), "-C", rootfs]);
  const admin = `--admindir=${join(rootfs, "var/lib/dpkg")}`;
  const asked = execFileSync("dpkg-query", [admin, "-W", "-f", "$" + "{Package} $" + "{db:Status-Status}"]);
  assert.equal(asked.toString(), "tool installed");
  assert.match(execFileSync("dpkg-query", [admin, "-L", "tool"]).toString(), /\/usr\/share\/tool/);
  assert.equal(execFileSync("dpkg", [`--root=${rootfs}`, "--verify", "tool"]).toString(), "");
});

test("shares the layers of a base byte for byte, and merges accounts, database and configuration", async (t) => {
  const place = await kitchen(t);
  const below = syntheticDeb("below", [file("./usr/share/below", "1")]);
  const base = {
    schemaVersion: 1,
    debian: { suite: "trixie", packages: ["below"], drop: ["usr/share/doc"] },
    users: { one: 11 },
    config: { Env: { A: "1", B: "1" }, Entrypoint: ["/usr/share/run"], Cmd: ["x"] },
    files: { "/usr/share/run": { content: "", mode: "0755" } },
  };
  await writeFile(join(place.root, "base.yaml"), stringify(base));
  const above = syntheticDeb("above", [file("./usr/share/above", "2"), file("./usr/share/doc/above", "3")]);
  const recipe = { base: "base.yaml", users: { two: 12 }, config: { Env: { B: "2" }, Entrypoint: ["/usr/share/run"] } };
  const debian = { suite: "trixie", packages: ["above"] };
  const { load } = await cook(place, { ...recipe, debian }, [above]);
  place.mirror.files.set(below.input.path, below.bytes);
  await assert.rejects(load(), coded("RECIPE_LOCK_STALE"));
  const lock: ImageLock = {
    kind: "recipe",
    recipe: (await readRecipe(place.root, "image.yaml")).digest,
    debian: [above.input, below.input],
    npm: [],
  };
  const image = await recipeSource("image.yaml").load(lock, place.context);
  const alone = await recipeSource("base.yaml").load(
    {
      kind: "recipe",
      recipe: (await readRecipe(place.root, "base.yaml")).digest,
      debian: [below.input],
      npm: [],
    },
    place.context,
  );
  assert.equal(image.layers.length, 2);
  assert.equal(image.layers[0]?.descriptor.digest, alone.layers[0]?.descriptor.digest);
  const members = await topLayer(place.root, image);
  assert.deepEqual(
    [...members].filter(([, { type }]) => type === "file").map(([path]) => path),
    [
      "etc/group",
      "etc/passwd",
      "usr/share/above",
      "var/lib/dpkg/info/above.list",
      "var/lib/dpkg/info/format",
      "var/lib/dpkg/status",
    ],
  );
  assert.match(text(members, "etc/passwd") ?? "", /one:x:11[\s\S]*two:x:12/);
  assert.match(text(members, "var/lib/dpkg/status") ?? "", /Package: above[\s\S]*Package: below/);
  assert.equal(members.has("usr/share/doc/above"), false, "the base's drop patterns hold");
  const { config } = parseImageConfig(image.config);
  assert.deepEqual(config?.Env, ["A=1", "B=2"]);
  assert.equal("Cmd" in (config ?? {}), false, "a new entrypoint does not inherit arguments");
});

test("gives the same bytes from another directory and cache, and takes built layers from the cache", async (t) => {
  const recipe = { files: { "/etc/one": { content: "1" } } };
  const images = [];
  for (let i = 0; i < 2; i += 1) {
    const place = await kitchen(t);
    const { load } = await cook(place, recipe, [BASE_FILES]);
    const image = await load({ created: `2026-03-0${i + 1}T00:00:00Z` });
    images.push(image);
    place.mirror.requests.length = 0;
    place.mirror.files.clear();
    assert.deepEqual((await load()).layers[0]?.descriptor, image.layers[0]?.descriptor);
    assert.deepEqual((await load({ ignoreBuiltLayers: true })).layers[0]?.descriptor, image.layers[0]?.descriptor);
    assert.deepEqual(place.mirror.requests, []);
    const left = await readdir(place.context.cacheDir);
    assert.deepEqual(left.sort(), ["downloads", "layers"], "nothing temporary is left");
  }
  assert.deepEqual(images[0]?.layers[0]?.descriptor, images[1]?.layers[0]?.descriptor);
  assert.deepEqual(images[0]?.config, images[1]?.config, "a lock of another day is no other image");
});

test("builds a layer again whose file in the cache is cut off", async (t) => {
  const place = await kitchen(t);
  const { load } = await cook(place, { files: { "/etc/one": { content: "1" } } });
  const [layer] = (await load()).layers;
  assert.ok(layer);
  const path = join(place.context.cacheDir, "layers", layer.descriptor.digest.slice("sha256:".length));
  await truncate(path, 10);
  await topLayer(place.root, await load());
});

test("gives every file one time, whatever the package says", async (t) => {
  const place = await kitchen(t);
  const late = header({ path: "late", size: 0, mode: 0o644, type: "File", mtime: new Date("2030-01-01") });
  const { load } = await cook(place, {}, [syntheticDeb("late", [late])]);
  await topLayer(place.root, await load());
  const listed = execFileSync("tar", ["-tvf", join(place.root, "layer.tar"), "--utc", "--full-time"]).toString();
  const times = new Set(
    listed
      .trim()
      .split("\n")
      .map((line) => line.split(/\s+/).slice(3, 5).join(" ")),
  );
  assert.deepEqual([...times], [new Date(LAYER_TIME * 1000).toISOString().slice(0, 19).replace("T", " ")]);
});

test("keeps names that do not fit a tar header", async (t) => {
  const place = await kitchen(t);
  const long = `usr/${"very-long-directory-name/".repeat(8)}file`;
  const { load } = await cook(place, {}, [
    syntheticDeb("long", [
      Buffer.concat([pax({ path: long }), file("x", "1")]),
      Buffer.concat([pax({ path: "usr/größe" }), file("x", "2")]),
      Buffer.concat([pax({ linkpath: `/${long}` }), symlink("usr/link", "x")]),
    ]),
  ]);
  const members = await topLayer(place.root, await load());
  assert.equal(text(members, long), "1");
  assert.equal(text(members, "usr/größe"), "2");
  assert.equal(members.get("usr/link")?.target, `/${long}`);
  const listed = execFileSync("tar", ["-tf", join(place.root, "layer.tar"), "--quoting-style=literal"]).toString();
  assert.ok(listed.includes(`${long}\n`) && listed.includes("usr/größe\n"));
});

test("concatenates the certificates where ca-certificates is there", async (t) => {
  const place = await kitchen(t);
  const certificates = ["b", "a"].map((name) => file(`./usr/share/ca-certificates/mozilla/${name}.crt`, `${name}\n`));
  const { load } = await cook(place, {}, [syntheticDeb("ca-certificates", certificates, { architecture: "all" })]);
  const members = await topLayer(place.root, await load());
  assert.equal(text(members, "etc/ssl/certs/ca-certificates.crt"), "a\nb\n");
});

const drops: [string[], string, boolean][] = [
  [["usr/share/man"], "usr/share/man/man1/a.1", false],
  [["usr/share/man"], "usr/share/manual", true],
  [["usr/share/doc/*/*", "!usr/share/doc/*/copyright"], "usr/share/doc/x/copyright", true],
  [["usr/share/doc/*/*", "!usr/share/doc/*/copyright"], "usr/share/doc/x/changelog.gz", false],
  [["usr/share/doc/*/*"], "usr/share/doc/link", true],
  [["**/*.so"], "usr/lib/a/b.so", false],
  [["usr/lib/*.so"], "usr/lib/a/b.so", true],
  [["a?c.+(x)"], "abc.+(x)", false],
  [["!a", "a"], "a", false],
];
for (const [patterns, path, keeps] of drops) {
  test(`with drop ${patterns.join(" ")}, ${path} ${keeps ? "stays" : "goes"}`, () => {
    assert.equal(dropFilter(patterns)(path), keeps);
  });
}

const LOADER = syntheticDeb("loader", [
  file("./usr/lib/ld.so", smallElf(), 0o755),
  file("./usr/lib/libone.so.1", smallElf({ definesVersion: "ONE_1" })),
]);
const libraries: [string, SmallElf, string | undefined][] = [
  ["a program that has its loader and library", { interpreter: "/lib/ld.so", needed: ["libone.so.1"] }, undefined],
  ["a program whose symbols are there", { needed: ["libone.so.1"], needsVersion: ["libone.so.1", "ONE_1"] }, undefined],
  ["a library beside its program", { needed: ["libown.so"], runPath: "$ORIGIN/../share" }, undefined],
  ["a program without its library", { needed: ["libtwo.so.2"] }, "needs libtwo.so.2"],
  ["a program without its loader", { interpreter: "/lib64/ld.so" }, "needs /lib64/ld.so"],
  [
    "a program that wants a newer library",
    { needed: ["libone.so.1"], needsVersion: ["libone.so.1", "ONE_2"] },
    "needs libone.so.1 with ONE_2",
  ],
  ["a program for another processor", { machine: 183 }, "is for ELF machine 183"],
];
for (const [what, elf, problem] of libraries) {
  test(`${problem === undefined ? "accepts" : "refuses"} ${what}`, async (t) => {
    const place = await kitchen(t);
    const program = [file("./usr/bin/program", smallElf(elf), 0o755), file("./usr/share/libown.so", smallElf())];
    const { load } = await cook(place, {}, [BASE_FILES, LOADER, syntheticDeb("program", program)]);
    if (problem === undefined) return void (await load());
    await assert.rejects(load(), (error: { code?: string; message: string }) => {
      assert.ok(error.message.includes(problem), error.message);
      return error.code === "RECIPE_LIBRARY_MISSING";
    });
  });
}

test("refuses an ELF file that is cut off", async (t) => {
  const place = await kitchen(t);
  const elf = smallElf({ needed: ["libone.so.1"] });
  for (let size = 64; size < elf.length; size += 61) {
    const deb = syntheticDeb("cut", [file("./x", elf.subarray(0, size))]);
    const { load } = await cook(place, {}, [deb]);
    await assert.rejects(load(), coded("RECIPE_PACKAGE_MALFORMED"));
  }
});

const hostile: [string, Buffer[], string][] = [
  ["a path that leads out of the image", [file("../etc/passwd", "x")], "RECIPE_PATH_UNSAFE"],
  ["a path with .. inside", [file("usr/../../etc/passwd", "x")], "RECIPE_PATH_UNSAFE"],
  ["an absolute path", [file("/etc/passwd", "x")], "RECIPE_PATH_UNSAFE"],
  ["a path with a newline", [file("etc/a\nb", "x")], "RECIPE_PATH_UNSAFE"],
  ["a hard link out of the image", [hardlink("a", "../../etc/shadow")], "RECIPE_PATH_UNSAFE"],
  ["a hard link to nothing", [hardlink("a", "b")], "RECIPE_PACKAGE_MALFORMED"],
  [
    "a device node",
    [header({ path: "dev/sda", type: "BlockDevice", devmaj: 8, devmin: 0, size: 0 })],
    "RECIPE_PACKAGE_MALFORMED",
  ],
  ["a named pipe", [header({ path: "run/pipe", type: "FIFO", size: 0 })], "RECIPE_PACKAGE_MALFORMED"],
  ["one file twice", [file("a", "1"), file("a", "2")], "RECIPE_FILE_CONFLICT"],
  ["a file below a file", [file("a", "1"), file("a/b", "2")], "RECIPE_FILE_CONFLICT"],
  ["a directory where a file is", [file("a", "1"), directory("a")], "RECIPE_FILE_CONFLICT"],
  ["a file below a link to nowhere", [symlink("a", "b"), file("a/c", "2")], "RECIPE_FILE_CONFLICT"],
  ["links in a circle", [symlink("a", "b"), symlink("b", "a"), file("a/c", "2")], "RECIPE_FILE_CONFLICT"],
  ["a size that is none", [Buffer.concat([pax({ size: "-1" }), file("a", "1")])], "RECIPE_PACKAGE_MALFORMED"],
  ["a sparse file", [Buffer.concat([pax({ "GNU.sparse.major": "1" }), file("a", "1")])], "RECIPE_PACKAGE_MALFORMED"],
];
for (const [what, entries, code] of hostile) {
  test(`refuses a package with ${what}`, async (t) => {
    const { load } = await cook(await kitchen(t), {}, [syntheticDeb("hostile", entries)]);
    await assert.rejects(load(), coded(code));
  });
}

test("follows a link only inside the image", async (t) => {
  const place = await kitchen(t);
  const { load } = await cook(place, {}, [
    syntheticDeb("climber", [directory("etc"), symlink("up", "../../../etc"), file("up/inside", "1")]),
  ]);
  assert.equal(text(await topLayer(place.root, await load()), "etc/inside"), "1");
});

test("refuses a .deb with a changed byte, a short one and a long one, and asks for nothing from the cache", async (t) => {
  const deb = syntheticDeb("tool", [file("./a", "1")]);
  const changed = Buffer.from(deb.bytes);
  changed[100] = (changed[100] ?? 0) ^ 1;
  for (const [bytes, code] of [
    [changed, "SOURCE_INTEGRITY_MISMATCH"],
    [Buffer.concat([deb.bytes, Buffer.from("x")]), "SOURCE_INTEGRITY_MISMATCH"],
  ] as const) {
    const place = await kitchen(t);
    const { load } = await cook(place, {}, [deb]);
    place.mirror.files.set(deb.input.path, bytes);
    await assert.rejects(load(), coded(code));
    assert.deepEqual(await readdir(join(place.context.cacheDir, "downloads")), []);
  }
});

test("fetches a download again whose copy in the cache was changed", async (t) => {
  const place = await kitchen(t);
  const deb = syntheticDeb("tool", [file("./a", "1")]);
  const { load } = await cook(place, {}, [deb]);
  await load();
  const downloads = join(place.context.cacheDir, "downloads");
  const [name = ""] = await readdir(downloads);
  await appendFile(join(downloads, name), "x");
  await load({ ignoreBuiltLayers: true });
  assert.equal(place.mirror.requests.length, 2);
  assert.equal(digestOf(await readFile(join(downloads, name))), deb.input.sha256);
});

test("says that a locked package is gone, and how to go on", async (t) => {
  const place = await kitchen(t);
  const { load } = await cook(place, {}, [syntheticDeb("tool", [])]);
  place.mirror.files.clear();
  await assert.rejects(load(), (error: { code?: string; hints?: string[] }) => {
    assert.match(error.hints?.join() ?? "", /sealift bundle lock/);
    return error.code === "SOURCE_PACKAGE_GONE";
  });
});

test("tries the next mirror where the first has the package no more", async (t) => {
  const place = await kitchen(t);
  const { load } = await cook(place, {}, [syntheticDeb("tool", [])]);
  process.env["SEALIFT_DEBIAN_MIRROR"] = `${place.mirror.url}/old ${place.mirror.url}`;
  await load();
  assert.equal(place.mirror.requests.length, 2);
});

const wrongPackages: [string, DebOptions & { name?: string }][] = [
  ["another version", { version: "2.0-1" }],
  ["another name", { name: "other" }],
];
for (const [what, { name = "tool", ...options }] of wrongPackages) {
  test(`refuses a .deb that is ${what} than the lock says`, async (t) => {
    const made = syntheticDeb(name, [], options);
    const locked = { ...made, input: { ...made.input, package: "tool", version: "1.0-1" } };
    const { load } = await cook(await kitchen(t), {}, [locked]);
    await assert.rejects(load(), coded("RECIPE_PACKAGE_MALFORMED"));
  });
}

test("refuses a file that is no .deb", async (t) => {
  const bytes = Buffer.from("not a package");
  const deb = syntheticDeb("tool", []);
  const input = { ...deb.input, sha256: digestOf(bytes), size: bytes.length };
  const { load } = await cook(await kitchen(t), {}, [{ input, bytes }]);
  await assert.rejects(load(), coded("RECIPE_PACKAGE_MALFORMED"));
});

test("refuses two packages with one file, and a file that is in the base already", async (t) => {
  const place = await kitchen(t);
  const { load } = await cook(place, {}, [
    syntheticDeb("one", [file("a", "1")]),
    syntheticDeb("two", [file("a", "1")]),
  ]);
  await assert.rejects(load(), coded("RECIPE_FILE_CONFLICT"));
  await writeFile(join(place.root, "base.yaml"), stringify({ schemaVersion: 1, files: { "/a": { content: "1" } } }));
  const above = await cook(place, { base: "base.yaml" }, [syntheticDeb("one", [file("a", "1")])]);
  await assert.rejects(above.load(), coded("RECIPE_FILE_CONFLICT"));
});

const npmPackage = (name = "tool", version = "1.2.3"): SyntheticNpm =>
  syntheticNpm(name, version, [file("package/package.json", "{}"), file("package/bin/tool", "#!/bin/tool", 0o700)]);

test("takes single files of an npm package, with the modes that npm gives", async (t) => {
  const place = await kitchen(t);
  const item = npmPackage("@scope/tool");
  const npm = [
    {
      package: { amd64: "@scope/tool", arm64: "@scope/other" },
      version: "1.2.3",
      files: { "bin/tool": "/bin/tool", "package.json": "/lib/package.json" },
    },
  ];
  const image = await (await cook(place, { npm }, [], [item])).load();
  const members = await topLayer(place.root, image);
  assert.deepEqual([members.get("bin/tool")?.mode, members.get("lib/package.json")?.mode], [0o755, 0o644]);
  const material = image.materials.find(({ uri }) => uri === "pkg:npm/%40scope/tool@1.2.3");
  assert.equal(material?.digest["sha512"], createHash("sha512").update(item.bytes).digest("hex"));
});

test("refuses an npm package with the wrong integrity, without a picked file, or with a link", async (t) => {
  const npm = [{ package: "tool", version: "1.2.3", files: { "bin/tool": "/bin/tool" } }];
  const good = npmPackage();
  const wrong = { ...good, bytes: npmPackage("tool", "9.9.9").bytes.fill(0, 4, 8).fill(1, 4, 5) };
  await assert.rejects((await cook(await kitchen(t), { npm }, [], [wrong])).load(), coded("SOURCE_INTEGRITY_MISMATCH"));
  const empty = syntheticNpm("tool", "1.2.3", [file("package/package.json", "{}")]);
  await assert.rejects((await cook(await kitchen(t), { npm }, [], [empty])).load(), coded("RECIPE_MALFORMED"));
  const linked = syntheticNpm("tool", "1.2.3", [symlink("package/bin/tool", "/etc/passwd")]);
  await assert.rejects((await cook(await kitchen(t), { npm }, [], [linked])).load(), coded("RECIPE_PACKAGE_MALFORMED"));
  const climbing = syntheticNpm("tool", "1.2.3", [file("package/../../bin/tool", "x")]);
  await assert.rejects((await cook(await kitchen(t), { npm }, [], [climbing])).load(), coded("RECIPE_PATH_UNSAFE"));
});

/** A repository with a workspace `app` that needs the workspace `kit` and two versions of `dep`. */
async function repository(place: Kitchen): Promise<SyntheticNpm[]> {
  const dep = syntheticNpm("dep", "1.0.0", [file("package/package.json", "{}"), file("package/index.js", "1")]);
  const older = syntheticNpm("dep", "0.9.0", [file("package/index.js", "0")]);
  const user = syntheticNpm("user", "2.0.0", [file("package/index.js", "2")]);
  const entry = ({ input }: SyntheticNpm, more: object = {}) => ({
    version: input.version,
    integrity: input.integrity,
    ...more,
  });
  const lock = {
    lockfileVersion: 3,
    packages: {
      "": { workspaces: ["services/*"] },
      "services/app": { dependencies: { "@x/kit": "1", dep: "1" }, devDependencies: { tester: "1" } },
      "services/kit": { name: "@x/kit", dependencies: { user: "2" }, optionalDependencies: { mac: "1", gone: "1" } },
      "node_modules/@x/kit": { resolved: "services/kit", link: true },
      "node_modules/dep": entry(dep),
      "node_modules/user": entry(user, { dependencies: { dep: "0.9" } }),
      "node_modules/user/node_modules/dep": entry(older),
      "node_modules/mac": entry(dep, { os: ["darwin"], optional: true }),
      "node_modules/tester": { version: "1.0.0", dev: true },
    },
  };
  await writeFile(join(place.root, "package-lock.json"), JSON.stringify(lock));
  for (const name of ["app", "kit"]) {
    await mkdir(join(place.root, "services", name, "src/deep"), { recursive: true });
    await writeFile(join(place.root, "services", name, "package.json"), "{}");
    await writeFile(join(place.root, "services", name, "src/deep/main.ts"), name, { mode: 0o600 });
    await writeFile(join(place.root, "services", name, "src/.main.ts.swp"), "x");
  }
  return [dep, older, user];
}

const workspace = { root: ".", path: "services/app", destination: "/opt/app" };

test("installs a workspace with what it needs in production, and nothing else", async (t) => {
  const place = await kitchen(t);
  const npm = await repository(place);
  const image = await (await cook(place, { workspace }, [], npm)).load();
  const members = await topLayer(place.root, image);
  const files = [...members.values()].filter(({ type }) => type !== "directory").map(({ path }) => path);
  assert.deepEqual(
    files.filter((path) => path.startsWith("opt/")),
    [
      "opt/app/node_modules/@x/kit",
      "opt/app/node_modules/dep/index.js",
      "opt/app/node_modules/dep/package.json",
      "opt/app/node_modules/user/index.js",
      "opt/app/node_modules/user/node_modules/dep/index.js",
      "opt/app/services/app/package.json",
      "opt/app/services/app/src/deep/main.ts",
      "opt/app/services/kit/package.json",
      "opt/app/services/kit/src/deep/main.ts",
    ],
  );
  assert.equal(members.get("opt/app/node_modules/@x/kit")?.target, "../../services/kit");
  assert.equal(text(members, "opt/app/node_modules/user/node_modules/dep/index.js"), "0");
  assert.equal(members.get("opt/app/services/app/src/deep/main.ts")?.mode, 0o644);
  assert.ok(image.materials.some(({ uri }) => uri === "services/app"));
});

test("builds a workspace anew when a source file changed, and refuses a changed package-lock.json", async (t) => {
  const place = await kitchen(t);
  const npm = await repository(place);
  const { load } = await cook(place, { workspace }, [], npm);
  const before = await load();
  await writeFile(join(place.root, "services/kit/src/deep/main.ts"), "changed");
  const after = await load();
  assert.notEqual(before.layers[0]?.descriptor.digest, after.layers[0]?.descriptor.digest);
  const path = join(place.root, "package-lock.json");
  const lock = await readFile(path, "utf8");
  const [dep, older] = npm as [SyntheticNpm, SyntheticNpm];
  await writeFile(path, lock.replace(older.input.integrity, dep.input.integrity));
  await assert.rejects(load(), coded("RECIPE_LOCK_STALE"));
  await writeFile(path, lock.replace('"node_modules/dep"', '"node_modules/deep"'));
  await assert.rejects(load(), coded("RECIPE_MALFORMED"));
  await writeFile(path, lock.replace('"resolved":"services/kit"', '"resolved":"../kit"'));
  await assert.rejects(load(), coded("RECIPE_MALFORMED"));
  await writeFile(path, "{");
  await assert.rejects(load(), coded("RECIPE_MALFORMED"));
});

test("refuses a lock that does not fit the recipe", async (t) => {
  const place = await kitchen(t);
  const deb = syntheticDeb("tool", []);
  const extra = syntheticDeb("extra", []);
  const { lock } = await cook(place, {}, [deb]);
  assert.equal(lock.kind, "recipe");
  const load = (changes: object) =>
    recipeSource("image.yaml").load({ ...lock, ...changes } as ImageLock, place.context);
  await assert.rejects(load({ kind: "layout" }), coded("RECIPE_LOCK_STALE"));
  await assert.rejects(load({ recipe: digestOf("another") }), coded("RECIPE_LOCK_STALE"));
  await assert.rejects(load({ debian: [] }), coded("RECIPE_LOCK_STALE"));
  await assert.rejects(load({ debian: [deb.input, extra.input] }), coded("RECIPE_LOCK_STALE"));
  await assert.rejects(load({ debian: [deb.input, deb.input] }), coded("RECIPE_LOCK_STALE"));
  await assert.rejects(load({ debian: [{ ...deb.input, architecture: "arm64" }] }), coded("RECIPE_LOCK_STALE"));
  await assert.rejects(load({ npm: [npmPackage().input] }), coded("RECIPE_LOCK_STALE"));
});

const badRecipes: [string, string, string][] = [
  ["with an unknown member", "schemaVersion: 1\nexec: rm -rf /\n", "RECIPE_MALFORMED"],
  ["of another version", "schemaVersion: 2\n", "RECIPE_MALFORMED"],
  ["that is no YAML", "a: [\n", "RECIPE_MALFORMED"],
  ["with a member twice", "schemaVersion: 1\nschemaVersion: 1\n", "RECIPE_MALFORMED"],
  ["with an alias", "schemaVersion: 1\nfiles: &a {}\nlinks: *a\n", "RECIPE_MALFORMED"],
  ["with a path that climbs", 'schemaVersion: 1\nlinks: {"/a/../../b": c}\n', "RECIPE_MALFORMED"],
  ["with a path that is not absolute", "schemaVersion: 1\nlinks: {a: c}\n", "RECIPE_MALFORMED"],
  ["with two users of one uid", "schemaVersion: 1\nusers: {a: 5, b: 5}\n", "RECIPE_MALFORMED"],
  ["with a user who is root", "schemaVersion: 1\nusers: {a: 0}\n", "RECIPE_MALFORMED"],
  ["that runs as nobody it names", "schemaVersion: 1\nconfig: {User: ghost}\n", "RECIPE_MALFORMED"],
  ["that stands on itself", "schemaVersion: 1\nbase: image.yaml\n", "RECIPE_MALFORMED"],
  ["that stands on nothing", "schemaVersion: 1\nbase: nothing.yaml\n", "RECIPE_UNREADABLE"],
  ["whose source is not there", "schemaVersion: 1\nfiles: {/a: {source: nothing}}\n", "RECIPE_UNREADABLE"],
  ["whose entrypoint is not there", "schemaVersion: 1\nconfig: {Entrypoint: [/bin/x]}\n", "RECIPE_ENTRYPOINT_MISSING"],
  [
    "whose entrypoint is not executable",
    'schemaVersion: 1\nfiles: {/x: {content: ""}}\nconfig: {Entrypoint: [/x]}\n',
    "RECIPE_ENTRYPOINT_MISSING",
  ],
  [
    "whose entrypoint lacks its interpreter",
    'schemaVersion: 1\nfiles: {/x: {content: "#!/bin/sh\\n", mode: "0755"}}\nconfig: {Entrypoint: [/x]}\n',
    "RECIPE_ENTRYPOINT_MISSING",
  ],
];
for (const [what, yaml, code] of badRecipes) {
  test(`refuses a recipe ${what}`, async (t) => {
    const { root, context } = await kitchen(t);
    await writeFile(join(root, "image.yaml"), yaml);
    const load = async () => {
      const recipe = (await readRecipe(root, "image.yaml")).digest;
      await recipeSource("image.yaml").load({ kind: "recipe", recipe, debian: [], npm: [] }, context);
    };
    await assert.rejects(load(), coded(code));
  });
}
