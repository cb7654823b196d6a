import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { scratch } from "./support/scratch.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Every module that importing `entry` really loads: our files by path, packages by name, Node's own as `node:…`. */
function loadedBy(entry: string): { files: string[]; packages: string[]; builtins: string[] } {
  const record = join(ROOT, "test/support/record-imports.mjs");
  const run = spawnSync(process.execPath, [record, `file://${join(ROOT, entry)}`], { encoding: "utf8", env: {} });
  assert.equal(run.status, 0, run.stderr);
  const urls = run.stdout.split("\n");
  const paths = urls.filter((url) => url.startsWith("file:")).map((url) => relative(ROOT, fileURLToPath(url)));
  const packages = paths.flatMap(
    (path) => /node_modules\/((?:@[^/]+\/)?[^/]+)(?!.*node_modules)/.exec(path)?.[1] ?? [],
  );
  return {
    files: paths.filter((path) => !path.startsWith("node_modules/")).sort(),
    packages: [...new Set(packages)].sort(),
    builtins: [...new Set(urls.filter((url) => url.startsWith("node:")))].sort(),
  };
}

/** What the verifier's cage loads from outside this project, and why. A new one belongs into an ADR first. */
const PACKAGES_IN_THE_CAGE: Readonly<Record<string, string>> = {
  "@sigstore/bundle": "parses Sigstore bundles",
  "@sigstore/protobuf-specs": "the types of a bundle",
  "@tufjs/canonical-json": "the bytes that TUF signs",
  "@tufjs/models": "TUF metadata",
  "tuf-js": "TUF's workflow, its store only: nothing that downloads",
  minimatch: "of @tufjs/models: path patterns of a delegation",
  "brace-expansion": "of minimatch",
  "balanced-match": "of brace-expansion",
  ajv: "JSON Schema for everything from outside",
  "fast-deep-equal": "of ajv",
  "fast-uri": "of ajv",
  "json-schema-traverse": "of ajv",
  canonicalize: "RFC 8785",
  semver: "versions and ranges of a release",
};

/** The caged process reads open files, hashes, and checks signatures: nothing of Node's that does more. */
const BUILTINS_IN_THE_CAGE = ["node:buffer", "node:crypto", "node:fs", "node:path", "node:readline", "node:util"];

const AREAS_IN_THE_CAGE =
  /^(?:verify|bundles\/model|bundles\/layout)\/|^sbom\/(?:document|error|vendor-sbom|scan\/scan-policy)\.ts$/;

/** What the judge loads besides, only of a release that is scanned or described (ADR 0028). */
const SCAN_IN_THE_CAGE =
  /^sbom\/(?:scan|diff)\/|^sbom\/(?:zip-reader|debian-version|rpm-version|generate\/catalog|generate\/tar-reader)\.ts$/;
/** Package URLs, scores of CVSS, and a signature over the digest of a file. */
const PACKAGES_OF_THE_SCAN = ["packageurl-js", "ae-cvss-calculator", "@noble/curves", "@noble/hashes"];
/** CycloneDX's model and schemas, with what its validator needs. */
const PACKAGES_OF_THE_VALIDATOR = [
  "@cyclonedx/cyclonedx-library",
  // Formats of its schemas: dates, addresses, e-mail.
  ...["ajv-formats", "ajv-formats-draft2019", "extend", "nearley", "schemes", "smtp-address-parser", "uri-js"],
  ...["spdx-expression-parse", "spdx-exceptions", "spdx-license-ids"],
];
const BUILTINS_OF_THE_SCAN = ["node:module", "node:stream", "node:zlib"];

test("the judge loads only the verifier, the model, the layout and the SBOM reader", () => {
  const { files } = loadedBy("verify/verify.ts");
  const ours = files.filter((file) => file !== "test/support/record-imports.mjs");
  assert.ok(ours.length > 30, "it was really loaded");
  assert.deepEqual(
    ours.filter((file) => !AREAS_IN_THE_CAGE.test(file)),
    [],
  );
  assert.ok(!ours.includes("bundles/layout/oci-endpoint.ts"));
  assert.ok(!ours.includes("verify/cage/run-cage.ts"));
});

test("the judge loads no package that is not on the list, and the list holds none that it does not load", () => {
  const { packages } = loadedBy("verify/verify.ts");
  assert.deepEqual(packages, Object.keys(PACKAGES_IN_THE_CAGE).sort());
});

