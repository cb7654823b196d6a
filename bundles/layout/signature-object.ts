/**
 * Signature objects: the only blobs of a bundle that the release index does not reach. A closed list of
 * two forms, those in which cosign looks for signatures:
 *
 * - `sigstore-bundle`: an OCI manifest with `subject`, artifactType and one layer of SIGSTORE_BUNDLE
 *   (cosign 3; cosign 2 for attestations);
 * - `simple-signing`: cosign 2's `sha256-<hex>.sig` manifest with one layer for each signature.
 *
 * Parsing says which release blob an object speaks about; verify/ decides whether it says the truth, and
 * demands the one form that the `render…` functions give. Nobody signs the objects themselves, so any
 * freedom of form would be a place where a stranger's bytes could ride along.
 */
import { REF_NAME_ANNOTATION } from "../model/annotations.ts";
import { canonicalJson } from "../model/canonical-json.ts";
import type { Descriptor } from "../model/descriptor.ts";
import { type Digest, digestFromHex, digestOf, hexOf, isDigest } from "../model/digest.ts";
import {
  COSIGN_SIMPLE_SIGNING,
  IN_TOTO_PAYLOAD,
  OCI_EMPTY,
  OCI_IMAGE_CONFIG,
  OCI_MANIFEST,
  SIGSTORE_BUNDLE,
} from "../model/media-types.ts";
import { MANIFEST_MAX_BYTES, parseManifest } from "../model/oci.ts";
import { withLowS } from "./ecdsa-signature.ts";
import { layoutError } from "./error.ts";
import type { Layout } from "./layout.ts";

const SIGNATURE_TAG = /^sha256-([0-9a-f]{64})\.sig$/;
const COSIGN_SIGNATURE = "dev.cosignproject.cosign/signature";
/** An attestation holds its whole predicate in base64; an SBOM of 20 MB still fits. */
export const SIGNATURE_MAX_BYTES = 32 * 1024 * 1024;
/** Of all signature objects together: they are held in memory, and a stranger may add some. */
const SIGNATURES_MAX_BYTES = 256 * 1024 * 1024;
const SIMPLE_SIGNATURES_MAX = 64;
const BUNDLE_CONTENT = "dev.sigstore.bundle.content";
const BUNDLE_PREDICATE_TYPE = "dev.sigstore.bundle.predicateType";

export interface SignatureObject {
  readonly kind: "sigstore-bundle" | "simple-signing";
  /** The blob that the object is attached to: what it claims to speak about, unverified. */
  readonly subject: Digest;
  /** The manifest, as `index.json` must list it. */
  readonly descriptor: Descriptor;
  /** Config and layers. */
  readonly blobs: readonly Descriptor[];
  readonly signatures: readonly DetachedSignature[];
}

/** One signature as bytes: a Sigstore bundle's JSON, or a simple-signing payload with its signature. */
export type DetachedSignature =
  | { readonly kind: "sigstore-bundle"; readonly bundle: Buffer }
  | { readonly kind: "simple-signing"; readonly payload: Buffer; readonly signature: string };

/** Whether an entry of `index.json` says that it is a signature object; the others are images and files. */
export function isSignatureEntry(entry: Descriptor): boolean {
  return entry.artifactType === SIGSTORE_BUNDLE || SIGNATURE_TAG.test(entry.annotations?.[REF_NAME_ANNOTATION] ?? "");
}

/**
 * Reads the object listed as `entry` in `index.json`, checking each blob's digest.
 * @throws LAYOUT_FOREIGN_FILE if it is not of the closed list, and what `Layout.read` throws.
 */
