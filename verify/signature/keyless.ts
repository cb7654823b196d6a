/**
 * One Sigstore bundle over one artifact, signed with a short-lived certificate instead of a key: offline,
 * against a trusted_root.json that the caller has. Pure over bytes.
 *
 * @sigstore/verify checks the certificate's chain, its log's promise (SCT), the entry in Rekor 1 or 2 with
 * inclusion proof and checkpoint, and the timestamps. Checked here, because it does not: that the identity
 * and the issuer are the ones asked for, byte for byte (its own comparison is an unanchored regular
 * expression over text with the high bits cut off); that the certificate is for signing code. What the
 * signature is about is for the caller to check: it accepts a statement about anything.
 */
import { X509Certificate as NodeCertificate } from "node:crypto";
import type { Bundle } from "@sigstore/bundle";
import { ASN1Obj } from "@sigstore/core";
import type { TrustedRoot } from "@sigstore/protobuf-specs";
import { type SignedEntity, toTrustMaterial, VerificationError, Verifier } from "@sigstore/verify";
import type { CertificateIdentity } from "../../bundles/model/certificate-identity.ts";
import type { Digest } from "../../bundles/model/digest.ts";
import { reasonOf, SealiftError } from "../../bundles/model/sealift-error.ts";
import { signatureError } from "./error.ts";
import { requireWitnessForm } from "./witness-form.ts";
import { signedEntity } from "./witnesses.ts";

/** A time that somebody other than the signer vouches for. */
export interface WitnessedTime {
  readonly source: "rekor" | "timestamp-authority";
  /** RFC 3339. */
  readonly at: string;
}

type Certificate = Extract<SignedEntity["key"], { $case: "certificate" }>["certificate"];

const SUBJECT_ALTERNATIVE_NAME = "2.5.29.17";
const CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
const FULCIO_ISSUER_V1 = "1.3.6.1.4.1.57264.1.1";
const FULCIO_ISSUER_V2 = "1.3.6.1.4.1.57264.1.8";
/** Context-specific tags of GeneralName (RFC 5280, section 4.2.1.6). */
const RFC822_NAME = 1;
const URI = 6;

/**
 * Verifies that `who` signed, when the certificate was valid, and that a log and a time witness it. What
 * was signed is for `requireArtifact` (blob.ts) and, of a statement, for the caller.
 * @throws SIGNATURE_MALFORMED | SIGNATURE_CERTIFICATE_REFUSED | SIGNATURE_IDENTITY_REFUSED |
 * SIGNATURE_WITNESS_REFUSED | SIGNATURE_UNKNOWN_KEY
 */
export function verifyKeyless(
  bundle: Bundle,
  artifact: Digest,
  who: CertificateIdentity,
  root: TrustedRoot,
): readonly WitnessedTime[] {
  requireWitnessForm(bundle);
  try {
    const entity = signedEntity(bundle, artifact);
    if (entity.key.$case !== "certificate") {
      throw signatureError("SIGNATURE_MALFORMED", "Sigstore bundle: signed with a key, want a certificate");
    }
    const noKeys = (): never => {
      throw new TypeError("no key counts here");
    };
    const thresholds = { tlogThreshold: 1, timestampThreshold: 1, ctlogThreshold: 1 };
    new Verifier(toTrustMaterial(root, noKeys), thresholds).verify(entity);
    requireIdentity(entity.key.certificate, who);
    requireForCode(bundle);
    return witnessedTimes(entity);
  } catch (cause) {
    if (cause instanceof SealiftError) throw cause;
    const code =
      cause instanceof VerificationError ? (CODES[cause.code] ?? "SIGNATURE_WITNESS_REFUSED") : "SIGNATURE_MALFORMED";
    throw signatureError(code, `Sigstore bundle: ${reasonOf(cause)}`, { cause });
  }
}

/** Ours for those of @sigstore/verify; every other is about a log or a time. */
const CODES: Readonly<Record<string, "SIGNATURE_CERTIFICATE_REFUSED" | "SIGNATURE_UNKNOWN_KEY">> = {
  CERTIFICATE_ERROR: "SIGNATURE_CERTIFICATE_REFUSED",
  SIGNATURE_ERROR: "SIGNATURE_UNKNOWN_KEY",
};

