/** What is refused is in test/support/bad-bundles.ts; here is what counts, and what is said of it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { type NewSignatureObject, renderSigstoreReferrer } from "../../bundles/layout/signature-object.ts";
import { PREDICATE_SLSA_PROVENANCE } from "../../bundles/model/media-types.ts";
import { RELEASE_BUILD_TYPE, renderReleaseProvenance } from "../../bundles/model/release-provenance.ts";
import { requireOwnBuild } from "../../bundles/sign/sign-release.ts";
import { signStatement, statementFor } from "../../bundles/sign/statement.ts";
import type { Policy } from "../../verify/policy.ts";
import { judge, wrongCodes } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import {
  makeSigner,
  makeSigners,
  type SignedBundle,
  type Signer,
  signedBundle,
  writeSignedBundle,
} from "../support/signed-bundle.ts";
import { SMALL_BUILDER, smallRelease } from "../support/small-bundle.ts";
import { objectAbout } from "../support/tamper.ts";
import { coded } from "../support/test-trust.ts";

const bundle = signedBundle();
const { descriptor, manifest } = bundle.small.release;

async function judged(t: { after(work: () => Promise<void>): void }, one: SignedBundle, policy: Partial<Policy> = {}) {
  const path = join(await scratch(t), "bundle");
  await writeSignedBundle(path, one);
  return judge(path, { ...one, policy });
}

test("the verdict says who built the release, with which program, and the SLSA level that this shows", async (t) => {
  const { provenance, findings, decision } = await judged(t, bundle);
  assert.equal(decision, "allow");
  const { levelReason, ...release } = provenance.find(({ name }) => name === "release") ?? { levelReason: "" };
  const inputs = manifest.images.length + manifest.files.length + 5;
  assert.deepEqual(release, {
    name: "release",
    subject: descriptor.digest,
    builder: "https://sealift.dev/builder/v0.1.0",
    buildType: RELEASE_BUILD_TYPE,
    inputs,
    locked: inputs,
    source: { digest: SMALL_BUILDER.source, commit: SMALL_BUILDER.commit },
    slsaBuildLevel: 1,
  });
  assert.match(levelReason, /L2 asks for a hosted build platform/);
  assert.deepEqual(provenance.map(({ name }) => name).sort(), ["audit", "gateway", "release"]);
  const said = findings.find(({ message }) => message.includes("bob-builder says"))?.message ?? "";
  assert.match(said, /^SLSA Build L1: .*commit (?:c0){20}\) from 2 images, 1 files and 4 documents/);
});

test("a policy can accept the builder's program by its digest or by its commit", async (t) => {
  for (const source of [SMALL_BUILDER.source, SMALL_BUILDER.commit as string]) {
    assert.deepEqual(wrongCodes(await judged(t, bundle, { builderSources: ["d0".repeat(20), source] })), []);
  }
  const [builder] = bundle.signers.builder as [Signer];
  const says = renderReleaseProvenance(manifest, { ...SMALL_BUILDER, commit: undefined });
  const statement = signStatement(builder.key, statementFor(descriptor.digest, PREDICATE_SLSA_PROVENANCE, says));
  const untold = renderSigstoreReferrer(descriptor, PREDICATE_SLSA_PROVENANCE, statement);
  const without = { ...bundle, objects: [...withoutProvenance(bundle), untold] };
  const verdict = await judged(t, without);
  assert.deepEqual(wrongCodes(verdict), []);
  assert.equal(verdict.provenance.find(({ name }) => name === "release")?.source?.commit, null);
  assert.deepEqual(wrongCodes(await judged(t, without, { builderSources: [SMALL_BUILDER.commit as string] })), [
    "PROVENANCE_FOREIGN_BUILDER_SOURCE",
  ]);
});

test("where two builders must sign, both must have said what the release was made of", async (t) => {
  const signers = { ...makeSigners(), builder: [makeSigner("bob"), makeSigner("bea")] };
  const two = signedBundle({ signers, thresholds: { builder: 2 } });
  const verdict = await judged(t, two);
  assert.deepEqual(wrongCodes(verdict), []);
  assert.equal(verdict.provenance.filter(({ name }) => name === "release").length, 2);
  const objects = withoutProvenance(two);
  assert.equal(objects.length, two.objects.length - 1);
  assert.deepEqual(wrongCodes(await judged(t, { ...two, objects })), ["SIGNATURE_THRESHOLD"]);
});

/** The bundle's objects without the first provenance of the release. */
function withoutProvenance({ objects, small }: SignedBundle): NewSignatureObject[] {
  const { digest } = small.release.descriptor;
  const one = objectAbout(objects, "sigstore-bundle", digest, PREDICATE_SLSA_PROVENANCE);
  return objects.filter((object) => object !== one);
}

test("only the version that built signs as the builder", () => {
  const layout = (small: typeof bundle.small) => ({
    read: (digest: typeof descriptor.digest): Buffer => small.blobs.get(digest) as Buffer,
  });
  requireOwnBuild(layout(bundle.small), bundle.small.release, SMALL_BUILDER);
  const newer = { ...SMALL_BUILDER, sealiftVersion: "0.2.0" };
  assert.throws(
    () => requireOwnBuild(layout(bundle.small), bundle.small.release, newer),
    coded("BUILDER_OTHER_VERSION"),
  );
  const odd = smallRelease({ provenance: () => ({}) });
  assert.throws(() => requireOwnBuild(layout(odd), odd.release, SMALL_BUILDER), coded("BUILDER_OTHER_VERSION"));
});