export function readSignatureObject(layout: Layout, entry: Descriptor): SignatureObject {
  const refuse = (what: string): never => {
    throw layoutError("LAYOUT_FOREIGN_FILE", `manifest ${entry.digest}: ${what}`);
  };
  const manifest = parseManifest(layout.readDescriptor(entry, MANIFEST_MAX_BYTES));
  const blobs = [manifest.config, ...manifest.layers];
  const tag = SIGNATURE_TAG.exec(entry.annotations?.[REF_NAME_ANNOTATION] ?? "");
  if (tag) {
    if (manifest.layers.length === 0 || manifest.layers.length > SIMPLE_SIGNATURES_MAX) {
      refuse(`got ${manifest.layers.length} signatures, want 1 to ${SIMPLE_SIGNATURES_MAX}`);
    }
    layout.readDescriptor(manifest.config, MANIFEST_MAX_BYTES);
    const signatures = manifest.layers.map((layer): DetachedSignature => {
      const signature = layer.annotations?.[COSIGN_SIGNATURE];
      if (layer.mediaType !== COSIGN_SIMPLE_SIGNING || signature === undefined)
        refuse("not a cosign signature manifest");
      return {
        kind: "simple-signing",
        payload: layout.readDescriptor(layer, MANIFEST_MAX_BYTES),
        signature: signature as string,
      };
    });
    const subject = digestFromHex(tag[1] as string);
    const descriptor = { ...manifestAt(entry), ...simpleSigningEntry(subject) };
    return { kind: "simple-signing", subject, descriptor, blobs, signatures };
  }
  const [layer, ...others] = manifest.layers;
  if (
    manifest.artifactType !== SIGSTORE_BUNDLE ||
    layer?.mediaType !== SIGSTORE_BUNDLE ||
    others.length > 0 ||
    manifest.config.mediaType !== OCI_EMPTY ||
    !isDigest(manifest.subject?.digest)
  ) {
    return refuse("neither part of the release nor a signature of a kind that Sealift accepts");
  }
  layout.readDescriptor(manifest.config, MANIFEST_MAX_BYTES);
  const bundle = layout.readDescriptor(layer, SIGNATURE_MAX_BYTES);
  const signatures: DetachedSignature[] = [{ kind: "sigstore-bundle", bundle }];
  const predicateType = manifest.annotations?.[BUNDLE_PREDICATE_TYPE] ?? "";
  const descriptor = { ...manifestAt(entry), ...sigstoreEntry(predicateType) };
  return { kind: "sigstore-bundle", subject: manifest.subject.digest, descriptor, blobs, signatures };
}

/**
 * The signature objects among the entries of `index.json`. By digest, so that an object which is listed
 * twice counts once and index.json is found wrong.
 * @throws LAYOUT_SIZE_MISMATCH above 256 MiB in all, and what `readSignatureObject` throws
 */
export function readSignatureObjects(layout: Layout, entries: readonly Descriptor[]): SignatureObject[] {
  const objects = new Map<Digest, SignatureObject>();
  let bytes = 0;
  for (const entry of entries.filter(isSignatureEntry)) {
    const object = readSignatureObject(layout, entry);
    objects.set(object.descriptor.digest, object);
    bytes += [object.descriptor, ...object.blobs].reduce((sum, blob) => sum + blob.size, 0);
    if (bytes > SIGNATURES_MAX_BYTES) {
      throw layoutError("LAYOUT_SIZE_MISMATCH", `signature objects: want at most ${SIGNATURES_MAX_BYTES} bytes in all`);
    }
  }
  return [...objects.values()];
}

function manifestAt({ digest, size }: Descriptor): Descriptor {
  return { mediaType: OCI_MANIFEST, digest, size };
}

/** What `index.json` says about a Sigstore bundle beside the manifest's own descriptor. */
function sigstoreEntry(predicateType: string): Required<Pick<Descriptor, "artifactType" | "annotations">> {
  const annotations = { [BUNDLE_CONTENT]: "dsse-envelope", [BUNDLE_PREDICATE_TYPE]: predicateType };
  return { artifactType: SIGSTORE_BUNDLE, annotations };
}

function simpleSigningEntry(subject: Digest): Pick<Descriptor, "annotations"> {
  return { annotations: { [REF_NAME_ANNOTATION]: `sha256-${hexOf(subject)}.sig` } };
}

/** A signature object with the bytes of its blobs: what a writer needs. */
export interface NewSignatureObject extends SignatureObject {
  readonly bytes: ReadonlyMap<Digest, Buffer>;
}

function assemble(
  kind: SignatureObject["kind"],
  subject: Digest,
  manifest: object,
  entry: Pick<Descriptor, "artifactType" | "annotations">,
  blobs: readonly [Descriptor, Buffer][],
  signatures: readonly DetachedSignature[],
): NewSignatureObject {
  const bytes = canonicalJson(manifest);
  const descriptor: Descriptor = { mediaType: OCI_MANIFEST, digest: digestOf(bytes), size: bytes.length, ...entry };
  const all = new Map(blobs.map(([blob, content]) => [blob.digest, content]));
  all.set(descriptor.digest, bytes);
  return { kind, subject, descriptor, blobs: blobs.map(([blob]) => blob), signatures, bytes: all };
}

function describe(mediaType: string, bytes: Buffer): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

