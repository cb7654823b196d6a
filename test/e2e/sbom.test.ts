/**
 * Our lists against the tools that own the truth: dpkg-query on the package database, npm's own record of
 * what it installed, dpkg on the order of versions. Precision and recall must be 1.0.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { OCI_LAYER_TAR } from "../../bundles/model/media-types.ts";
import { parseImageConfig } from "../../bundles/model/oci.ts";
import { recipeSource } from "../../bundles/source/recipe/recipe-source.ts";
import { cacheDirectory } from "../../installer/host/this-host.ts";
import { compareDebianVersions, parseDebianVersion } from "../../sbom/debian-version.ts";
import { imageSbom } from "../../sbom/generate/image-sbom.ts";
import { type LayerScan, scanLayer } from "../../sbom/generate/layer-scan.ts";
import { validateSbom } from "../../sbom/validate.ts";
import { chunksOf, configOf, type PlainSbom, packagesOf } from "../support/layer-tar.ts";
import { scratch } from "../support/scratch.ts";

const project = join(import.meta.dirname, "../..");
const MAX = 1 << 30;

function debTruth(adminDirectory: string): string[] {
  const field = (name: string): string => `\${${name}}`;
  const format = `${field("Package")}@${field("Version")} ${field("Architecture")} ${field("db:Status-Status")}\n`;
  const output = execFileSync("dpkg-query", [`--admindir=${adminDirectory}`, "-W", "-f", format], { encoding: "utf8" });
  return output
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, , state]) => state !== undefined && state !== "config-files" && state !== "not-installed")
    .map(([name, architecture]) => `${name} ${architecture}`)
    .sort();
}

function debListed(sbom: PlainSbom): string[] {
  return sbom.components
    .filter((component) => component.purl?.startsWith("pkg:deb/"))
    .map(({ name, version, purl = "" }) => `${name}@${version} ${/[?&]arch=([^&]+)/.exec(purl)?.[1]}`)
    .sort();
}

/** Every package.json directly in a node_modules directory of an unpacked image, found with the file system. */
function npmTruth(root: string): string[] {
  const found = new Set<string>();
  const visit = (directory: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (!entry.isDirectory()) continue;
      visit(path);
      if (!/\/node_modules\/(?:@[^/]+\/)?[^/@.][^/]*$/.test(path) || !existsSync(join(path, "package.json"))) continue;
      const { name, version } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
      if (name && version) found.add(`${name}@${version}`);
    }
  };
  visit(root);
  return [...found].sort();
}

async function sbomOfScans(scans: readonly LayerScan[]): Promise<PlainSbom> {
  const bytes = imageSbom({
    name: "e2e",
    manifestDigest: digestOf("e2e"),
    config: configOf(scans.map((scan) => scan.diffId)),
    scans,
    created: "2026-01-02T03:04:05Z",
    toolVersion: "0.0.0-test",
  });
  assert.deepEqual((await validateSbom(bytes)).problems, []);
  return JSON.parse(bytes.toString("utf8"));
}

const hasDpkg = existsSync("/var/lib/dpkg/status") && spawnSync("dpkg-query", ["--version"]).status === 0;

test("lists this host's Debian packages exactly as dpkg-query does", {
  skip: !hasDpkg && "no dpkg on this host",
}, async () => {
  const paths = ["etc/os-release", "usr/lib/os-release", "var/lib/dpkg"];
  const bytes = execFileSync("tar", ["-C", "/", "-cf", "-", ...paths], { maxBuffer: MAX });
  const sbom = await sbomOfScans([await scanLayer(chunksOf(bytes), OCI_LAYER_TAR)]);
  const truth = debTruth("/var/lib/dpkg");
  assert.ok(truth.length > 50, `${truth.length} packages`);
  assert.deepEqual(debListed(sbom), truth);
});

test("lists this project's npm packages exactly as npm recorded them", async () => {
  const bytes = execFileSync("tar", ["-C", project, "-cf", "-", "package.json", "node_modules"], { maxBuffer: MAX });
  const sbom = await sbomOfScans([await scanLayer(chunksOf(bytes), OCI_LAYER_TAR)]);
  const record = JSON.parse(readFileSync(join(project, "node_modules/.package-lock.json"), "utf8")) as {
    packages: Record<string, { version: string; name?: string; link?: boolean }>;
  };
  const installed = Object.entries(record.packages)
    .filter(([path]) => path.startsWith("node_modules/"))
    .filter(([path, { link }]) => !link && existsSync(join(project, path, "package.json")))
    .map(([path, { name, version }]) => `${name ?? path.slice(path.lastIndexOf("node_modules/") + 13)}@${version}`);
  const truth = [...new Set(installed)].sort();
  assert.ok(truth.length > 50, `${truth.length} packages`);
  assert.deepEqual(packagesOf(sbom, "npm"), truth);
  assert.deepEqual(
    npmTruth(project).filter((item) => !truth.includes(item)),
    [],
  );
});

