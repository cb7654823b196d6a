/** What a verification has found so far. */
import type { BundleRelease } from "../bundles/layout/contents.ts";
import type { Digest } from "../bundles/model/digest.ts";
import { reasonOf, SealiftError } from "../bundles/model/sealift-error.ts";
import type { Role } from "../bundles/model/signing-roles.ts";
import type { ProvenanceOutcome } from "./checks/provenance-shape.ts";
import type { Signed } from "./checks/signatures.ts";
import { isTrustKey } from "./trust/trust.ts";
import {
  CHECKS,
  type Check,
  erred,
  type Finding,
  failed,
  notChecked,
  sortFindings,
  type VerdictProvenance,
  type VerdictSignature,
} from "./verdict.ts";

/** Findings as they come, and the one place where an exception becomes one. */
export class Report {
  readonly #findings: Finding[] = [];
  readonly #signed: Signed[] = [];
  readonly #provenance: VerdictProvenance[] = [];
  release: BundleRelease | undefined;

  add(...findings: readonly Finding[]): void {
    this.#findings.push(...findings);
  }

  addSigned(signed: readonly Signed[]): void {
    this.#signed.push(...signed);
  }

  addProvenance(...outcomes: readonly ProvenanceOutcome[]): void {
    for (const { finding, made } of outcomes) {
      this.add(finding);
      if (made) this.#provenance.push(made);
    }
  }

  get provenance(): readonly VerdictProvenance[] {
    return this.#provenance;
  }

  /** What was signed, by the names that the release gives; each signature once, though it lies there in two forms. */
  signatures(): VerdictSignature[] {
    const images = this.release?.manifest.images ?? [];
    const nameOf = (subject: Digest): string => images.find(({ digest }) => digest === subject)?.name ?? "release";
    const once = new Map<string, VerdictSignature>();
    for (const { subject, predicateType, role, key, object, at } of this.#signed) {
      const id = `${subject} ${predicateType} ${key.fingerprint}`;
      const objects = [...new Set([...(once.get(id)?.objects ?? []), object])].sort();
      const certificate = isTrustKey(key) ? null : { identity: key.identity, issuer: key.issuer, at: at ?? "" };
      const signer = { role, holder: key.holder, key: key.fingerprint, certificate };
      once.set(id, { subject, name: nameOf(subject), predicateType, ...signer, objects });
    }
    return [...once.values()];
  }

  get signed(): readonly Signed[] {
    return this.#signed;
  }

  /** Holders who signed the release itself as `role`. */
  releaseSigners(role: Role): string[] {
    const subject = this.release?.descriptor.digest;
    const own = this.#signed.filter((one) => one.role === role && one.subject === subject);
    return [...new Set(own.map(({ key }) => key.holder))].sort();
  }

  /** The result of `work`; if it throws, a finding and undefined. */
  try<T>(check: Check, subject: string, work: () => T): T | undefined {
    try {
      return work();
    } catch (cause) {
      this.#refuse(check, subject, cause);
      return undefined;
    }
  }

  /** `try` for work that takes its time. */
  async attempt<T>(check: Check, subject: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (cause) {
      this.#refuse(check, subject, cause);
      return undefined;
    }
  }

  #refuse(check: Check, subject: string, cause: unknown): void {
    if (cause instanceof SealiftError) this.add(failed(check, subject, cause.code, cause.message));
    else this.add(erred(check, subject, reasonOf(cause)));
  }

  /** A check without any finding was not made; say so rather than leave it out. */
  fillGaps(reason: string): void {
    for (const check of CHECKS) {
      if (!this.#findings.some((finding) => finding.check === check)) this.add(notChecked(check, "release", reason));
    }
  }

  sorted(): Finding[] {
    return sortFindings(this.#findings);
  }
}
