import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { blobName, closeStore, openLayout } from "../../bundles/layout/layout.ts";
import {
  isSignatureEntry,
  type NewSignatureObject,
  readSignatureObject,
} from "../../bundles/layout/signature-object.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { PREDICATE_COSIGN_SIGN } from "../../bundles/model/media-types.ts";
import { ROLES } from "../../bundles/model/signing-roles.ts";
import { mergeSignatures, objectsFrom, writeSignatures } from "../../bundles/sign/attach.ts";
import { judge, wrong, wrongCodes } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import {
  mergeObjects,
  type Signer,
  signAs,
  signedBundle,
  signedFiles,
  writeSignedBundle,
} from "../support/signed-bundle.ts";
import { bundleFiles, writeDirectory, writeTar } from "../support/small-bundle.ts";
import { objectAbout, parseObject } from "../support/tamper.ts";
import { coded } from "../support/test-trust.ts";

/** What `bundle sign` and `bundle attach` do with objects that they have made. */
async function attach(path: string, added: readonly NewSignatureObject[]): Promise<void> {
  const { layout, store } = openLayout(path);
  try {
    const index = readLayoutIndex(layout);
    const release = readRelease(layout, index.release);
    const present = index.others.filter(isSignatureEntry).map((entry) => readSignatureObject(layout, entry));
    await writeSignatures(layout, release, mergeSignatures(layout, present, added));
  } finally {
    closeStore(store);
  }
}

const bundle = signedBundle();
const { small, signers } = bundle;
const { release } = small;
const [releaser] = signers.release as [Signer];

async function unsigned(t: TestContext): Promise<string> {
  const path = join(await scratch(t), "bundle");
  await writeTar(path, bundleFiles(small));
  return path;
}

for (const kind of ["tar", "directory"]) {
  test(`a ${kind} that the roles sign one after the other is allowed, and only then`, async (t) => {
    const path = join(await scratch(t), "bundle");
    await (kind === "tar" ? writeTar : writeDirectory)(path, bundleFiles(small));
    for (const role of ROLES) {
      assert.ok(wrongCodes(await judge(path, bundle)).includes("SIGNATURE_MISSING"), `before ${role}`);
      await attach(path, signAs(small, role, signers[role][0] as Signer));
    }
    const verdict = await judge(path, bundle);
    assert.deepEqual(wrong(verdict), []);
    assert.equal(verdict.decision, "allow");
  });
}

test("signing again, or in another order, gives the same bytes for the same signatures", async (t) => {
  const path = await unsigned(t);
  const objects = ROLES.map((role) => signAs(small, role, signers[role][0] as Signer));
  for (const part of objects) await attach(path, part);
  const once = await readFile(path);
  for (const part of objects.reverse()) await attach(path, part);
  assert.deepEqual(await readFile(path), once);
});

test("taking away a form that no demand needs is allowed: each form is a whole signature", async (t) => {
  const path = join(await scratch(t), "bundle");
  for (const kind of ["sigstore-bundle", "simple-signing"] as const) {
    // Attestations exist in one form only.
    const objects = bundle.objects.filter(
      (object) =>
        object.kind === kind ||
        (object.kind === "sigstore-bundle" &&
          object.descriptor.annotations?.["dev.sigstore.bundle.predicateType"] !== PREDICATE_COSIGN_SIGN),
    );
    await writeSignedBundle(path, { ...bundle, objects });
    assert.deepEqual(wrong(await judge(path, bundle)), [], kind);
  }
});

test("takes in a Sigstore bundle of another tool in the form that verify demands", async (t) => {
  const path = await unsigned(t);
  for (const role of ["builder", "security"] as const)
    await attach(path, signAs(small, role, signers[role][0] as Signer));
  const ours = objectAbout(signAs(small, "release", releaser), "sigstore-bundle", release.descriptor.digest);
  const [signature] = ours.signatures as [{ kind: "sigstore-bundle"; bundle: Buffer }];
  const value = parseObject(signature.bundle);
  const material = { ...(value["verificationMaterial"] as object), tlogEntries: [], timestampVerificationData: {} };
  const foreign = Buffer.from(JSON.stringify({ ...value, verificationMaterial: material }, null, 2));
  await attach(path, objectsFrom(release.descriptor.digest, [{ kind: "sigstore-bundle", bundle: foreign }], release));
  assert.deepEqual(wrong(await judge(path, bundle)), []);
});

