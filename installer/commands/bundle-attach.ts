import { closeSync, constants, openSync, statSync } from "node:fs";
import { type BundleRelease, readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, INDEX_FILE, LAYOUT_FILE, type Layout, openLayout } from "../../bundles/layout/layout.ts";
import { readAt } from "../../bundles/layout/read-at.ts";
import {
  isSignatureEntry,
  type NewSignatureObject,
  readSignatureObject,
  SIGNATURE_MAX_BYTES,
} from "../../bundles/layout/signature-object.ts";
import type { Descriptor } from "../../bundles/model/descriptor.ts";
import { digestOf, hexOf } from "../../bundles/model/digest.ts";
import {
  OCI_MANIFEST,
  PREDICATE_SLSA_PROVENANCE,
  PREDICATE_VSA,
  SIGSTORE_BUNDLE,
} from "../../bundles/model/media-types.ts";
import { MANIFEST_MAX_BYTES, parseIndex, parseManifest } from "../../bundles/model/oci.ts";
import { plain } from "../../bundles/model/plain-text.ts";
import { REBUILD_TYPE } from "../../bundles/model/rebuild.ts";
import {
  mergeSignatures,
  objectsFrom,
  SIGNED_AGAIN,
  signableSubjects,
  signsAgain,
  writeSignatures,
} from "../../bundles/sign/attach.ts";
import { parseDetachedFile, statementOf } from "../../bundles/sign/detached-file.ts";
import { statementPath } from "../../verify/approval-files.ts";
import { readRegularFile } from "../../verify/regular-file.ts";
import { readBoundedFile } from "../host/read-file.ts";
import { writeNew } from "../host/write-new.ts";
import { type Command, usageError } from "./command.ts";

export const bundleAttach: Command = {
  name: "bundle attach",
  summary: "put signatures that were made elsewhere into a bundle",
  usage: "BUNDLE FILE…",
  details: [
    "FILE may be: what `sealift bundle sign --digest` wrote; a Sigstore bundle (v0.3) from",
    "`cosign attest-blob --new-bundle-format`; or a directory with an OCI layout that cosign or oras filled, or another",
    "bundle of this release, of which the signatures about it and its images are taken.",
    "An approval (`sealift approve`) or a rebuilder's statement (`sealift bundle rebuild --key`) is copied beside BUNDLE.",
    "Nothing is verified here; `sealift verify` judges every signature that is in the bundle.",
  ],
  options: {},
  run: async (invocation) => {
    const { terminal, args } = invocation;
    const [path, ...files] = args;
    if (path === undefined) throw usageError("bundle attach", "BUNDLE is missing");
    if (files.length === 0) throw usageError("bundle attach", "FILE is missing");
    const { layout, store } = openLayout(path);
    try {
      const index = readLayoutIndex(layout);
      const release = readRelease(layout, index.release);
      const present = index.others.filter(isSignatureEntry).map((entry) => readSignatureObject(layout, entry));
      const added: NewSignatureObject[] = [];
      const beside: string[] = [];
      for (const file of files) {
        const written = await putBeside(file, path, release);
        if (written === undefined) added.push(...(await objectsOf(file, release)));
        else beside.push(written);
      }
      for (const file of beside) terminal.result(`put beside the bundle: ${plain(file)}`);
      if (signsAgain(release, present, added)) terminal.note(SIGNED_AGAIN);
      const merged = mergeSignatures(layout, present, added);
      await writeSignatures(layout, release, merged);
      terminal.result(`attached ${added.length} signature objects to release ${release.descriptor.digest}`);
      const { digest } = release.descriptor;
      terminal.document({ digest, attached: added.length, total: merged.length, beside });
      return 0;
    } finally {
      closeStore(store);
    }
  },
};

/**
 * What people outside the release trust signed about the release, a rebuild or an approval, has no place inside:
 * it is copied beside the bundle, where `verify` looks for it. Undefined if the file is of another kind.
 */
async function putBeside(file: string, bundle: string, release: BundleRelease): Promise<string | undefined> {
  if (holdsLayout(file)) return undefined;
  const bytes = await readBoundedFile(file, SIGNATURE_MAX_BYTES);
  const { subject, predicateType, predicate } = statementOf(bytes) ?? {};
  const kind = predicateType === PREDICATE_VSA ? "approval" : "rebuild";
  const isOurs =
    predicateType === PREDICATE_VSA || (predicateType === PREDICATE_SLSA_PROVENANCE && isRebuild(predicate));
  if (!isOurs || subject !== release.descriptor.digest) return undefined;
  const out = statementPath(bundle, kind, hexOf(digestOf(bytes)));
  await writeOnce(out, bytes);
  return out;
}

/** The name follows from the bytes: what is there already is the same, or somebody put something else there. */
async function writeOnce(path: string, bytes: Buffer): Promise<void> {
  try {
    await writeNew(path, bytes);
  } catch (cause) {
    if (!isThere(path, bytes)) throw cause;
  }
}

function isThere(path: string, bytes: Buffer): boolean {
  try {
    return readRegularFile(path, SIGNATURE_MAX_BYTES).equals(bytes);
  } catch {
    return false;
  }
}

/** Provenance of the release by its builder belongs inside. */
function isRebuild(predicate: unknown): boolean {
  const { buildDefinition } = (predicate ?? {}) as { buildDefinition?: { buildType?: unknown } };
  return buildDefinition?.buildType === REBUILD_TYPE;
}

/** A directory, or a bundle: its first file is always the same. */
function holdsLayout(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) return stat?.isDirectory() === true;
  const start = Buffer.alloc(LAYOUT_FILE.length + 1);
  const fd = openSync(path, constants.O_RDONLY);
  try {
    readAt(fd, start, 0);
  } finally {
    closeSync(fd);
  }
  return start.toString("latin1") === `${LAYOUT_FILE}\0`;
}

async function objectsOf(path: string, release: BundleRelease): Promise<NewSignatureObject[]> {
  if (holdsLayout(path)) return objectsOfLayout(path, release);
  const { subject, signatures } = parseDetachedFile(await readBoundedFile(path, SIGNATURE_MAX_BYTES), path);
  return objectsFrom(subject, signatures, release);
}

/** The signature objects of another OCI layout that speak about this release; what else is there is left alone. */
function objectsOfLayout(path: string, release: BundleRelease): NewSignatureObject[] {
  const { layout, store } = openLayout(path);
  try {
    const subjects = signableSubjects(release);
    return parseIndex(layout.readUnverified(INDEX_FILE, MANIFEST_MAX_BYTES))
      .manifests.filter((entry) => isSignatureEntry(entry) || isSigstoreManifest(layout, entry))
      .map((entry) => readSignatureObject(layout, entry))
      .filter((object) => subjects.has(object.subject))
      .flatMap((object) => objectsFrom(object.subject, object.signatures, release));
  } finally {
    closeStore(store);
  }
}

/** The manifest itself must be asked: cosign 3 lists its own with another artifactType, and oras copies that. */
function isSigstoreManifest(layout: Layout, entry: Descriptor): boolean {
  if (entry.mediaType !== OCI_MANIFEST) return false;
  return parseManifest(layout.readDescriptor(entry, MANIFEST_MAX_BYTES)).artifactType === SIGSTORE_BUNDLE;
}
