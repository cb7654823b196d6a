import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { describe, type TestContext } from "node:test";
import { CYCLONEDX_JSON, OSV_SNAPSHOT_ZIP } from "../../bundles/model/media-types.ts";
import { schemaProblem } from "../../bundles/model/schema.ts";
import { signBlob } from "../../bundles/sign/blob.ts";
import { DEFAULT_SCAN_POLICY } from "../../sbom/scan/scan-policy.ts";
import { verdictSchema } from "../../verify/cage/protocol.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { badBundles, type Exhibit, goodExhibit } from "../support/bad-bundles.ts";
import { type CommandResult, sealift } from "../support/command-line.ts";
import { layMutant, makeMutant, mutantSeed } from "../support/mutants.ts";
import { osvRecord, sbomWith } from "../support/scan-inputs.ts";
import { scratch } from "../support/scratch.ts";
import {
  type Signer,
  SMALL_NOW,
  signedBundle,
  writeSignedBundle,
  writeSignedDirectory,
  writeTrustFiles,
} from "../support/signed-bundle.ts";
import { renderTar, smallRelease, smallRules } from "../support/small-bundle.ts";
import { zipFile } from "../support/zip-file.ts";

/** A snapshot of one record. */
function zipOf(record: object): Buffer {
  return zipFile([{ name: "record.json", content: JSON.stringify(record) }]);
}

/** Puts an exhibit on disk and returns the arguments of `verify` for it. */
async function onDisk(context: TestContext, exhibit: Exhibit): Promise<{ directory: string; args: string[] }> {
  const directory = await scratch(context);
  const [path, trust] = [join(directory, "bundle"), join(directory, "trust")];
  await writeFile(path, exhibit.bytes);
  await writeTrustFiles(trust, exhibit.trustFiles);
  const args = ["verify", path, "--trust", trust, "--at", exhibit.at ?? SMALL_NOW];
  if (exhibit.policy) {
    const policy = join(directory, "policy.json");
    const unmade = ["cage", "scan", "rebuilt", "revocation", "attestation"];
    await writeFile(
      policy,
      JSON.stringify({ schemaVersion: 1, name: "test", acceptNotChecked: unmade, ...exhibit.policy }),
    );
    args.push("--policy", policy);
  }
  return { directory, args };
}

function verdictOf({ stdout }: CommandResult): Verdict {
  const value: unknown = JSON.parse(stdout);
  assert.equal(schemaProblem(verdictSchema, value), undefined);
  return value as Verdict;
}

function errorOf({ stdout }: CommandResult): string {
  return (JSON.parse(stdout) as { error: { code: string } }).error.code;
}

test("allows a good bundle with exit 0, as a tar and as a directory, and says that the verdict is advisory", async (t) => {
  const { directory, args } = await onDisk(t, goodExhibit);
  const result = await sealift([...args, "--json"]);
  const verdict = verdictOf(result);
  assert.equal(result.exit, 0, result.stdout);
  assert.equal(verdict.decision, "allow");
  assert.equal(verdict.scope, "advisory");
  assert.deepEqual(verdict.time, { at: SMALL_NOW, source: "option" });

  const bundle = signedBundle();
  await writeSignedDirectory(join(directory, "layout"), bundle);
  await writeTrustFiles(join(directory, "other-trust"), bundle.trustFiles);
  const other = ["verify", join(directory, "layout"), "--trust", join(directory, "other-trust"), "--at", SMALL_NOW];
  assert.equal((await sealift(other)).exit, 0);
});

/** The first bundle of each check and code: the others of the same kind are judged in test/verify. */
const kinds = new Map(badBundles.map((bad) => [`${bad.check} ${bad.code}`, bad] as const).reverse());

describe("bad bundles", { concurrency: 2 }, () => {
  for (const bad of kinds.values()) {
    test(`refuses ${bad.name} with exit 3 and ${bad.code}`, async (t) => {
      const { args } = await onDisk(t, bad.make());
      const result = await sealift([...args, "--json"]);
      const verdict = verdictOf(result);
      assert.equal(result.exit, 3, result.stderr);
      assert.equal(verdict.decision, "deny");
      assert.ok(verdict.findings.some(({ check, code }) => check === bad.check && code === bad.code));
      assert.ok(!verdict.findings.some(({ status }) => status === "error"));
    });
  }
});