/** What one key's signature over one statement consists of. */
export interface KeySignature {
  /** The in-toto statement. */
  readonly payload: Buffer;
  /** ECDSA in DER, over the DSSE pre-authentication encoding of `payload`. */
  readonly signature: Buffer;
  /** Of the key (bundles/model/public-key.ts). */
  readonly hint: string;
}

/** The Sigstore bundle v0.3 of a signature made with a key: the members that cosign 3 writes, no others, the smaller s. */
export function renderKeyBundle({ payload, signature, hint }: KeySignature): Buffer {
  return canonicalJson({
    mediaType: SIGSTORE_BUNDLE,
    verificationMaterial: { publicKey: { hint } },
    dsseEnvelope: {
      payload: payload.toString("base64"),
      payloadType: IN_TOTO_PAYLOAD,
      signatures: [{ sig: withLowS(signature).toString("base64") }],
    },
  });
}

/** The parts of a Sigstore bundle, unverified; undefined if it is not of one key's signature in DSSE. */
export function readKeyBundle(json: Buffer): KeySignature | undefined {
  try {
    const { dsseEnvelope, verificationMaterial } = JSON.parse(json.toString("utf8")) as {
      dsseEnvelope: { payload: string; payloadType: string; signatures: { sig: string }[] };
      verificationMaterial: { publicKey?: { hint?: string } };
    };
    const [first, ...others] = dsseEnvelope.signatures;
    if (verificationMaterial.publicKey === undefined) return undefined;
    if (!first || others.length > 0 || dsseEnvelope.payloadType !== IN_TOTO_PAYLOAD) return undefined;
    return {
      payload: Buffer.from(dsseEnvelope.payload, "base64"),
      signature: Buffer.from(first.sig, "base64"),
      hint: String(verificationMaterial.publicKey.hint ?? ""),
    };
  } catch {
    return undefined;
  }
}

/**
 * The referrer manifest that cosign 3 writes for one Sigstore bundle about `subject`, a descriptor
 * without annotations. `predicateType` is copied into an annotation, where cosign filters by it.
 */
export function renderSigstoreReferrer(subject: Descriptor, predicateType: string, bundle: Buffer): NewSignatureObject {
  const empty = Buffer.from("{}");
  const config = describe(OCI_EMPTY, empty);
  const layer = describe(SIGSTORE_BUNDLE, bundle);
  const entry = sigstoreEntry(predicateType);
  const manifest = {
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    artifactType: SIGSTORE_BUNDLE,
    config,
    layers: [layer],
    subject,
    annotations: entry.annotations,
  };
  const blobs: [Descriptor, Buffer][] = [
    [config, empty],
    [layer, bundle],
  ];
  return assemble("sigstore-bundle", subject.digest, manifest, entry, blobs, [{ kind: "sigstore-bundle", bundle }]);
}

/** Of base64 that is none, what was given: nobody accepts it. */
function spelling(signature: string): string {
  const bytes = Buffer.from(signature, "base64");
  return bytes.toString("base64") === signature ? withLowS(bytes).toString("base64") : signature;
}

/** Cosign 2's `.sig` manifest for `subject`, with `signatures` in a fixed order, each once. */
export function renderSimpleSigning(
  subject: Digest,
  signatures: readonly { readonly payload: Buffer; readonly signature: string }[],
): NewSignatureObject {
  const spelled = signatures.map(({ payload, signature }) => ({ payload, signature: spelling(signature) }));
  const unique = new Map(spelled.map((item) => [`${digestOf(item.payload)} ${item.signature}`, item]));
  const sorted = [...unique].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
  const layers = sorted.map(({ payload, signature }) => ({
    ...describe(COSIGN_SIMPLE_SIGNING, payload),
    annotations: { [COSIGN_SIGNATURE]: signature },
  }));
  const configBytes = canonicalJson({
    architecture: "",
    config: {},
    created: "0001-01-01T00:00:00Z",
    os: "",
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.digest) },
  });
  const config = describe(OCI_IMAGE_CONFIG, configBytes);
  const manifest = { schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers };
  const blobs: [Descriptor, Buffer][] = [[config, configBytes]];
  for (const [i, { payload }] of sorted.entries()) blobs.push([layers[i] as Descriptor, payload]);
  const entry = simpleSigningEntry(subject);
  const detached = sorted.map((item): DetachedSignature => ({ kind: "simple-signing", ...item }));
  return assemble("simple-signing", subject, manifest, entry, blobs, detached);
}