test("orders versions as dpkg --compare-versions does", { skip: !hasDpkg && "no dpkg on this host" }, () => {
  const real = debTruth("/var/lib/dpkg").map((line) => (line.split(" ")[0] as string).split("@")[1] as string);
  let seed = 20261121;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  const odd = (): string => {
    const alphabet = "0019aZ.+~-";
    return `${random(10)}${Array.from({ length: random(8) }, () => alphabet[random(alphabet.length)]).join("")}`;
  };
  const pick = (): string => (random(2) === 0 ? (real[random(real.length)] as string) : odd());
  const pairs: [string, string][] = [];
  while (pairs.length < 800) {
    const a = pick();
    const b = random(3) === 0 ? `${a}${["~1", "+b1", "-0", "0", "a"][random(5)]}` : pick();
    pairs.push([a, b]);
  }
  // One shell for all pairs; dpkg says "bad" of what is no version to it.
  const script = `while read -r a b; do
    if dpkg --compare-versions "$a" eq "$b" 2>/dev/null; then echo 0
    elif dpkg --compare-versions "$a" lt "$b" 2>/dev/null; then echo -1
    elif dpkg --compare-versions "$a" gt "$b" 2>/dev/null; then echo 1
    else echo bad; fi; done`;
  const answers = execFileSync("sh", ["-c", script], {
    input: pairs.map((pair) => `${pair.join(" ")}\n`).join(""),
    encoding: "utf8",
  });
  let compared = 0;
  for (const [i, answer] of answers.trim().split("\n").entries()) {
    const [a, b] = pairs[i] as [string, string];
    const [left, right] = [parseDebianVersion(a), parseDebianVersion(b)];
    if (answer === "bad" || !left || !right) continue;
    assert.equal(Math.sign(compareDebianVersions(left, right)), Number(answer), `${a} ? ${b}`);
    compared += 1;
  }
  assert.ok(compared > 600, `${compared} compared`);
});

for (const recipe of ["postgres", "gateway"]) {
  test(`lists the ${recipe} image exactly as dpkg-query and the file system do`, {
    skip: !hasDpkg && "no dpkg on this host",
  }, async (context) => {
    const source = recipeSource(`compose/images/${recipe}.yaml`);
    const settings = {
      root: project,
      platform: process.arch === "arm64" ? "linux/arm64" : "linux/amd64",
      cacheDir: cacheDirectory(),
      created: "2026-01-02T03:04:05Z",
      ignoreBuiltLayers: false,
      onProgress: () => {},
    };
    const image = await source.load(await source.lock(settings), settings);
    const root = join(await scratch(context), "root");
    await mkdir(root);
    const scans: LayerScan[] = [];
    for (const { descriptor, blob } of image.layers) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of blob.open()) chunks.push(chunk);
      const bytes = Buffer.concat(chunks);
      scans.push(await scanLayer(chunksOf(bytes), descriptor.mediaType));
      const flag = descriptor.mediaType.endsWith("zstd")
        ? "--zstd"
        : descriptor.mediaType.endsWith("gzip")
          ? "-z"
          : "-a";
      execFileSync("tar", [flag, "--no-same-owner", "--exclude=dev/*", "-C", root, "-xf", "-"], {
        input: bytes,
        maxBuffer: MAX,
      });
    }
    assert.deepEqual(
      scans.map((scan) => scan.diffId),
      parseImageConfig(image.config).rootfs.diff_ids,
    );
    const sbom = await sbomOfScans(scans);
    const truth = debTruth(join(root, "var/lib/dpkg"));
    assert.ok(truth.length > 5, `${truth.length} packages`);
    assert.deepEqual(debListed(sbom), truth);
    assert.deepEqual(
      packagesOf(sbom, "npm").filter((item) => !item.startsWith("@sealift/")),
      npmTruth(root).filter((item) => !item.startsWith("@sealift/")),
    );
    const { properties = [] } = sbom.metadata.component;
    context.diagnostic(
      `${recipe}: ${truth.length} deb, ${packagesOf(sbom, "npm").length} npm; ${JSON.stringify(properties.filter(({ name }) => name.startsWith("sealift:sbom")))}`,
    );
  });
}