describe("mutants through the command line", { concurrency: 2 }, () => {
  const seed = mutantSeed();
  for (let i = 0; i < 20; i += 1) {
    const mutant = makeMutant(seed, i * 7);
    test(`refuses: ${mutant.kind}`, async (t) => {
      t.diagnostic(`SEALIFT_SEED=${seed}, mutant ${i * 7}: ${mutant.what}`);
      const { directory, args } = await onDisk(t, mutant);
      layMutant(join(directory, "bundle"), mutant);
      const result = await sealift([...args, "--json"]);
      // Without a first root there is nothing to judge by, and what is not even a layout gets no verdict.
      assert.equal(result.exit, mutant.trustFiles.has("1.root.json") ? 3 : 4, result.stderr);
      if (result.stderr.includes("[TRUST_NOT_FOUND]")) assert.equal(errorOf(result), "TRUST_NOT_FOUND");
      else if (result.stderr.includes("[LAYOUT_")) assert.match(errorOf(result), /^LAYOUT_/);
      else assert.equal(verdictOf(result).decision, "deny");
    });
  }
});

test("a verdict in text names each code, what is wrong first", async (t) => {
  const bad = badBundles.find(({ code }) => code === "COMPOSE_NOT_PINNED") as (typeof badBundles)[number];
  const { args } = await onDisk(t, bad.make());
  const { exit, stdout } = await sealift(args);
  assert.equal(exit, 3);
  assert.match(stdout, /^DENIED {2}demo 1\.0\.0\n/);
  const lines = stdout.split("\n").filter((line) => line.startsWith("  "));
  assert.match(lines[0] as string, /^ {2}FAIL +compose .*\[COMPOSE_NOT_PINNED\]$/);
  assert.match(stdout, /not checked scan/);
});

