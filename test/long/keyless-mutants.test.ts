/**
 * Seeded mutants of a release role's signature that was made with a certificate (test/support/keyless-mutants.ts), in
 * a bundle that is otherwise good, witnessed by Rekor 1 and by Rekor 2. None may count, but what is the good signature
 * with a witness less than it has too many, or with other bytes in a timestamp's frame, which nobody signs; and then the
 * verdict must say the same. Writes test/evidence/keyless-mutants.json. SEALIFT_TEST_SEED (1) decides.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { renderSigstoreReferrer } from "../../bundles/layout/signature-object.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { PREDICATE_COSIGN_SIGN } from "../../bundles/model/media-types.ts";
import { signStatementKeyless } from "../../bundles/sign/keyless.ts";
import { releaseStatement } from "../../bundles/sign/sign-release.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { FakeSigstore, identityToken } from "../support/fake-sigstore.ts";
import { judge, wrongCodes } from "../support/judge.ts";
import { type KeylessScene, makeKeylessMutant } from "../support/keyless-mutants.ts";
import { Dice } from "../support/mutants.ts";
import { scratch } from "../support/scratch.ts";
import {
  makeSigners,
  mergeObjects,
  type RoleIdentity,
  signAs,
  signedFiles,
  smallTrust,
} from "../support/signed-bundle.ts";
import { renderTar, smallRelease } from "../support/small-bundle.ts";

const MUTANTS = 6_000;
const SEED = Number(process.env["SEALIFT_TEST_SEED"] ?? 1);
const EVIDENCE = fileURLToPath(new URL("../evidence/keyless-mutants.json", import.meta.url));
const ROB: RoleIdentity = { holder: "rob", identity: "rob@example.com", issuer: "https://issuer.example" };
const small = smallRelease();
const older = smallRelease({ version: "0.9.0", created: "2025-01-01T00:00:00Z" });
const signers = makeSigners();
const byKeys = (["builder", "security"] as const).flatMap((role) =>
  signers[role].flatMap((one) => signAs(small, role, one)),
);

async function signedBy(t: TestContext, fake: FakeSigstore, version: 1 | 2, digest: Digest): Promise<Buffer> {
  const services = await fake.serve(t, version);
  return signStatementKeyless(releaseStatement(digest), identityToken(ROB.identity), services);
}

async function sceneOf(t: TestContext, version: 1 | 2): Promise<KeylessScene & { readonly fake: FakeSigstore }> {
  const [fake, stranger] = [new FakeSigstore(), new FakeSigstore()];
  const { digest } = small.release.descriptor;
  const signature = await signedBy(t, fake, version, digest);
  const ofOthers = [
    await signedBy(t, fake, version, older.release.descriptor.digest),
    await signedBy(t, fake, version === 1 ? 2 : 1, older.release.descriptor.digest),
  ];
  const forged = [await signedBy(t, stranger, version, digest)];
  for (const other of [{ identity: "mallory@example.com" }, { issuer: "https://other.example" }]) {
    fake.who = { ...ROB, ...other };
    forged.push(await signedBy(t, fake, version, digest));
  }
  return { signature, ofOthers, forged, fake };
}

/** What a verdict says about who signed, without the objects that hold the signatures, and their order. */
function told({ decision, subject, signatures }: Verdict): unknown {
  const signed = signatures.map(({ objects: _, certificate, ...rest }) =>
    JSON.stringify({ ...rest, identity: certificate?.identity, issuer: certificate?.issuer }),
  );
  return { decision, subject, signed: signed.sort() };
}

interface Parts {
  readonly verificationMaterial: {
    readonly certificate: unknown;
    readonly tlogEntries: readonly { readonly inclusionPromise?: unknown }[];
    readonly timestampVerificationData?: { readonly rfc3161Timestamps?: readonly unknown[] };
  };
  readonly dsseEnvelope: unknown;
}

/** Whether a mutant has nothing that the good signature has not, but perhaps a timestamp with other bytes. */
function isReduced(mutant: Buffer, good: Buffer): boolean {
  const [got, want] = [mutant, good].map((json) => JSON.parse(json.toString()) as Parts) as [Parts, Parts];
  const [entry, ...more] = got.verificationMaterial.tlogEntries;
  const [whole] = want.verificationMaterial.tlogEntries;
  const { inclusionPromise: _, ...unpromised } = whole ?? {};
  const timestamps = got.verificationMaterial.timestampVerificationData?.rfc3161Timestamps ?? [];
  return (
    isDeepStrictEqual(got.dsseEnvelope, want.dsseEnvelope) &&
    isDeepStrictEqual(got.verificationMaterial.certificate, want.verificationMaterial.certificate) &&
    more.length === 0 &&
    (isDeepStrictEqual(entry, whole) || isDeepStrictEqual(entry, unpromised)) &&
    timestamps.length <= 1
  );
}

test(`${MUTANTS} mutants of certificates' signatures, seed ${SEED}`, async (t) => {
  const path = join(await scratch(t), "bundle");
  const at = new Date().toISOString();
  const kinds: Record<string, number> = {};
  const codes: Record<string, number> = {};
  let reduced = 0;
  for (const version of [1, 2] as const) {
    const scene = await sceneOf(t, version);
    const trustFiles = smallTrust(signers, {
      identities: { release: [ROB] },
      trustedRoot: scene.fake.trustedRoot(),
      now: new Date(),
    });
    const verdictOn = (signature: Buffer): Promise<Verdict> => {
      const object = renderSigstoreReferrer(small.release.descriptor, PREDICATE_COSIGN_SIGN, signature);
      writeFileSync(path, renderTar(signedFiles({ small, objects: mergeObjects([...byKeys, object]) })));
      return judge(path, { trustFiles, at });
    };
    const good = await verdictOn(scene.signature);
    assert.equal(good.decision, "allow", String(wrongCodes(good)));
    const dice = new Dice(Math.imul(SEED, 0x9e3779b1) + version);
    for (let i = 0; i < MUTANTS / 2; i += 1) {
      const { kind, what, signature } = makeKeylessMutant(scene, dice, i);
      const verdict = await verdictOn(signature);
      const where = `mutant ${i} with Rekor ${version}: ${kind}: ${what}`;
      kinds[kind] = (kinds[kind] ?? 0) + 1;
      assert.deepEqual(
        verdict.findings.filter(({ status }) => status === "error"),
        [],
        where,
      );
      if (verdict.decision === "allow") {
        assert.ok(isReduced(signature, scene.signature), where);
        assert.deepEqual(told(verdict), told(good), where);
        reduced += 1;
        continue;
      }
      const [code = ""] = wrongCodes(verdict);
      assert.notEqual(code, "", where);
      codes[code] = (codes[code] ?? 0) + 1;
    }
  }
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8", cwd: import.meta.dirname }).trim();
  const evidence = { seed: SEED, commit, mutants: MUTANTS, sameSignatureWithLessBesideIt: reduced, kinds, codes };
  writeFileSync(EVIDENCE, `${JSON.stringify(evidence, null, 2)}\n`);
  t.diagnostic(JSON.stringify(evidence));
});
