import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { OSV_SNAPSHOT_TAR } from "../../bundles/model/media-types.ts";
import { signBlob } from "../../bundles/sign/blob.ts";
import { sbomCompare } from "../../installer/commands/sbom-compare.ts";
import { sbomDiff } from "../../installer/commands/sbom-diff.ts";
import { sbomGenerate } from "../../installer/commands/sbom-generate.ts";
import { sbomLicences } from "../../installer/commands/sbom-licences.ts";
import { sbomScan } from "../../installer/commands/sbom-scan.ts";
import { sbomScore } from "../../installer/commands/sbom-score.ts";
import { sbomShow } from "../../installer/commands/sbom-show.ts";
import { sbomValidate } from "../../installer/commands/sbom-validate.ts";
import { DEFAULT_SCAN_POLICY } from "../../sbom/scan/scan-policy.ts";
import { runVerb as run } from "../support/run-verb.ts";
import { osvRecord, sbomWith } from "../support/scan-inputs.ts";
import { scratch } from "../support/scratch.ts";
import { smallRelease, tarOf, writeSmallBundle } from "../support/small-bundle.ts";
import { testTrust } from "../support/test-trust.ts";

test("sbom generate gives the same document from a bundle, its directory and a foreign tar of it, and it is valid", async (context) => {
  const root = await scratch(context);
  const bundle = join(root, "bundle.tar");
  await writeSmallBundle(bundle, smallRelease());
  const directory = join(root, "layout");
  await mkdir(directory);
  execFileSync("tar", ["-xf", bundle, "-C", directory]);
  const foreign = join(root, "foreign.tar");
  execFileSync("tar", ["--format=gnu", "-cf", foreign, "-C", directory, "."]);
  const { document, lines, exit } = await run(sbomGenerate, [`${bundle}#gateway`]);
  assert.equal(exit, 0);
  assert.equal(document["specVersion"], "1.6");
  assert.deepEqual(JSON.parse(lines.join("\n")), document);
  assert.deepEqual((await run(sbomGenerate, [`${directory}#gateway`])).document, document);
  const again = await run(sbomGenerate, [`${foreign}#gateway`], { platform: "linux/amd64" });
  assert.deepEqual(again.document["components"], document["components"]);

  const file = join(root, "sbom.json");
  await writeFile(file, lines.join("\n"));
  const valid = await run(sbomValidate, [file]);
  assert.deepEqual(
    [valid.exit, valid.document["valid"], valid.lines],
    [0, true, ["valid: CycloneDX 1.6, 3 components"]],
  );
  await writeFile(file, JSON.stringify({ ...document, dependencies: [{ ref: "gone" }] }));
  const invalid = await run(sbomValidate, [file]);
  assert.equal(invalid.exit, 3);
  assert.equal(invalid.document["valid"], false);
  assert.match(invalid.lines[0] ?? "", /^reference-dangling {2}\/dependencies\/0\/ref/);
});

test("sbom generate writes 1.7 on demand, and refuses other versions, missing files and images", async (context) => {
  const bundle = join(await scratch(context), "a#b.tar");
  await writeSmallBundle(bundle, smallRelease());
  const { document } = await run(sbomGenerate, [`${bundle}#audit`], { spec: "1.7" });
  assert.equal(document["specVersion"], "1.7");
  await assert.rejects(run(sbomGenerate, [bundle], { spec: "1.5" }), { code: "USAGE" });
  await assert.rejects(run(sbomGenerate, []), { code: "USAGE" });
  await assert.rejects(run(sbomGenerate, [bundle]), { code: "SBOM_IMAGE_NOT_FOUND" });
  await assert.rejects(run(sbomGenerate, [`${bundle}#nothing`]), { code: "SBOM_IMAGE_NOT_FOUND" });
  await assert.rejects(run(sbomGenerate, ["./nothing.tar#x"]), { code: "SBOM_IMAGE_NOT_FOUND" });
  await assert.rejects(run(sbomGenerate, ["registry:https://x"]), { code: "SOURCE_REFERENCE_MALFORMED" });
});

test("sbom show prints what a bundle carries, of all images or of one", async (context) => {
  const bundle = join(await scratch(context), "bundle.tar");
  const { release } = await writeSmallBundle(bundle, smallRelease());
  const all = await run(sbomShow, [bundle]);
  assert.deepEqual(
    (all.document["images"] as { name: string }[]).map((image) => image.name),
    ["audit", "gateway"],
  );
  const one = await run(sbomShow, [bundle], { image: "gateway" });
  const digest = release.images.get("gateway")?.descriptor.digest;
  assert.deepEqual(one.lines.slice(0, 2), ["image gateway", `  ${digest}`]);
  assert.ok(one.lines.includes(`    ${"gateway".padEnd(32)} ${"1.0.0".padEnd(22)} -`));
  assert.equal(
    one.lines.some((line) => line.includes("audit")),
    false,
  );
  await assert.rejects(run(sbomShow, [bundle], { image: "nothing" }), { code: "SBOM_IMAGE_NOT_FOUND" });
});