test("nothing in a bundle acts on the terminal, in text or in JSON", async (t) => {
  const nasty = "x\u001b[2J\u009b31m\u202eevil\u2028\u0007\u{e0041}";
  const small = smallRelease({
    compose: () => ({
      services: { gateway: { image: nasty, [nasty]: 1 }, front: { image: nasty } },
      "x-sealift": smallRules("gateway"),
    }),
    provenance: (value) => ({ ...value, runDetails: { builder: { id: nasty } } }),
    sbom: (sbom) => ({ ...sbom, metadata: { component: { type: "container", name: nasty, purl: nasty } } }),
  });
  const bundle = signedBundle({ small });
  const directory = await scratch(t);
  const [path, trust] = [join(directory, "bundle"), join(directory, "trust")];
  await writeSignedBundle(path, bundle);
  await writeTrustFiles(trust, bundle.trustFiles);
  for (const format of ["text", "sarif", "html", "json"]) {
    const { exit, stdout, stderr } = await sealift([
      "verify",
      path,
      "--trust",
      trust,
      "--at",
      SMALL_NOW,
      "--format",
      format,
    ]);
    assert.equal(exit, 3);
    assert.doesNotMatch(stdout + stderr, /(?!\n)[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/u);
    assert.ok(stdout.includes("evil"), "the text is there, but harmless");
    if (format !== "json") continue;
    const { findings } = JSON.parse(stdout) as Verdict;
    assert.ok(
      findings.some(({ message }) => message.includes(nasty)),
      "and in JSON it is the same text",
    );
  }
});

test("writes the verdict to --report as well", async (t) => {
  const { directory, args } = await onDisk(t, goodExhibit);
  const report = join(directory, "report.json");
  const { exit, stdout } = await sealift([...args, "--format", "json", "--report", report]);
  assert.equal(exit, 0);
  assert.equal(await readFile(report, "utf8"), stdout);
});

test("with --json stdout gets JSON, and the report the format that was asked for", async (t) => {
  const { directory, args } = await onDisk(t, goodExhibit);
  for (const [format, begins] of [
    ["html", /^<!doctype html>/],
    ["sarif", /^\{\n {2}"\$schema": "[^"]+sarif-schema-2\.1\.0\.json"/],
  ] as const) {
    const report = join(directory, `report.${format}`);
    const { exit, stdout } = await sealift([...args, "--json", "--format", format, "--report", report]);
    assert.equal(exit, 0);
    assert.equal((JSON.parse(stdout) as Verdict).decision, "allow");
    assert.match(await readFile(report, "utf8"), begins);
  }
});

test("scans in the cage by records that come with the release or beside it, and tells what is in it", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const sbom = (version: string) => (one: Readonly<Record<string, unknown>>) => ({
    ...one,
    components: [{ type: "library", name: "lib", "bom-ref": "lib", version, purl: `pkg:npm/lib@${version}` }],
  });
  const osv = { name: "osv", mediaType: OSV_SNAPSHOT_ZIP, bytes: zipOf(osvRecord({ name: "other" })) };
  const images = [{ name: "app" }];
  const older = [{ name: "app", layers: [{ "etc/motd": "older" }] }];
  const old = signedBundle({ small: smallRelease({ images: older, sbom: sbom("0.9.0"), files: [osv] }) });
  const vendor = { name: "sbom-app", mediaType: CYCLONEDX_JSON, bytes: sbomWith(["pkg:npm/lib@1.0.0"]) };
  // sbomWith names an image of its own; this one shall name none.
  vendor.bytes = Buffer.from(vendor.bytes.toString("utf8").replace(/,"purl":"pkg:oci[^"]*"/, ""));
  const bundle = signedBundle({
    small: smallRelease({ images, sbom: sbom("1.0.0"), files: [osv, vendor], version: "1.1.0" }),
  });
  await writeSignedBundle(at("old"), old);
  await writeSignedBundle(at("bundle"), bundle);
  await writeTrustFiles(at("trust"), bundle.trustFiles);
  const acceptNotChecked = ["cage", "rebuilt", "revocation", "attestation"];
  const policy = { schemaVersion: 1, name: "test", acceptNotChecked, scan: DEFAULT_SCAN_POLICY };
  await writeFile(at("policy"), JSON.stringify(policy));
  const args = ["verify", at("bundle"), "--trust", at("trust"), "--policy", at("policy"), "--at", SMALL_NOW];
  const good = await sealift([...args, "--json"]);
  assert.equal(good.exit, 0, good.stdout);
  const age = verdictOf(good).findings.find(({ subject }) => subject === "vulnerability records");
  assert.match(age?.message ?? "", /^151 days old/);
  const theirs = verdictOf(good).findings.filter(({ subject }) => subject === "sbom-app");
  assert.match(theirs.at(-1)?.message ?? "", /^1 packages as in ours/);

  const newer = zipOf(
    osvRecord({ more: { modified: "2026-05-31T00:00:00Z", database_specific: { severity: "HIGH" } } }),
  );
  await writeFile(at("new.zip"), newer);
  const unsigned = await sealift([...args, "--db", at("new.zip"), "--json"]);
  assert.equal(unsigned.exit, 3);
  assert.ok(verdictOf(unsigned).findings.some(({ code }) => code === "SCAN_DATABASE_NOT_SIGNED"));
  const [{ key }] = bundle.signers.security as readonly [Signer];
  await writeFile(at("new.zip.sigstore.json"), signBlob(key, newer));
  const html = ["--format", "html", "--report", at("report.html"), "--against", at("old")];
  const denied = await sealift([...args, "--db", at("new.zip"), "--json", ...html]);
  assert.equal(denied.exit, 3);
  const wrong = verdictOf(denied).findings.filter(({ status }) => status === "fail");
  assert.deepEqual(
    wrong.map(({ code }) => code),
    ["SCAN_VULNERABILITY"],
  );
  const page = await readFile(at("report.html"), "utf8");
  assert.match(page, /<bdi>high<\/bdi><\/td><td><bdi>TEST-1<\/bdi>/);
  assert.match(page, /<bdi>upgraded<\/bdi><\/td><td><bdi>app<\/bdi><\/td><td><bdi>pkg:npm\/lib<\/bdi>/);
  assert.equal(errorOf(await sealift([...args, "--db", at("nothing.zip"), "--json"])), "SCAN_DATABASE_NOT_FOUND");
  assert.equal(errorOf(await sealift([...args, "--db", directory, "--json"])), "SCAN_DATABASE_UNREADABLE");
});

test("denies when the policy accepts no check unmade", async (t) => {
  const { args } = await onDisk(t, { ...goodExhibit, policy: { acceptNotChecked: [] } });
  const result = await sealift([...args, "--json"]);
  assert.equal(result.exit, 3);
  assert.ok(!verdictOf(result).findings.some(({ status }) => status === "fail"), "not for a failure");
});

describe("what is no bundle, trust, policy or argument ends in its own code", { concurrency: 2 }, () => {
  const cases: [string, number, string, (directory: string, args: string[]) => Promise<string[]>][] = [
    [
      "a path where nothing is",
      4,
      "LAYOUT_NOT_FOUND",
      async (directory, [verb, , ...rest]) => [verb as string, join(directory, "nothing"), ...rest],
    ],
    ["a device", 3, "LAYOUT_NOT_A_LAYOUT", async (_, [verb, , ...rest]) => [verb as string, "/dev/null", ...rest]],
    [
      "a named pipe that nobody writes to",
      3,
      "LAYOUT_NOT_A_LAYOUT",
      async (directory, [verb, , ...rest]) => {
        execFileSync("mkfifo", [join(directory, "pipe")]);
        return [verb as string, join(directory, "pipe"), ...rest];
      },
    ],
    [
      "an empty directory",
      3,
      "LAYOUT_NOT_A_LAYOUT",
      async (directory, [verb, , ...rest]) => {
        await mkdir(join(directory, "empty"));
        return [verb as string, join(directory, "empty"), ...rest];
      },
    ],
    [
      "a layout directory without blobs",
      3,
      "LAYOUT_NOT_A_LAYOUT",
      async (directory, [verb, , ...rest]) => {
        await mkdir(join(directory, "layout"));
        await writeFile(join(directory, "layout/oci-layout"), "{}");
        await writeFile(join(directory, "layout/index.json"), "{}");
        return [verb as string, join(directory, "layout"), ...rest];
      },
    ],
    [
      "a layout directory with a symbolic link for a blob",
      3,
      "LAYOUT_FOREIGN_FILE",
      async (directory, [verb, , ...rest]) => {
        await mkdir(join(directory, "layout/blobs/sha256"), { recursive: true });
        await writeFile(join(directory, "layout/oci-layout"), "{}");
        await writeFile(join(directory, "layout/index.json"), "{}");
        await symlink("/etc/passwd", join(directory, `layout/blobs/sha256/${"0".repeat(64)}`));
        return [verb as string, join(directory, "layout"), ...rest];
      },
    ],
    [
      "a trust directory that is not there",
      4,
      "TRUST_NOT_FOUND",
      async (directory, args) => {
        await rm(join(directory, "trust"), { recursive: true });
        return args;
      },
    ],
    [
      "a policy that is not there",
      4,
      "FILE_NOT_FOUND",
      async (directory, args) => [...args, "--policy", join(directory, "no")],
    ],
    ["a time without a zone", 2, "USAGE", async (_, args) => [...args, "--at", "2026-01-01T00:00:00"]],
    ["a format that is none", 2, "USAGE", async (_, args) => [...args, "--format", "pdf"]],
    ["an option that is none", 2, "USAGE", async (_, args) => [...args, "--skip-signatures"]],
    ["a second bundle", 2, "USAGE", async (_, args) => [...args, "other"]],
  ];
  const policies: [string, string | Buffer][] = [
    ["that is no JSON", "{"],
    ["that is not UTF-8", Buffer.from([0x22, 0xff, 0x22])],
    ["nested 30,000 deep", "[".repeat(30_000) + "]".repeat(30_000)],
    ["that switches a check off", '{"schemaVersion":1,"name":"x","acceptNotChecked":["signatures"]}'],
    ["with a member that nobody knows", '{"schemaVersion":1,"name":"x","acceptNotChecked":[],"bypass":true}'],
    [
      "with a version that nobody can compare",
      `{"schemaVersion":1,"name":"x","acceptNotChecked":[],"minimumVersion":"1.0.0-${"a".repeat(400)}"}`,
    ],
  ];
  for (const [name, exit, code, prepare] of [
    ...cases,
    ...policies.map(([what, bytes]): (typeof cases)[number] => [
      `a policy ${what}`,
      2,
      "POLICY_MALFORMED",
      async (directory, args) => {
        await writeFile(join(directory, "policy"), bytes);
        return [...args, "--policy", join(directory, "policy")];
      },
    ]),
  ]) {
    test(`${name}: exit ${exit}, ${code}`, async (t) => {
      const { directory, args } = await onDisk(t, goodExhibit);
      const result = await sealift([...(await prepare(directory, args)), "--json"]);
      assert.equal(errorOf(result), code);
      assert.equal(result.exit, exit);
      assert.match(result.stderr, new RegExp(`^sealift: error \\[${code}\\]: `, "m"));
    });
  }
});

test("a layout directory of the same files is refused like the tar", async (t) => {
  const bundle = signedBundle();
  const directory = await scratch(t);
  const [path, trust] = [join(directory, "layout"), join(directory, "trust")];
  await writeTrustFiles(trust, bundle.trustFiles);
  await writeSignedDirectory(path, bundle);
  const stowaway = `blobs/sha256/${"0".repeat(64)}`;
  await writeFile(join(path, stowaway), "stowaway");
  const result = await sealift(["verify", path, "--trust", trust, "--at", SMALL_NOW, "--json"]);
  assert.equal(result.exit, 3);
  const codes = verdictOf(result).findings.map(({ code }) => code);
  assert.ok(codes.includes("LAYOUT_FOREIGN_FILE") && codes.includes("LAYOUT_DIGEST_MISMATCH"));
});

test("a bundle of many empty files is refused before it has cost much", async (t) => {
  const files = Array.from({ length: 60_000 }, (_, i): [string, Buffer] => [
    `blobs/sha256/${i.toString(16).padStart(64, "0")}`,
    Buffer.alloc(0),
  ]);
  const { args } = await onDisk(t, { ...goodExhibit, bytes: renderTar(files) });
  const result = await sealift([...args, "--json"]);
  assert.equal(result.exit, 3);
  assert.ok(verdictOf(result).findings.some(({ code }) => code === "LAYOUT_NOT_A_LAYOUT"));
});
