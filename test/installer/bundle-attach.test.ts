/** Where a statement that was made elsewhere goes: into the bundle, or beside it, and never over anything. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { PREDICATE_SLSA_PROVENANCE } from "../../bundles/model/media-types.ts";
import { generateKeyFiles } from "../../bundles/sign/key-file.ts";
import { signRebuild } from "../../bundles/sign/rebuild.ts";
import { signDigest } from "../../bundles/sign/sign-release.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import { bundleAttach } from "../../installer/commands/bundle-attach.ts";
import { bundleInspect } from "../../installer/commands/bundle-inspect.ts";
import { bundleSign } from "../../installer/commands/bundle-sign.ts";
import { judge, wrongCodes } from "../support/judge.ts";
import { runVerb } from "../support/run-verb.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigner, type Signer, signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { objectAbout } from "../support/tamper.ts";
import { coded } from "../support/test-trust.ts";

const VARIABLE = "SEALIFT_TEST_ATTACH_PASSWORD";
const bundle = signedBundle();
const { descriptor, manifest } = bundle.small.release;

test("the builder's provenance of the release, which inspect prints, goes in; it counts as if bundle sign had made it", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  const { digest } = descriptor;
  const own = objectAbout(bundle.objects, "sigstore-bundle", digest, PREDICATE_SLSA_PROVENANCE);
  await writeSignedBundle(at("bundle"), { ...bundle, objects: bundle.objects.filter((object) => object !== own) });
  assert.deepEqual(wrongCodes(await judge(at("bundle"), bundle)), ["SIGNATURE_MISSING"]);
  const { lines } = await runVerb(bundleInspect, [at("bundle")], { provenance: true });
  const predicate = JSON.parse(lines.join("")) as unknown;
  assert.equal(lines.join(""), canonicalJson(predicate).toString("utf8"));
  const [{ key }] = bundle.signers.builder as [Signer];
  writeFileSync(at("provenance.json"), signStatement(key, statementFor(digest, PREDICATE_SLSA_PROVENANCE, predicate)));
  assert.equal((await runVerb(bundleAttach, [at("bundle"), at("provenance.json")], {})).exit, 0);
  assert.deepEqual(wrongCodes(await judge(at("bundle"), bundle)), []);
  assert.deepEqual(readdirSync(directory).sort(), ["bundle", "provenance.json"]);
});

test("a rebuilder's statement goes beside the bundle, once, and not through a link that somebody put there", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  await writeSignedBundle(at("bundle"), bundle);
  const { appliance, version, platform, applianceFile, lock } = manifest;
  const statement = signRebuild(makeSigner("nora").key, {
    release: descriptor.digest,
    ...{ appliance, version, platform, applianceFile, lock },
    builderId: "https://nora.example/builder",
    sealiftVersion: "0.1.0",
    finishedOn: "2026-06-01T00:00:00Z",
  });
  writeFileSync(at("rebuild.json"), statement);
  const before = readFileSync(at("bundle"));
  const attach = () => runVerb(bundleAttach, [at("bundle"), at("rebuild.json")], {});
  for (const _ of ["once", "and again"]) assert.equal((await attach()).exit, 0);
  assert.deepEqual(readFileSync(at("bundle")), before);
  const [beside = ""] = readdirSync(directory).filter((name) => name.startsWith("bundle.rebuild-"));
  assert.deepEqual(readFileSync(at(beside)), statement);
  rmSync(at(beside));
  writeFileSync(at("precious"), "precious");
  symlinkSync(at("precious"), at(beside));
  await assert.rejects(attach(), coded("FILE_EXISTS"));
  assert.equal(readFileSync(at("precious"), "utf8"), "precious");
});

test("a key that signs the release a second time, as another role perhaps, is told that it counts once", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  await writeSignedBundle(at("bundle"), bundle);
  const { digest } = descriptor;
  const isTold = ({ lines }: { readonly lines: readonly string[] }): boolean =>
    lines.join("\n").includes("no key serves two roles, and a threshold counts holders");
  const attached = async ({ key }: Signer): Promise<boolean> => {
    writeFileSync(at("signature"), signDigest(key, digest));
    return isTold(await runVerb(bundleAttach, [at("bundle"), at("signature")], {}));
  };
  const [release] = bundle.signers.release as [Signer];
  const [builder] = bundle.signers.builder as [Signer];
  assert.equal(await attached(release), true);
  assert.equal(await attached(builder), true, "whatever the role");
  assert.equal(await attached(makeSigner("new")), false);
  const again = await runVerb(bundleAttach, [at("bundle"), at("signature")], {});
  assert.equal(isTold(again), false, "the same signature is no second one");
  process.env[VARIABLE] = "password";
  t.after(() => delete process.env[VARIABLE]);
  generateKeyFiles(at("k"), "password");
  const sign = async (role: string): Promise<boolean> =>
    isTold(await runVerb(bundleSign, [at("bundle")], { role, key: at("k.key"), "password-env": VARIABLE }));
  assert.equal(await sign("security"), false);
  assert.equal(await sign("release"), true);
});