test("sbom show prints an SBOM in a file, and of it what a filter leaves; --json has all of it", async (context) => {
  const sbom = join(await scratch(context), "vendor.cdx.json");
  await writeFile(sbom, sbomWith(["pkg:npm/one@1.0.0", "pkg:pypi/two@2.0.0"]));
  const { lines, document } = await run(sbomShow, [sbom], { filter: "PyPI" });
  assert.equal(lines[0], "vendor.cdx.json");
  assert.match(lines[1] ?? "", /, 1 of 2 components$/);
  assert.ok(lines.includes("  pypi (1)") && !lines.includes("  npm (1)"));
  assert.equal(lines.at(-1), `Not verified: no signature was checked. Next: sealift sbom validate ${sbom}`);
  const [image] = document["images"] as { digest: unknown; sbom: { components: unknown[] } }[];
  assert.equal(image?.digest, null);
  assert.equal(image?.sbom.components.length, 2);
  await assert.rejects(run(sbomShow, [sbom], { image: "x" }), { code: "USAGE" });
});

test("sbom generate lets nothing from an image act on the terminal", async (context) => {
  const bundle = join(await scratch(context), "bundle.tar");
  const license = "\u001b[31mred\u202e";
  const layers = [{ "node_modules/a/package.json": JSON.stringify({ name: "a", version: "1.0.0", license }) }];
  await writeSmallBundle(bundle, smallRelease({ images: [{ name: "gateway", layers }] }));
  const { lines } = await run(sbomGenerate, [bundle]);
  const shown = lines.join("\n");
  assert.ok(shown.includes("\\u001b[31mred\\u202e"));
  assert.ok(!shown.includes("\u001b") && !shown.includes("\u202e"));
  assert.ok(JSON.stringify(JSON.parse(shown)).includes(JSON.stringify(license)));
});

test("sbom validate refuses what is no SBOM, and a file that is not there", async (context) => {
  const file = join(await scratch(context), "x.json");
  await assert.rejects(run(sbomValidate, [file]), { code: "FILE_NOT_FOUND" });
  await writeFile(file, "{}");
  await assert.rejects(run(sbomValidate, [file]), { code: "SBOM_MALFORMED" });
});

test("sbom scan judges the SBOMs of a bundle and a lone one, prints the database's age and exits by its decision", async (context) => {
  const directory = await scratch(context);
  const lib = "pkg:npm/lib@1.0.0";
  const sbom = join(directory, "a.cdx.json");
  await writeFile(sbom, sbomWith([lib]));
  const db = join(directory, "db");
  await mkdir(db);
  await writeFile(join(db, "a.json"), JSON.stringify(osvRecord({ events: [{ introduced: "0" }, { fixed: "2.0.0" }] })));
  const denied = await run(sbomScan, [sbom], { db, at: "2026-01-05T00:00:00Z" });
  assert.equal(denied.exit, 3);
  assert.equal(denied.document["decision"], "deny");
  assert.equal(denied.document["scope"], "advisory");
  assert.ok(denied.lines.some((line) => line.startsWith("database: 4 days old")));
  assert.ok(denied.lines.some((line) => line.includes("fixed in 2.0.0")));

  await writeFile(sbom, sbomWith(["pkg:npm/lib@2.0.0"]));
  const allowed = await run(sbomScan, [sbom], { db });
  assert.equal(allowed.exit, 0, allowed.lines.join("\n"));
  const path = join(directory, "small.bundle.tar");
  await writeSmallBundle(path);
  const bundle = await run(sbomScan, [path], { db });
  assert.equal(bundle.exit, 3);
  assert.ok(bundle.lines.some((line) => line.includes("not covered: ")));
});