/** Bytes are compared, not text: what a certificate holds need not be text at all. */
function requireIdentity(certificate: Certificate, { identity, issuer }: CertificateIdentity): void {
  const names = namesOf(certificate);
  const [name, ...others] = names;
  if (!name || others.length > 0 || !(name.tag.isContextSpecific(RFC822_NAME) || name.tag.isContextSpecific(URI))) {
    throw signatureError(
      "SIGNATURE_CERTIFICATE_REFUSED",
      `Sigstore bundle: its certificate has ${names.length} names, want one that is an e-mail address or a URI`,
    );
  }
  const got = { identity: name.value, issuer: issuerOf(certificate) };
  if (!got.identity.equals(Buffer.from(identity)) || !got.issuer.equals(Buffer.from(issuer))) {
    const [gotIdentity, gotIssuer] = [got.identity, got.issuer].map((bytes) => JSON.stringify(bytes.toString()));
    throw signatureError(
      "SIGNATURE_IDENTITY_REFUSED",
      `Sigstore bundle: signed by ${gotIdentity} of issuer ${gotIssuer}, want ${JSON.stringify(identity)} of ${JSON.stringify(issuer)}`,
    );
  }
}

function namesOf(certificate: Certificate): readonly ASN1Obj[] {
  return certificate.extension(SUBJECT_ALTERNATIVE_NAME)?.valueObj.subs[0]?.subs ?? [];
}

/** Version 2 of Fulcio's extension is a UTF8String, version 1 the bare text. */
function issuerOf(certificate: Certificate): Buffer {
  const current = certificate.extension(FULCIO_ISSUER_V2);
  return current?.valueObj.subs[0]?.value ?? certificate.extension(FULCIO_ISSUER_V1)?.value ?? Buffer.alloc(0);
}

/** A certificate of the same authority for another use, or the authority's own, must not sign artifacts. */
function requireForCode({ verificationMaterial: { content } }: Bundle): void {
  const der =
    content.$case === "certificate"
      ? content.certificate.rawBytes
      : content.$case === "x509CertificateChain"
        ? content.x509CertificateChain.certificates[0]?.rawBytes
        : undefined;
  const certificate = new NodeCertificate(der ?? Buffer.alloc(0));
  requireSignedAlgorithm(certificate.raw);
  if (certificate.ca || !certificate.keyUsage?.includes(CODE_SIGNING)) {
    throw signatureError(
      "SIGNATURE_CERTIFICATE_REFUSED",
      "Sigstore bundle: its certificate is not one for signing code",
    );
  }
}

/** Index of `signature` in TBSCertificate (RFC 5280, section 4.1), and of the two parts behind it in Certificate. */
const TBS_ALGORITHM = 2;
const ALGORITHM = 1;
const SIGNATURE = 2;

/**
 * The algorithm stands in a certificate twice, and only the first is signed. @sigstore/verify reads the other, and does
 * not compare (RFC 5280, section 4.1.1.2, demands it); nor does it look at how many bits of the signature are none.
 */
function requireSignedAlgorithm(der: Buffer): void {
  const { subs } = ASN1Obj.parseBuffer(Buffer.from(der));
  const signed = subs[0]?.subs[TBS_ALGORITHM]?.toDER() ?? Buffer.alloc(0);
  if (subs[ALGORITHM]?.toDER().equals(signed) && subs[SIGNATURE]?.value[0] === 0) return;
  throw signatureError("SIGNATURE_CERTIFICATE_REFUSED", "Sigstore bundle: its certificate names two algorithms");
}

/** An integrated time counts only where the log promised it; Rekor 2 promises none. */
function witnessedTimes({ timestamps }: SignedEntity): WitnessedTime[] {
  return timestamps.flatMap((item): WitnessedTime[] => {
    if (item.$case === "timestamp-authority") {
      return [{ source: "timestamp-authority", at: item.timestamp.signingTime.toISOString() }];
    }
    if (item.tlogEntry.inclusionPromise === undefined) return [];
    return [{ source: "rekor", at: new Date(Number(item.tlogEntry.integratedTime) * 1000).toISOString() }];
  });
}
