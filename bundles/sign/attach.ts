/**
 * Adds signature objects to a bundle. Everything that the release accounts for stays byte for byte where
 * it is; only the tail of the tar (signatures and index.json) is written anew, into a new file that
 * takes the old one's name when it is whole.
 */
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { BundleWriter, sizeBeforeSignatures } from "../layout/bundle-writer.ts";
import { renderCertificateBundle } from "../layout/certificate-bundle.ts";
import {
  type BlobGroups,
  type BundleRelease,
  bare,
  fileOrder,
  groupBlobs,
  renderIndexFile,
} from "../layout/contents.ts";
import { layoutError } from "../layout/error.ts";
import { blobName, INDEX_FILE, LAYOUT_FILE, type Layout, type LayoutFile } from "../layout/layout.ts";
import {
  type DetachedSignature,
  type NewSignatureObject,
  readKeyBundle,
  renderKeyBundle,
  renderSigstoreReferrer,
  renderSimpleSigning,
  SIGNATURE_MAX_BYTES,
  type SignatureObject,
} from "../layout/signature-object.ts";
import type { Descriptor } from "../model/descriptor.ts";
import type { Digest } from "../model/digest.ts";
import { PREDICATE_COSIGN_SIGN } from "../model/media-types.ts";
import { statementOf } from "./detached-file.ts";
import { signError } from "./error.ts";

/** What may be signed in `release`: the release index and each image's manifest. */
export function signableSubjects(release: BundleRelease): ReadonlyMap<Digest, Descriptor> {
  const subjects = [release.descriptor, ...[...release.images.values()].map((entry) => bare(entry.descriptor))];
  return new Map(subjects.map((descriptor) => [descriptor.digest, descriptor]));
}

/**
 * Signatures made elsewhere, as objects of this bundle, in the form that `verify` demands: of a Sigstore
 * bundle only the statement, the signature and the key's hint are kept, or the certificate with its witnesses. @throws SIGNATURE_FOREIGN_SUBJECT | SIGNATURE_FILE_MALFORMED
 */
export function objectsFrom(
  subject: Digest,
  signatures: readonly DetachedSignature[],
  release: BundleRelease,
): NewSignatureObject[] {
  const descriptor = signableSubjects(release).get(subject);
  if (!descriptor) {
    throw signError(
      "SIGNATURE_FOREIGN_SUBJECT",
      `signature is about ${subject}, which is neither this release nor one of its images`,
      {
        hints: [`this release is ${release.descriptor.digest}`],
      },
    );
  }
  return signatures.map((signature) => {
    if (signature.kind === "simple-signing") return renderSimpleSigning(subject, [signature]);
    const statement = statementOf(signature.bundle);
    const parts = readKeyBundle(signature.bundle);
    const bundle = parts ? renderKeyBundle(parts) : renderCertificateBundle(signature.bundle);
    if (statement?.subject !== subject || !bundle) {
      throw signError(
        "SIGNATURE_FILE_MALFORMED",
        "Sigstore bundle: want one signature over a statement about the digest it comes with",
      );
    }
    return renderSigstoreReferrer(descriptor, statement.predicateType, bundle);
  });
}

/** What to say where `signsAgain`. */
export const SIGNED_AGAIN =
  "note: this key has signed the release already; no key serves two roles, and a threshold counts holders, so it counts once: another role, or another of this one, takes another holder's key";

/**
 * Whether a key of `added` has another signature over the release among `present`, by the keys' hints alone: nothing
 * is verified. A signature does not say for which role it was made.
 */
export function signsAgain(
  { descriptor }: BundleRelease,
  present: readonly SignatureObject[],
  added: readonly SignatureObject[],
): boolean {
  const hinted = (objects: readonly SignatureObject[]): (readonly [hint: string, object: Digest])[] =>
    objects.flatMap((object) =>
      object.signatures.flatMap((signature) => {
        if (signature.kind !== "sigstore-bundle" || object.subject !== descriptor.digest) return [];
        if (statementOf(signature.bundle)?.predicateType !== PREDICATE_COSIGN_SIGN) return [];
        const hint = readKeyBundle(signature.bundle)?.hint;
        return hint === undefined ? [] : [[hint, object.descriptor.digest] as const];
      }),
    );
  const before = hinted(present);
  return hinted(added).some(([hint, object]) => before.some(([other, its]) => other === hint && its !== object));
}