test("sbom scan without --db takes the records that the bundle carries, whose signatures it does not check", async (context) => {
  const directory = await scratch(context);
  const record = osvRecord({
    name: "gateway",
    more: { database_specific: { severity: "HIGH" } },
  });
  const bytes = tarOf({ "a.json": JSON.stringify(record) });
  const carrying = join(directory, "carrying.tar");
  const files = [{ name: "osv", mediaType: OSV_SNAPSHOT_TAR, bytes }];
  await writeSmallBundle(carrying, smallRelease({ files }));
  const found = await run(sbomScan, [carrying], { image: "gateway" });
  assert.equal(found.exit, 3);
  assert.ok(
    found.lines.some((line) => line.includes("high  TEST-1")),
    found.lines.join("\n"),
  );
  assert.ok(found.lines.some((line) => line.endsWith("no signature checked")));
  const policy = join(directory, "policy.json");
  await writeFile(policy, JSON.stringify({ ...DEFAULT_SCAN_POLICY, requireSignedDatabase: true }));
  const strict = await run(sbomScan, [carrying], { image: "gateway", policy });
  assert.ok(strict.lines.some((line) => line.startsWith("denied [database-not-signed]")));
  // Others that are named come instead.
  const other = join(directory, "other.json");
  await writeFile(other, JSON.stringify(osvRecord({ name: "other" })));
  const named = await run(sbomScan, [carrying], { image: "gateway", db: other });
  assert.ok(named.lines.every((line) => !line.includes("TEST-1")));

  const bare = join(directory, "bare.tar");
  await writeSmallBundle(bare, smallRelease({ files: [] }));
  await assert.rejects(run(sbomScan, [bare]), { code: "SCAN_DATABASE_NOT_FOUND" });
  const sbom = join(directory, "a.cdx.json");
  await writeFile(sbom, sbomWith([]));
  await assert.rejects(run(sbomScan, [sbom]), { code: "USAGE" });
});

test("sbom scan takes VEX as it is, and waivers only with a signature of the security role", async (context) => {
  const directory = await scratch(context);
  const lib = "pkg:npm/lib@1.0.0";
  const [sbom, db, vex, waivers] = ["a.cdx.json", "db.json", "vex.json", "waivers.json"].map((name) =>
    join(directory, name),
  );
  assert.ok(sbom && db && vex && waivers);
  await writeFile(sbom, sbomWith([lib]));
  await writeFile(db, JSON.stringify(osvRecord()));
  const statement = { vulnerability: { name: "TEST-1" }, status: "fixed", products: [{ "@id": lib }] };
  await writeFile(vex, JSON.stringify({ "@context": "https://openvex.dev/ns/v0.2.0", statements: [statement] }));
  const at = "2026-06-05T00:00:00Z";
  const out = join(directory, "out.json");
  assert.equal((await run(sbomScan, [sbom], { db, at, vex: [vex], "vex-out": out })).exit, 0);
  assert.equal((await run(sbomValidate, [out])).exit, 0);
  await assert.rejects(run(sbomScan, [sbom], { db, at, "vex-out": out }), { code: "FILE_EXISTS" });

  const waiver = {
    vulnerability: "TEST-1",
    package: lib,
    reason: "x",
    created: "2026-06-01T00:00:00Z",
    expires: "2026-07-01T00:00:00Z",
  };
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 1, waivers: [waiver] }));
  await writeFile(waivers, bytes);
  await assert.rejects(run(sbomScan, [sbom], { db, at, waivers: [waivers] }), { code: "SCAN_WAIVER_NOT_SIGNED" });
  const { files, roleKeys } = testTrust({ security: 2 });
  const trust = join(directory, "trust");
  await mkdir(trust);
  for (const [name, content] of files) await writeFile(join(trust, name), content);
  const [first, second] = roleKeys.security;
  const [releaseKey] = roleKeys.release;
  assert.ok(first && second && releaseKey);
  const signed = { db, at, waivers: [waivers], trust };
  await assert.rejects(run(sbomScan, [sbom], signed), { code: "SCAN_WAIVER_NOT_SIGNED" });
  await writeFile(`${waivers}.sigstore.json`, signBlob(releaseKey, bytes));
  await assert.rejects(run(sbomScan, [sbom], signed), { code: "SIGNATURE_UNKNOWN_KEY" });
  await writeFile(`${waivers}.sigstore.json`, signBlob(first, bytes));
  await writeFile(`${waivers}.2.sigstore.json`, signBlob(first, bytes));
  // Two signatures of one key are one.
  await assert.rejects(run(sbomScan, [sbom], signed), { code: "SCAN_WAIVER_NOT_SIGNED" });
  await writeFile(`${waivers}.2.sigstore.json`, signBlob(second, bytes));
  await writeFile(`${db}.sigstore.json`, signBlob(second, await readFile(db)));
  await writeFile(`${db}.2.sigstore.json`, signBlob(first, await readFile(db)));
  const accepted = await run(sbomScan, [sbom], signed);
  assert.equal(accepted.exit, 0, accepted.lines.join("\n"));
  assert.ok(accepted.lines.some((line) => line.includes("signed by ")));
  assert.equal((await run(sbomScan, [sbom], { ...signed, at: "2026-07-02T00:00:00Z" })).exit, 3);
  await writeFile(db, JSON.stringify(osvRecord({ name: "other" })));
  await assert.rejects(run(sbomScan, [sbom], signed), { code: "SIGNATURE_OTHER_ARTIFACT" });
});

