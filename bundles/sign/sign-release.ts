/**
 * A role's signatures over a release, as bundles/model/signing-roles.ts demands them: every role signs
 * the release index; the builder also signs each image, its SBOM and its provenance.
 */
import { type BundleRelease, bare, DOCUMENT_MAX_BYTES } from "../layout/contents.ts";
import type { Layout } from "../layout/layout.ts";
import { type NewSignatureObject, renderSigstoreReferrer, renderSimpleSigning } from "../layout/signature-object.ts";
import type { Descriptor } from "../model/descriptor.ts";
import type { Digest } from "../model/digest.ts";
import { PREDICATE_COSIGN_SIGN, PREDICATE_CYCLONEDX, PREDICATE_SLSA_PROVENANCE } from "../model/media-types.ts";
import type { Role } from "../model/signing-roles.ts";
import { renderDetachedFile } from "./detached-file.ts";
import type { SigningKey } from "./signing-key.ts";
import { signSimpleSigning } from "./simple-signing.ts";
import { signStatement, statementFor } from "./statement.ts";

/** The `docker-reference` of a legacy payload: cosign shows it and binds nothing to it. */
function reference(appliance: string, name: string): string {
  return `sealift.invalid/${appliance}/${name}`;
}

/** Everything that `role` signs about the release in `layout`, ready to attach. */
export function signRelease(
  layout: Pick<Layout, "read">,
  release: BundleRelease,
  role: Role,
  key: SigningKey,
): NewSignatureObject[] {
  const { appliance, images } = release.manifest;
  const objects = signSubject(key, release.descriptor, reference(appliance, "release"));
  if (role !== "builder") return objects;
  for (const { name, sbom, provenance } of images) {
    const subject = bare((release.images.get(name) as { descriptor: Descriptor }).descriptor);
    const attest = (predicateType: string, predicate: Digest): NewSignatureObject => {
      const value: unknown = JSON.parse(layout.read(predicate, DOCUMENT_MAX_BYTES).toString("utf8"));
      return renderSigstoreReferrer(
        subject,
        predicateType,
        signStatement(key, statementFor(subject.digest, predicateType, value)),
      );
    };
    objects.push(
      ...signSubject(key, subject, reference(appliance, name)),
      attest(PREDICATE_CYCLONEDX, sbom),
      attest(PREDICATE_SLSA_PROVENANCE, provenance),
    );
  }
  return objects;
}

/** One subject signed in both of cosign's forms. */
function signSubject(key: SigningKey, subject: Descriptor, dockerReference: string): NewSignatureObject[] {
  const bundle = signStatement(key, statementFor(subject.digest, PREDICATE_COSIGN_SIGN, {}));
  const simple = signSimpleSigning(key, { dockerReference, digest: subject.digest });
  return [
    renderSigstoreReferrer(bare(subject), PREDICATE_COSIGN_SIGN, bundle),
    renderSimpleSigning(subject.digest, [simple]),
  ];
}

/** The signature of a release of which only the digest is known, as a file for `bundle attach`. */
export function signDigest(key: SigningKey, digest: Digest): Buffer {
  const bundle = signStatement(key, statementFor(digest, PREDICATE_COSIGN_SIGN, {}));
  return renderDetachedFile(
    digest,
    bundle,
    signSimpleSigning(key, { dockerReference: "sealift.invalid/release", digest }),
  );
}