test("refuses a signature about something else, or that is none, and leaves the bundle as it was", async (t) => {
  const path = await unsigned(t);
  const before = await readFile(path);
  const about = (digest: typeof release.descriptor.digest, bytes: Buffer) =>
    objectsFrom(digest, [{ kind: "sigstore-bundle", bundle: bytes }], release);
  const object = objectAbout(bundle.objects, "sigstore-bundle", release.descriptor.digest);
  const [signature] = object.signatures as [{ kind: "sigstore-bundle"; bundle: Buffer }];
  assert.throws(() => about(digestOf("other"), signature.bundle), coded("SIGNATURE_FOREIGN_SUBJECT"));
  const [image] = release.manifest.images as [(typeof release.manifest.images)[number]];
  assert.throws(() => about(image.digest, signature.bundle), coded("SIGNATURE_FILE_MALFORMED"));
  for (const junk of ["", "null", "{}", '{"dsseEnvelope":{"payload":"e30="}}']) {
    assert.throws(() => about(release.descriptor.digest, Buffer.from(junk)), coded("SIGNATURE_FILE_MALFORMED"), junk);
  }
  const twice = parseObject(signature.bundle) as { dsseEnvelope: { signatures: unknown[] } };
  twice.dsseEnvelope.signatures.push({ sig: "AA==" });
  assert.throws(() => about(release.descriptor.digest, canonicalJson(twice)), coded("SIGNATURE_FILE_MALFORMED"));
  assert.deepEqual(await readFile(path), before);
});

test("refuses to sign a tar whose order would make it lose files, and one that lacks a file", async (t) => {
  const path = join(await scratch(t), "bundle");
  const files = bundleFiles(small);
  const signatures = mergeObjects(signAs(small, "release", releaser));
  const [first, second, third, ...rest] = files as [
    (typeof files)[0],
    (typeof files)[0],
    (typeof files)[0],
    ...typeof files,
  ];
  await writeTar(path, [first, third, second, ...rest]);
  const before = await readFile(path);
  await assert.rejects(attach(path, signatures), coded("LAYOUT_ORDER"));
  assert.deepEqual(await readFile(path), before);
  const sbom = blobName(release.manifest.images[0]?.sbom as typeof release.descriptor.digest);
  for (const write of [writeTar, writeDirectory]) {
    const other = join(await scratch(t), "bundle");
    await write(
      other,
      files.filter(([name]) => name !== sbom),
    );
    await assert.rejects(attach(other, signatures), coded("LAYOUT_BLOB_MISSING"));
  }
});

test("a thin bundle is signed as the whole one is, and stays thin", async (t) => {
  const signatures = mergeObjects(signAs(small, "release", releaser));
  const [layer] = [...release.images.values()].flatMap(({ manifest }) => manifest.layers.map(({ digest }) => digest));
  const isThere = ([name]: readonly [string, Buffer]) => name !== blobName(layer as typeof release.descriptor.digest);
  for (const write of [writeTar, writeDirectory]) {
    const directory = await scratch(t);
    await write(join(directory, "thin"), bundleFiles(small).filter(isThere));
    await attach(join(directory, "thin"), signatures);
    const { layout, store } = openLayout(join(directory, "thin"));
    t.after(() => closeStore(store));
    const wanted = bundleFiles(small, signatures).filter(isThere);
    for (const [name, bytes] of wanted) assert.ok(layout.readUnverified(name, bytes.length).equals(bytes), name);
    assert.equal(layout.files.length, wanted.length);
  }
});

test("keeps signatures that are there, byte for byte, when others are added", async (t) => {
  const path = join(await scratch(t), "bundle");
  const before = new Map(signedFiles(bundle));
  await writeSignedBundle(path, bundle);
  await attach(path, signAs(small, "release", releaser));
  const { layout, store } = openLayout(path);
  t.after(() => closeStore(store));
  const bundles = bundle.objects.filter(({ kind }) => kind === "sigstore-bundle");
  for (const { descriptor } of bundles) {
    const name = blobName(descriptor.digest);
    assert.deepEqual(layout.readUnverified(name, 1e6), before.get(name));
  }
  assert.deepEqual(wrong(await judge(path, bundle)), []);
});