test("sbom diff compares two documents and two bundles, and an alarm is exit 3", async (context) => {
  const directory = await scratch(context);
  const [older, newer, db] = ["old.json", "new.json", "db.json"].map((name) => join(directory, name));
  assert.ok(older && newer && db);
  await writeFile(older, sbomWith(["pkg:npm/lib@1.0.0"]));
  await writeFile(newer, sbomWith(["pkg:npm/lib@2.0.0"]));
  await writeFile(db, JSON.stringify(osvRecord({ events: [{ introduced: "0" }, { fixed: "2.0.0" }] })));
  const ran = await run(sbomDiff, [older, newer], { db });
  assert.equal(ran.exit, 0);
  assert.ok(ran.lines.some((line) => line.includes("upgraded  pkg:npm/lib  1.0.0 -> 2.0.0")));
  assert.ok(ran.lines.some((line) => line.includes("vulnerability fixed  unknown  TEST-1")));
  assert.ok(ran.lines.some((line) => line.startsWith("database: ")));
  const markdown = await run(sbomDiff, [older, newer], { format: "markdown" });
  assert.equal(markdown.lines[0], "# Changes");
  await assert.rejects(run(sbomDiff, [older, newer], { format: "html" }), { code: "USAGE" });

  const hashed = (digit: string): Buffer => {
    const hashes = [{ alg: "SHA-256", content: digit.repeat(64) }];
    return sbomWith([], { components: [{ type: "library", name: "lib", purl: "pkg:npm/lib@1.0.0", hashes }] });
  };
  await writeFile(older, hashed("1"));
  await writeFile(newer, hashed("2"));
  assert.equal((await run(sbomDiff, [older, newer])).exit, 3);
  const path = join(directory, "small.bundle.tar");
  await writeSmallBundle(path);
  const same = await run(sbomDiff, [path, path]);
  assert.equal(same.exit, 0);
  assert.ok(same.lines.every((line) => !/added|removed|changed /.test(line)));
});

test("sbom score prints every rule, and sbom licences exits by its policy", async (context) => {
  const directory = await scratch(context);
  const [sbom, policy] = ["a.json", "policy.json"].map((name) => join(directory, name));
  assert.ok(sbom && policy);
  const licenses = [{ license: { id: "GPL-3.0-only" } }];
  await writeFile(sbom, sbomWith([], { components: [{ type: "library", name: "lib", version: "1", licenses }] }));
  const scored = await run(sbomScore, [sbom]);
  assert.equal(scored.exit, 0);
  assert.ok(scored.lines.some((line) => /100% {2}ntia-version {2}1 of 1/.test(line)));
  const lists = { allow: ["MIT"], review: [], deny: ["GPL-3.0-only"] };
  const rules = { schemaVersion: 1, ...lists, unlisted: "review", unknown: "review" };
  await writeFile(policy, JSON.stringify(rules));
  const denied = await run(sbomLicences, [sbom], { policy });
  assert.equal(denied.exit, 3);
  assert.ok(denied.lines.includes("  deny  lib@1  GPL-3.0-only"));
  await writeFile(policy, JSON.stringify({ ...rules, deny: [] }));
  assert.equal((await run(sbomLicences, [sbom], { policy })).exit, 0);
});

test("sbom compare agrees with our own document, and tells a package that another one adds or leaves out", async (context) => {
  const directory = await scratch(context);
  const [path, sbom] = ["small.bundle.tar", "a.json"].map((name) => join(directory, name));
  assert.ok(path && sbom);
  await writeSmallBundle(path);
  const { images } = (await run(sbomShow, [path])).document as {
    images: { name: string; sbom: { components: object[] } }[];
  };
  const [image] = images;
  assert.ok(image);
  const argument = `${path}#${image.name}`;
  const own = (await run(sbomGenerate, [argument])).document as { components: { type: string }[] };
  await writeFile(sbom, JSON.stringify(own));
  const same = await run(sbomCompare, [sbom, argument]);
  assert.equal(same.exit, 0, same.lines.join("\n"));
  const ghost = { type: "library", name: "ghost", "bom-ref": "ghost", purl: "pkg:npm/ghost@1.0.0" };
  await writeFile(sbom, JSON.stringify({ ...own, components: [...own.components, ghost] }));
  const more = await run(sbomCompare, [sbom, argument]);
  assert.equal(more.exit, 3);
  assert.ok(more.lines.includes("in the document, not in the image: pkg:npm/ghost@1.0.0"));
  const bare = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    metadata: { component: { type: "container", name: "x" } },
  };
  await writeFile(sbom, JSON.stringify(bare));
  const less = await run(sbomCompare, [sbom, argument]);
  assert.equal(less.exit, 3);
  assert.ok(less.lines.some((line) => line.startsWith("in the image, not in the document: ")));
});
