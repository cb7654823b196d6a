/**
 * `signatures` (of the release), and the signed part of `images`, `sbom` and `provenance`: every
 * signature in the bundle holds, comes from a key that the release trust knows, and says something that
 * the key's role may say (bundles/model/signing-roles.ts); and for everything that must be signed there
 * are as many distinct keys and distinct holders as the role's threshold asks.
 *
 * Neither cosign nor a hint in a bundle chooses a key; only the release trust does.
 */

import { isCertificateBundle, renderCertificateBundle } from "../../bundles/layout/certificate-bundle.ts";
import {
  type DetachedSignature,
  readKeyBundle,
  renderKeyBundle,
  renderSigstoreReferrer,
  renderSimpleSigning,
  type SignatureObject,
} from "../../bundles/layout/signature-object.ts";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { Descriptor } from "../../bundles/model/descriptor.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { PREDICATE_COSIGN_SIGN, PREDICATE_SLSA_PROVENANCE } from "../../bundles/model/media-types.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { maySign, type Role, type SubjectKind } from "../../bundles/model/signing-roles.ts";
import type { KeylessVerifier, VerifiedKeyless } from "../signature/keyless-statement.ts";
import { verifySigstoreBundle, verifySimpleSigning } from "../signature/signature.ts";
import type { VerifiedSignature } from "../signature/statement.ts";
import { isTrustKey, type Trust, type TrustIdentity, type TrustSigner } from "../trust/trust.ts";
import { type Check, type Finding, failed, passed } from "../verdict.ts";

/** A signature that holds, by a role that may give it. */
export interface Signed {
  readonly subject: Digest;
  readonly predicateType: string;
  /** Digest of the predicate in canonical JSON; of `{}` for a bare signature. */
  readonly predicate: Digest;
  readonly role: Role;
  readonly key: TrustSigner;
  /** If it was signed with a certificate: when, RFC 3339, by the earliest word of a log or timestamp authority. */
  readonly at?: string;
  /** The object's manifest that holds it. */
  readonly object: Digest;
  /** The predicate itself; only of provenance of the release, which is no document of the release. */
  readonly said?: unknown;
}

const EMPTY_PREDICATE = digestOf("{}");

/** A release trust, with a judge of certificates if it has the authorities for that. */
export interface TrustInUse extends Trust {
  readonly keyless?: KeylessVerifier;
}

/** Something in the release that may be signed. */
export interface Signable {
  readonly kind: SubjectKind;
  readonly descriptor: Descriptor;
}

/**
 * Verifies every signature of `objects`; a signature that does not hold is a finding, never skipped. So is
 * an object that is not byte for byte what Sealift renders for its signatures, because nobody signs the
 * object itself.
 */
export function verifySignatures(
  objects: readonly SignatureObject[],
  signables: ReadonlyMap<Digest, Signable>,
  trust: TrustInUse,
  check: Check,
): { readonly signed: readonly Signed[]; readonly findings: readonly Finding[] } {
  const signed: Signed[] = [];
  const findings: Finding[] = [];
  const roles = new Map(
    [...trust.roles].flatMap(([role, { keys }]) => keys.map((key) => [key.fingerprint, { role, key }] as const)),
  );
  const signers = [...roles.values()].map(({ key }) => key);
  for (const object of objects) {
    const signable = signables.get(object.subject);
    const refuse = (code: string, message: string): void => {
      findings.push(failed(check, object.descriptor.digest, code, message));
    };
    if (signable === undefined) {
      refuse("SIGNATURE_FOREIGN_SUBJECT", `signature object about ${object.subject}, which is not in the release`);
      continue;
    }
    const { kind } = signable;
    const held: Signed[] = [];
    for (const signature of object.signatures) {
      try {
        const verified = verifyOne(signature, signers, trust.keyless);
        if (verified.subject !== object.subject) {
          refuse(
            "SIGNATURE_FOREIGN_SUBJECT",
            `signature speaks about ${verified.subject}, but is attached to ${object.subject}`,
          );
          continue;
        }
        const signer = roles.get(verified.keyFingerprint);
        if (!signer || !maySign(signer.role, verified.predicateType, kind)) {
          refuse(
            "SIGNATURE_ROLE_DENIED",
            `${signer?.role ?? "unknown role"} ${verified.holder} signed ${verified.predicateType} about ${kind === "release" ? "the release" : "an image"}, which that role may not`,
          );
          continue;
        }
        const { said, ...rest } = verified;
        const isKept = kind === "release" && verified.predicateType === PREDICATE_SLSA_PROVENANCE;
        const { digest } = object.descriptor;
        held.push({ ...rest, role: signer.role, key: signer.key, object: digest, ...(isKept && { said }) });
      } catch (cause) {
        refuse(cause instanceof SealiftError ? cause.code : "SIGNATURE_MALFORMED", reasonOf(cause));
      }
    }
    if (held.length < object.signatures.length) continue;
    if (isRendered(object, signable.descriptor, held)) signed.push(...held);
    else refuse("SIGNATURE_NOT_CANONICAL", "the signature holds, but its object is not the one that Sealift writes");
  }
  const tags = objects.filter(({ kind }) => kind === "simple-signing").map(({ subject }) => subject);
  for (const subject of new Set(tags.filter((tag, i) => tags.indexOf(tag) !== i))) {
    findings.push(failed(check, subject, "SIGNATURE_NOT_CANONICAL", `two .sig manifests are about ${subject}`));
  }
  return { signed, findings };
}