/**
 * The bundle's signatures with `added`: Sigstore bundles side by side, simple-signing layers merged into
 * the one `.sig` manifest of their subject. The same signature twice stays once.
 */
export function mergeSignatures(
  layout: Pick<Layout, "readDescriptor">,
  present: readonly SignatureObject[],
  added: readonly NewSignatureObject[],
): NewSignatureObject[] {
  const merged = new Map<Digest, NewSignatureObject>();
  const simple = new Map<Digest, { payload: Buffer; signature: string }[]>();
  for (const object of [...present, ...added]) {
    for (const signature of object.signatures) {
      if (signature.kind !== "simple-signing") continue;
      simple.set(object.subject, [...(simple.get(object.subject) ?? []), signature]);
    }
    if (object.kind === "sigstore-bundle") merged.set(object.descriptor.digest, withBytes(layout, object));
  }
  for (const [subject, signatures] of simple) {
    const object = renderSimpleSigning(subject, signatures);
    merged.set(object.descriptor.digest, object);
  }
  return [...merged.values()];
}

function withBytes(
  layout: Pick<Layout, "readDescriptor">,
  object: SignatureObject | NewSignatureObject,
): NewSignatureObject {
  if ("bytes" in object) return object;
  const blobs = [object.descriptor, ...object.blobs];
  return {
    ...object,
    bytes: new Map(blobs.map((blob) => [blob.digest, layout.readDescriptor(blob, SIGNATURE_MAX_BYTES)])),
  };
}

/**
 * Writes the bundle at `layout.location` with exactly these signatures.
 * @throws LAYOUT_WRITE_FAILED | LAYOUT_BLOB_MISSING | LAYOUT_ORDER
 */
export async function writeSignatures(
  layout: Layout,
  release: BundleRelease,
  objects: readonly NewSignatureObject[],
): Promise<void> {
  if (layout.kind === "parts")
    throw layoutError(
      "PARTS_READ_ONLY",
      `media parts in ${JSON.stringify(layout.location)}: signatures go into a bundle before it is split`,
      { hints: ["sign the bundle that the parts were made from, then: sealift bundle split"] },
    );
  const groups = groupBlobs(release, objects);
  const bytes = new Map(objects.flatMap((object) => [...object.bytes]));
  const index = renderIndexFile(release, objects);
  const kept = keptFiles(layout, groups);
  if (layout.kind === "directory") return writeDirectory(layout, fileOrder(groups), bytes, index);
  const keepBytes = sizeBeforeSignatures(kept.map((file) => file.size));
  const writer = await BundleWriter.continueFrom(layout.location, keepBytes, layout.location);
  for (const digest of groups.signatures) await writer.writeBytes(bytes.get(digest) as Buffer);
  await writer.finish(index);
}

/**
 * What stays as it is; of a thin bundle, what is there of the payload. In a tar it must lie first and in order, or
 * cutting the tail off would lose some of it.
 */
function keptFiles(layout: Layout, { payload, documents }: Omit<BlobGroups, "signatures">): LayoutFile[] {
  const carried = payload.filter((digest) => layout.file(blobName(digest)));
  return [LAYOUT_FILE, ...[...carried, ...documents].map(blobName)].map((name, i) => {
    const file = layout.file(name);
    if (!file) throw layoutError("LAYOUT_BLOB_MISSING", `${name} is not in the bundle`);
    if (layout.kind !== "directory" && layout.files[i]?.name !== name) {
      throw layoutError("LAYOUT_ORDER", `tar: got ${layout.files[i]?.name} as file ${i + 1}, want ${name}`);
    }
    return file;
  });
}

/** New blobs first, then `index.json` by rename, then away with what nothing names any more. */
async function writeDirectory(
  layout: Layout,
  wanted: readonly string[],
  bytes: ReadonlyMap<Digest, Buffer>,
  index: Buffer,
): Promise<void> {
  const root = layout.location;
  for (const [digest, content] of bytes) await replaceFile(join(root, blobName(digest)), content);
  await replaceFile(join(root, INDEX_FILE), index);
  const keep = new Set(wanted);
  for (const { name } of layout.files) {
    if (!keep.has(name)) await rm(join(root, name), { force: true });
  }
}

async function replaceFile(path: string, bytes: Buffer): Promise<void> {
  const file = await open(`${path}.new`, "w", 0o644);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  const directory = await open(dirname(path), "r");
  await directory.sync().finally(() => directory.close());
}
