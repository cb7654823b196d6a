/**
 * A role's signatures over a release, as bundles/model/signing-roles.ts demands them: every role signs
 * the release index; the builder also signs each image, its SBOM, its provenance, and a vendor's SBOM of it.
 */

import { vendorSboms } from "../../sbom/vendor-sbom.ts";
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

/** Something that a role signs. */
interface Signable {
  readonly subject: Descriptor;
  /** `release`, or the image's name. */
  readonly name: string;
  readonly predicateType: string;
  readonly statement: Buffer;
}

function signablesOf(layout: Pick<Layout, "read">, release: BundleRelease, role: Role): Signable[] {
  const signable = (subject: Descriptor, name: string, predicateType: string, predicate: unknown): Signable => {
    const statement = statementFor(subject.digest, predicateType, predicate);
    return { subject: bare(subject), name, predicateType, statement };
  };
  const own = signable(release.descriptor, "release", PREDICATE_COSIGN_SIGN, {});
  if (role !== "builder") return [own];
  const document = (digest: Digest): unknown =>
    JSON.parse(layout.read(digest, DOCUMENT_MAX_BYTES).toString("utf8")) as unknown;
  return [
    own,
    ...release.manifest.images.flatMap(({ name, sbom, provenance }) => {
      const { descriptor } = release.images.get(name) as { descriptor: Descriptor };
      return [
        signable(descriptor, name, PREDICATE_COSIGN_SIGN, {}),
        signable(descriptor, name, PREDICATE_CYCLONEDX, document(sbom)),
        signable(descriptor, name, PREDICATE_SLSA_PROVENANCE, document(provenance)),
      ];
    }),
    ...vendorSboms(layout, release).map(({ image: { name }, predicate }) => {
      const { descriptor } = release.images.get(name) as { descriptor: Descriptor };
      return signable(descriptor, name, PREDICATE_CYCLONEDX, predicate);
    }),
  ];
}

/** Everything that `role` signs about the release in `layout`, ready to attach; signatures in both of cosign's forms. */
export function signRelease(
  layout: Pick<Layout, "read">,
  release: BundleRelease,
  role: Role,
  key: SigningKey,
): NewSignatureObject[] {
  const { appliance } = release.manifest;
  return signablesOf(layout, release, role).flatMap(({ subject, name, predicateType, statement }) => {
    const referrer = renderSigstoreReferrer(subject, predicateType, signStatement(key, statement));
    if (predicateType !== PREDICATE_COSIGN_SIGN) return [referrer];
    const simple = signSimpleSigning(key, { dockerReference: reference(appliance, name), digest: subject.digest });
    return [referrer, renderSimpleSigning(subject.digest, [simple])];
  });
}

/** The same, each statement signed with a certificate. Only Sigstore bundles: cosign 2's form has no place for it here. */
export async function signReleaseKeyless(
  layout: Pick<Layout, "read">,
  release: BundleRelease,
  role: Role,
  sign: (statement: Buffer) => Promise<Buffer>,
): Promise<NewSignatureObject[]> {
  const objects: NewSignatureObject[] = [];
  for (const { subject, predicateType, statement } of signablesOf(layout, release, role)) {
    objects.push(renderSigstoreReferrer(subject, predicateType, await sign(statement)));
  }
  return objects;
}

/** What a role other than the builder signs about a release of which only the digest is known. */
export function releaseStatement(digest: Digest): Buffer {
  return statementFor(digest, PREDICATE_COSIGN_SIGN, {});
}

/** The signature of a release of which only the digest is known, as a file for `bundle attach`. */
export function signDigest(key: SigningKey, digest: Digest): Buffer {
  const bundle = signStatement(key, releaseStatement(digest));
  return renderDetachedFile(
    digest,
    bundle,
    signSimpleSigning(key, { dockerReference: "sealift.invalid/release", digest }),
  );
}