/** Whether the object is the one that its signatures, all of which hold, are rendered to. */
function isRendered(object: SignatureObject, subject: Descriptor, held: readonly Signed[]): boolean {
  const [first] = object.signatures;
  const [signed] = held;
  if (first?.kind !== "sigstore-bundle") {
    const simple = object.signatures.filter((signature) => signature.kind === "simple-signing");
    return renderSimpleSigning(object.subject, simple).descriptor.digest === object.descriptor.digest;
  }
  if (!signed || !canonicalBundle(first.bundle, signed.key)?.equals(first.bundle)) return false;
  const { descriptor } = renderSigstoreReferrer(subject, signed.predicateType, first.bundle);
  return descriptor.digest === object.descriptor.digest;
}

function canonicalBundle(bundle: Buffer, signer: TrustSigner): Buffer | undefined {
  if (!isTrustKey(signer)) return renderCertificateBundle(bundle);
  const parts = readKeyBundle(bundle);
  return parts && renderKeyBundle({ ...parts, hint: signer.hint });
}

interface OneSignature {
  /** The predicate. */
  readonly said: unknown;
  readonly subject: Digest;
  readonly predicateType: string;
  readonly predicate: Digest;
  readonly keyFingerprint: string;
  readonly holder: string;
  readonly at?: string;
}

/** A certificate counts only where the release trust has the authorities to judge it by. */
function verifyOne(
  signature: DetachedSignature,
  signers: readonly TrustSigner[],
  keyless: KeylessVerifier | undefined,
): OneSignature {
  const keys = signers.filter(isTrustKey);
  if (signature.kind === "simple-signing") {
    const { digest, keyFingerprint, holder } = verifySimpleSigning(signature.payload, signature.signature, keys);
    return {
      subject: digest,
      predicateType: PREDICATE_COSIGN_SIGN,
      predicate: EMPTY_PREDICATE,
      said: {},
      keyFingerprint,
      holder,
    };
  }
  const verified: VerifiedSignature & Partial<Pick<VerifiedKeyless, "times">> =
    keyless && isCertificateBundle(signature.bundle)
      ? keyless(
          signature.bundle,
          signers.filter((one): one is TrustIdentity => !isTrustKey(one)),
        )
      : verifySigstoreBundle(signature.bundle, keys);
  const { statement, keyFingerprint, holder } = verified;
  const [at] = (verified.times ?? []).map((time) => time.at).sort();
  return {
    ...(at !== undefined && { at }),
    subject: statement.subject,
    predicateType: statement.predicateType,
    predicate: digestOf(canonicalJson(statement.predicate)),
    said: statement.predicate,
    keyFingerprint,
    holder,
  };
}

/** A thing that must be signed. */
export interface Demand {
  readonly check: Check;
  /** For the report, e.g. an image's name. */
  readonly name: string;
  readonly subject: Digest;
  readonly predicateType: string;
  /** If given, only signatures over exactly this predicate count. */
  readonly predicate?: Digest;
  readonly role: Role;
}

/** Whether enough distinct keys and holders of the role have signed what is demanded. */
export function checkDemand(demand: Demand, signed: readonly Signed[], trust: Trust): Finding {
  const { check, name, subject, predicateType, predicate, role } = demand;
  const threshold = trust.roles.get(role)?.threshold;
  if (threshold === undefined) {
    return failed(check, name, "TRUST_ROLE_MISSING", `the release trust names no ${role} keys`);
  }
  const about = signed.filter(
    (item) => item.subject === subject && item.predicateType === predicateType && item.role === role,
  );
  const counted = predicate === undefined ? about : about.filter((item) => item.predicate === predicate);
  const keys = new Set(counted.map((item) => item.key.fingerprint));
  const holders = new Set(counted.map((item) => item.key.holder));
  const have = Math.min(keys.size, holders.size);
  const what = `${role} signature${threshold === 1 ? "" : "s"} over ${name} (${predicateType})`;
  if (have >= threshold)
    return passed(check, name, `${have} of ${threshold} ${what}: ${[...holders].sort().join(", ")}`);
  if (counted.length < about.length) {
    return failed(
      check,
      name,
      "SIGNATURE_OTHER_PREDICATE",
      `${role} signed another document than the release holds for ${name} (${predicateType})`,
    );
  }
  return failed(
    check,
    name,
    have === 0 ? "SIGNATURE_MISSING" : "SIGNATURE_THRESHOLD",
    `got ${have} of ${threshold} ${what}`,
  );
}
