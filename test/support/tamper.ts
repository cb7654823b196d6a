/** Ways to make a bundle wrong, for someone who has no signing key: bytes, files, and signature objects. */
import { bare } from "../../bundles/layout/contents.ts";
import { blobName } from "../../bundles/layout/layout.ts";
import type { DetachedSignature, NewSignatureObject } from "../../bundles/layout/signature-object.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { Descriptor } from "../../bundles/model/descriptor.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { SIGSTORE_BUNDLE } from "../../bundles/model/media-types.ts";
import type { SmallRelease } from "./small-bundle.ts";

export type Files = [string, Buffer][];
export type JsonObject = { [member: string]: unknown };

export function parseObject(bytes: Buffer): JsonObject {
  return JSON.parse(bytes.toString("utf8")) as JsonObject;
}

/** `bytes` with one bit of the byte at `at` (from the end if negative) turned. */
export function flipped(bytes: Buffer, at = 0): Buffer {
  const copy = Buffer.from(bytes);
  const position = at < 0 ? bytes.length + at : at;
  copy[position] = (copy[position] as number) ^ 1;
  return copy;
}

/** The files with the content of one replaced; its name, and so the digest it claims, stays. */
export function withContent(files: Files, name: string, change: (bytes: Buffer) => Buffer): Files {
  if (!files.some(([other]) => other === name)) throw new Error(`no file ${name}`);
  return files.map(([other, bytes]) => [other, other === name ? change(bytes) : bytes]);
}

export function withoutFile(files: Files, name: string): Files {
  return files.filter(([other]) => other !== name);
}

/** The files with a blob more, in its sorted place before `index.json`. */
export function withBlob(files: Files, bytes: Buffer): Files {
  return [...files.slice(0, -1), [blobName(digestOf(bytes)), bytes], ...files.slice(-1)];
}

/** A signature object whose manifest was changed, hashed again and listed under its new digest. */
export function withManifest(object: NewSignatureObject, change: (manifest: JsonObject) => void): NewSignatureObject {
  const manifest = parseObject(object.bytes.get(object.descriptor.digest) as Buffer);
  change(manifest);
  const bytes = canonicalJson(manifest);
  const descriptor = { ...object.descriptor, digest: digestOf(bytes), size: bytes.length };
  const all = new Map(object.bytes);
  all.delete(object.descriptor.digest);
  all.set(descriptor.digest, bytes);
  return { ...object, descriptor, bytes: all };
}

/** A Sigstore bundle whose JSON was changed, with its manifest to match. */
export function withSigstoreJson(object: NewSignatureObject, change: (json: Buffer) => Buffer): NewSignatureObject {
  const [, layer] = object.blobs as [Descriptor, Descriptor];
  const json = change(object.bytes.get(layer.digest) as Buffer);
  const changed = { mediaType: SIGSTORE_BUNDLE, digest: digestOf(json), size: json.length };
  const bytes = new Map(object.bytes).set(changed.digest, json);
  if (changed.digest !== layer.digest) bytes.delete(layer.digest);
  const signatures: DetachedSignature[] = [{ kind: "sigstore-bundle", bundle: json }];
  const blobs = [object.blobs[0] as Descriptor, changed];
  return withManifest({ ...object, bytes, blobs, signatures }, (manifest) => {
    manifest["layers"] = [changed];
  });
}

/** The descriptor under which an image may be signed. */
export function imageDescriptor(small: SmallRelease, name: string): Descriptor {
  return bare((small.release.images.get(name) as { descriptor: Descriptor }).descriptor);
}

/** The first object of a kind about a subject, and of a predicate type if one is said. */
export function objectAbout(
  objects: readonly NewSignatureObject[],
  kind: NewSignatureObject["kind"],
  subject: Digest,
  predicateType?: string,
): NewSignatureObject {
  const found = objects.find(
    (object) =>
      object.kind === kind &&
      object.subject === subject &&
      (predicateType === undefined ||
        object.descriptor.annotations?.["dev.sigstore.bundle.predicateType"] === predicateType),
  );
  if (!found) throw new Error(`no ${kind} about ${subject}`);
  return found;
}