test("the judge loads nothing of Node that connects, starts or opens more than the cage gives", () => {
  const { builtins } = loadedBy("verify/verify.ts");
  assert.ok(builtins.includes("node:crypto"), "Node's own modules are recorded");
  assert.deepEqual(
    builtins.filter((name) => !BUILTINS_IN_THE_CAGE.includes(name)),
    [],
  );
});

test("a scan and a description in the cage load their own part of sbom, the packages listed, and nothing that connects", () => {
  for (const entry of ["verify/checks/scan.ts", "verify/describe-contents.ts"]) {
    const { files, packages, builtins } = loadedBy(entry);
    const foreign = files.filter((file) => !AREAS_IN_THE_CAGE.test(file) && !SCAN_IN_THE_CAGE.test(file));
    assert.deepEqual(foreign, [], entry);
    const known = [...Object.keys(PACKAGES_IN_THE_CAGE), ...PACKAGES_OF_THE_SCAN];
    assert.deepEqual(
      packages.filter((name) => !known.includes(name)),
      [],
      entry,
    );
    assert.ok(packages.includes("packageurl-js"), entry);
    const allowed = [...BUILTINS_IN_THE_CAGE, ...BUILTINS_OF_THE_SCAN];
    assert.deepEqual(
      builtins.filter((name) => !allowed.includes(name)),
      [],
      entry,
    );
  }
});

test("a vendor's SBOM is validated in the cage by CycloneDX's own schemas, and only there by the packages listed", () => {
  const { files, packages, builtins } = loadedBy("verify/checks/vendor-sbom.ts");
  const ours = /^sbom\/(?:compare|lint|spdx|validate)\.ts$/;
  const known = (file: string): boolean => [AREAS_IN_THE_CAGE, SCAN_IN_THE_CAGE, ours].some((one) => one.test(file));
  assert.deepEqual(
    files.filter((file) => !known(file)),
    [],
  );
  const allowed = [...Object.keys(PACKAGES_IN_THE_CAGE), ...PACKAGES_OF_THE_SCAN, ...PACKAGES_OF_THE_VALIDATOR];
  assert.deepEqual(
    packages.filter((name) => !allowed.includes(name)),
    [],
  );
  // It reads its schemas, which are part of the package.
  const ofValidator = ["node:fs/promises", "node:punycode", "node:url"];
  const allowedBuiltins = [...BUILTINS_IN_THE_CAGE, ...BUILTINS_OF_THE_SCAN, ...ofValidator];
  assert.deepEqual(
    builtins.filter((name) => !allowedBuiltins.includes(name)),
    [],
  );
});

test("a hasher loads nothing of ours and no package", async () => {
  const source = await readFile(join(ROOT, "verify/cage/hasher.js"), "utf8");
  const imports = [...source.matchAll(/^import .* from "([^"]+)";$/gm)].map(([, name]) => name);
  assert.deepEqual(imports, ["node:crypto", "node:fs", "node:readline"]);
});

test("verify-blob with a key loads no package, and of Node nothing that is slow to load, so it starts fast", () => {
  const { files, packages, builtins } = loadedBy("installer/commands/verify-blob.ts");
  assert.ok(files.includes("verify/signature/message.ts"), "it was really loaded");
  assert.deepEqual(packages, []);
  assert.deepEqual(builtins, []);
  // Each module is three files from a disk: it, its JavaScript and what V8 made of that.
  assert.ok(files.length <= 17, files.join("\n"));
});

test("what the judge says before its parsers are loaded needs no package", () => {
  assert.deepEqual(loadedBy("verify/cage/hash-tasks.ts").packages, []);
});

test("the record sees what is loaded by import, by require, late and from Node", async (t) => {
  const directory = await scratch(t);
  await writeFile(join(directory, "entry.mjs"), 'import "./a.cjs";\nawait import("node:dns");\n');
  await writeFile(join(directory, "a.cjs"), 'require("https");\nrequire("./b.cjs");\n');
  await writeFile(join(directory, "b.cjs"), "");
  const { files, builtins } = loadedBy(relative(ROOT, join(directory, "entry.mjs")));
  assert.deepEqual(
    files.map((file) => basename(file)),
    ["a.cjs", "b.cjs", "entry.mjs"],
  );
  assert.deepEqual(builtins, ["node:dns", "node:https"]);
});

