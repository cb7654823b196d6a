/**
 * Who signs what: the normative table. Deny is the default: a signature that no row allows counts for
 * nothing, and `verify` refuses the bundle that carries it. The signing verbs and the verifier read this
 * one table; runbooks/ prints it.
 *
 * Two rules hold for every row, and the release trust enforces them (trust-metadata.ts): no key serves
 * two roles, and within a role one key and one holder count once towards the threshold.
 */
import { PREDICATE_COSIGN_SIGN, PREDICATE_CYCLONEDX, PREDICATE_SLSA_PROVENANCE } from "./media-types.ts";

export const ROLES = ["builder", "security", "release"] as const;

export type Role = (typeof ROLES)[number];

/** What a signature speaks about: an image manifest, or the release index. */
export type SubjectKind = "image" | "release";

/** Forms in which the signature lies in a bundle (bundles/layout/signature-object.ts). */
export type SignatureForm = "sigstore-bundle" | "simple-signing";

export interface SigningRule {
  /** The name of the row in reports and runbooks. */
  readonly type:
    | "image signature"
    | "SBOM attestation"
    | "provenance attestation"
    | "release provenance"
    | "release signature";
  /** Of the in-toto statement. A simple-signing payload stands for PREDICATE_COSIGN_SIGN. */
  readonly predicateType: string;
  readonly forms: readonly SignatureForm[];
  readonly role: Role;
  readonly subject: SubjectKind;
  /** Where it counts: only for appliances that the `paths` of the role's delegation name. */
  readonly scope: "appliance";
  /** How long it counts: while the release trust, itself unexpired, lists the key for the role. */
  readonly lifetime: "while-key-is-trusted";
}

const everywhere = { scope: "appliance", lifetime: "while-key-is-trusted" } as const;
const bothForms = ["sigstore-bundle", "simple-signing"] as const;

export const SIGNING_RULES: readonly SigningRule[] = [
  {
    type: "image signature",
    predicateType: PREDICATE_COSIGN_SIGN,
    forms: bothForms,
    role: "builder",
    subject: "image",
    ...everywhere,
  },
  {
    type: "SBOM attestation",
    predicateType: PREDICATE_CYCLONEDX,
    forms: ["sigstore-bundle"],
    role: "builder",
    subject: "image",
    ...everywhere,
  },
  {
    type: "provenance attestation",
    predicateType: PREDICATE_SLSA_PROVENANCE,
    forms: ["sigstore-bundle"],
    role: "builder",
    subject: "image",
    ...everywhere,
  },
  {
    type: "release provenance",
    predicateType: PREDICATE_SLSA_PROVENANCE,
    forms: ["sigstore-bundle"],
    role: "builder",
    subject: "release",
    ...everywhere,
  },
  ...ROLES.map(
    (role): SigningRule => ({
      type: "release signature",
      predicateType: PREDICATE_COSIGN_SIGN,
      forms: bothForms,
      role,
      subject: "release",
      ...everywhere,
    }),
  ),
];

/** Whether the table has a row for it. */
export function maySign(role: Role, predicateType: string, subject: SubjectKind): boolean {
  return SIGNING_RULES.some(
    (rule) => rule.role === role && rule.predicateType === predicateType && rule.subject === subject,
  );
}
