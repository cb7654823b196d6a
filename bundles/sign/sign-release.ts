/**
 * A role's signatures over a release, as bundles/model/signing-roles.ts demands them: every role signs
 * the release index; the builder also signs the release's provenance and each image, its SBOM, its provenance, and a
 * vendor's SBOM of it.
 */

import { vendorSboms } from "../../sbom/vendor-sbom.ts";
import { type BundleRelease, bare, DOCUMENT_MAX_BYTES } from "../layout/contents.ts";
import type { Layout } from "../layout/layout.ts";
import { type NewSignatureObject, renderSigstoreReferrer, renderSimpleSigning } from "../layout/signature-object.ts";
import { parseCanonicalJson } from "../model/canonical-json.ts";
import type { Descriptor } from "../model/descriptor.ts";
import type { Digest } from "../model/digest.ts";
import { PREDICATE_COSIGN_SIGN, PREDICATE_CYCLONEDX, PREDICATE_SLSA_PROVENANCE } from "../model/media-types.ts";
import { builderId, type ReleaseBuilder, renderReleaseProvenance } from "../model/release-provenance.ts";
import type { Role } from "../model/signing-roles.ts";
import { renderDetachedFile } from "./detached-file.ts";
import { signError } from "./error.ts";
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

function signablesOf(
  layout: Pick<Layout, "read">,
  release: BundleRelease,
  role: Role,
  builder: ReleaseBuilder,
): Signable[] {
  const signable = (subject: Descriptor, name: string, predicateType: string, predicate: unknown): Signable => {
    const statement = statementFor(subject.digest, predicateType, predicate);
    return { subject: bare(subject), name, predicateType, statement };
  };
  const own = signable(release.descriptor, "release", PREDICATE_COSIGN_SIGN, {});
  if (role !== "builder") return [own];
  const document = (digest: Digest): unknown =>
    JSON.parse(layout.read(digest, DOCUMENT_MAX_BYTES).toString("utf8")) as unknown;
  const provenance = renderReleaseProvenance(release.manifest, builder);
  return [
    own,
    signable(release.descriptor, "release", PREDICATE_SLSA_PROVENANCE, provenance),
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

/**
 * Whether the program that is to sign as the builder is the one that built, as the images' provenance has it: what it
 * signs would be untrue otherwise. @throws BUILDER_OTHER_VERSION
 */
export function requireOwnBuild(
  layout: Pick<Layout, "read">,
  { manifest }: BundleRelease,
  { sealiftVersion }: ReleaseBuilder,
): void {
  const want = builderId(sealiftVersion);
  for (const { name, provenance } of manifest.images) {
    const document = parseCanonicalJson(layout.read(provenance, DOCUMENT_MAX_BYTES)) as
      | { readonly runDetails?: { readonly builder?: { readonly id?: unknown } } }
      | undefined;
    const got = document?.runDetails?.builder?.id;
    if (got === want) continue;
    throw signError("BUILDER_OTHER_VERSION", `image ${name} was built by ${JSON.stringify(got)}, this is ${want}`, {
      hints: ["sign as the builder with the Sealift that built, on the machine that built"],
    });
  }
}

/**
 * Everything that `role` signs about the release in `layout`, ready to attach; signatures in both of cosign's forms.
 * `builder` is the program that built (`requireOwnBuild`); only the builder's role speaks of it.
 */
export function signRelease(
  layout: Pick<Layout, "read">,
  release: BundleRelease,
  role: Role,
  key: SigningKey,
  builder: ReleaseBuilder,
): NewSignatureObject[] {
  const { appliance } = release.manifest;
  return signablesOf(layout, release, role, builder).flatMap(({ subject, name, predicateType, statement }) => {
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
  builder: ReleaseBuilder,
): Promise<NewSignatureObject[]> {
  const objects: NewSignatureObject[] = [];
  for (const { subject, predicateType, statement } of signablesOf(layout, release, role, builder)) {
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