/** Imports that DESIGN.md ("The tree") forbids, and the same kind of import where it is allowed. */
const FORBIDDEN: readonly (readonly [string, string])[] = [
  ["bundles/model/x.ts", "../layout/layout.ts"],
  ["bundles/layout/x.ts", "../source/source.ts"],
  ["bundles/layout/x.ts", "node:http"],
  ["bundles/layout/x.ts", "../../verify/verify.ts"],
  ["bundles/source/recipe/x.ts", "../../sign/attach.ts"],
  ["bundles/source/x.ts", "../../installer/main.ts"],
  ["bundles/sign/x.ts", "../../verify/verify.ts"],
  ["bundles/sign/x.ts", "../assemble/assemble.ts"],
  ["bundles/assemble/x.ts", "../sign/attach.ts"],
  ["bundles/kit/x.ts", "../../verify/verify.ts"],
  ["sbom/x.ts", "../verify/verify.ts"],
  ["sbom/generate/x.ts", "../../bundles/source/source.ts"],
  ["verify/x.ts", "../installer/main.ts"],
  ["verify/x.ts", "../bundles/source/source.ts"],
  ["verify/x.ts", "../bundles/sign/attach.ts"],
  ["verify/checks/x.ts", "../../bundles/assemble/assemble.ts"],
  ["verify/checks/x.ts", "../../compose/engine/engine.ts"],
  ["verify/checks/x.ts", "node:net"],
  ["verify/trust/x.ts", "node:child_process"],
  ["verify/cage/judge.ts", "node:worker_threads"],
  ["compose/engine/x.ts", "../../installer/main.ts"],
  ["compose/services/gateway/src/x.ts", "../../../../bundles/model/digest.ts"],
  ["compose/services/gateway/src/x.ts", "../../../engine/engine.ts"],
  ["installer/x.ts", "../test/support/scratch.ts"],
  ["installer/site/x.ts", "../../compose/services/gateway/src/gateway.ts"],
];
const ALLOWED: readonly (readonly [string, string])[] = [
  ["bundles/layout/y.ts", "../model/digest.ts"],
  ["bundles/layout/oci-endpoint.ts", "node:http"],
  ["bundles/source/recipe/y.ts", "../../layout/layout.ts"],
  ["sbom/generate/y.ts", "../../bundles/layout/layout.ts"],
  ["verify/checks/y.ts", "../../sbom/document.ts"],
  ["verify/checks/y.ts", "../signature/signature.ts"],
  ["verify/cage/run-cage.ts", "node:child_process"],
  ["compose/services/gateway/src/y.ts", "@sealift/service-kit/log.ts"],
  ["compose/services/gateway/src/y.ts", "./settings.ts"],
  ["installer/commands/y.ts", "../../verify/verify.ts"],
  ["installer/site/y.ts", "../../compose/services/service-kit/src/certificate.ts"],
];

test("lint refuses each import against the directions of the tree, and no other", async (t) => {
  const directory = await scratch(t);
  const configuration = JSON.parse(await readFile(join(ROOT, "biome.json"), "utf8")) as { vcs: unknown };
  await writeFile(join(directory, "biome.json"), JSON.stringify({ ...configuration, vcs: { enabled: false } }));
  const places = new Map<string, string>();
  for (const [i, [file, specifier]] of [...FORBIDDEN, ...ALLOWED].entries()) {
    // Several cases lie in one file's directory; an exempt file keeps its name.
    const path = /\/[xy]\.ts$/.test(file) ? file.replace(/([xy])\.ts$/, `$1-${i}.ts`) : file;
    places.set(path, specifier);
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), `import { x } from "${specifier}";\n\nconsole.log(x);\n`);
  }
  const arch = process.arch === "arm64" ? "arm64" : "x64";
  const biome = join(ROOT, `node_modules/@biomejs/cli-linux-${arch}/biome`);
  const args = ["lint", "--only=style/noRestrictedImports", "--reporter=github", "--max-diagnostics=none", "."];
  const run = spawnSync(biome, args, { cwd: directory, encoding: "utf8" });
  const refused = [...run.stdout.matchAll(/noRestrictedImports,file=([^,]+),/g)].map(([, file = ""]) =>
    relative(directory, file),
  );
  const wanted = [...places.keys()].slice(0, FORBIDDEN.length);
  assert.deepEqual([...new Set(refused)].sort(), wanted.sort(), run.stdout + run.stderr);
  assert.equal(places.size, FORBIDDEN.length + ALLOWED.length);
});
