/**
 * The policy under which evidence is appraised: a JSON file that the relying party owns. Every member must be
 * there; what is not to be looked at says "unchecked", so that a reader sees it. What would make the whole
 * appraisal worthless (no measurement, no minimum TCB, debugging allowed) cannot be left out: `lintPolicy`.
 */
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { NAME_PATTERN } from "../../bundles/model/release-manifest.ts";
import { type JsonSchema, schemaProblem } from "../../bundles/model/schema.ts";
import type { AttestationCheck } from "./attestation-verdict.ts";
import { attestationError } from "./error.ts";
import {
  closed,
  digest,
  hex,
  integer,
  list,
  or,
  type RevocationRule,
  refused,
  required,
  revocationRule,
  someOf,
  UNCHECKED,
  type Unchecked,
} from "./policy-schema.ts";
import { SNP_PRODUCTS, type SnpProduct, type Tcb, tcbPartsOf } from "./snp-product.ts";
import { SNP_REPORT_VERSIONS, type SnpSigner } from "./snp-report.ts";
import { lintTdxPolicy, type TdxPolicy, tdxPolicySchema } from "./tdx-policy.ts";

export const ATTESTATION_POLICY_MAX_BYTES = 256 * 1024;

/** As `measurements`: the launch digests of a release, from its signed manifest. */
export const OF_RELEASE = "release";

export interface ProductRule {
  /** The least of each part that the product has, for the reported, current, committed and launch TCB alike. */
  readonly minimumTcb: Readonly<Partial<Tcb>> | Unchecked;
  /** No revocation list with a smaller number: whoever shows an older one wants a revocation forgotten. */
  readonly minimumListNumber: number;
}

export interface AttestationPolicy {
  readonly schemaVersion: 1;
  readonly name: string;
  /** `sev-snp-simulated` judges the simulator's evidence only, and its verdict is never an allow. */
  readonly kind: "sev-snp" | "sev-snp-simulated";
  /** SHA-256 of the simulator's root key (SubjectPublicKeyInfo), for kind `sev-snp-simulated` only. */
  readonly simulatedRoot?: Digest;
  /** The processors that are allowed. */
  readonly products: Readonly<Partial<Record<SnpProduct, ProductRule>>>;
  readonly revocation: RevocationRule | Unchecked;
  readonly reportVersions: readonly number[];
  readonly signers: readonly SnpSigner[];
  readonly nonce: "required" | Unchecked;
  /** Launch digests, 96 hexadecimal digits each, or those of the release that is named when evidence is appraised. */
  readonly measurements: readonly string[] | typeof OF_RELEASE | Unchecked;
  /**
   * Those of `measurements` with which the root file system is fixed too, by a dm-verity root hash in the measured
   * command line or because all of it lies in the measured initrd. The policy's author says so; nothing here can tell.
   */
  readonly rootfs: readonly string[] | Unchecked;
  /**
   * Of evidence with a vTPM's quote (Azure): PCR → the values that it may have, 64 hexadecimal digits each. The launch
   * digest is the paravisor's there, and loader and kernel are in PCRs. Evidence without a quote is denied by it.
   */
  readonly vtpm: { readonly pcrs: Readonly<Record<string, readonly string[]>> } | Unchecked;
  readonly guest: {
    readonly debug: "refused" | Unchecked;
    readonly migration: "refused" | Unchecked;
    readonly smt: "refused" | Unchecked;
    readonly cxl: "refused" | Unchecked;
    readonly singleSocket: "required" | Unchecked;
    readonly memoryAes256Xts: "required" | Unchecked;
    readonly raplDisabled: "required" | Unchecked;
    readonly ciphertextHiding: "required" | Unchecked;
    readonly pageSwapDisabled: "required" | Unchecked;
    /** `MAJOR.MINOR` of the firmware ABI that the guest demanded. */
    readonly minimumAbi: string | Unchecked;
    readonly maximumVmpl: number | Unchecked;
    readonly minimumSvn: number | Unchecked;
  };
  /** 64 hexadecimal digits each. */
  readonly hostData: readonly string[] | Unchecked;
  /** SHA-384 of keys as AMD writes them, 96 hexadecimal digits each. */
  readonly idKeys: readonly string[] | Unchecked;
  readonly authorKeys: readonly string[] | Unchecked;
  /** CHIP_IDs, 128 hexadecimal digits each. */
  readonly chips: readonly string[] | Unchecked;
  readonly platform: {
    readonly aliasCheck: "required" | Unchecked;
    readonly smt: "refused" | Unchecked;
    readonly tsme: "required" | Unchecked;
    readonly ecc: "required" | Unchecked;
    readonly raplDisabled: "required" | Unchecked;
    readonly ciphertextHiding: "required" | Unchecked;
  };
  /** Bits that must all be set, in hexadecimal. */
  readonly mitigations: { readonly launch: string | Unchecked; readonly current: string | Unchecked };
  readonly firmware: {
    /** Firmware that is loaded but not committed can be rolled back by the host. */
    readonly provisional: "refused" | Unchecked;
    /** `MAJOR.MINOR.BUILD`, for the current and the committed firmware. */
    readonly minimum: string | Unchecked;
  };
  /** AMD's lists cannot name a chip: all its chip certificates have the serial number 0. */
  readonly revoked: {
    readonly chips: readonly string[];
    /** SHA-256 of public keys (SubjectPublicKeyInfo): of a chip's, an intermediate's or a root's certificate. */
    readonly keys: readonly Digest[];
  };
}

const version = (parts: number): object => ({
  type: "string",
  pattern: `^${Array(parts).fill("(?:0|[1-9][0-9]{0,2})").join("\\.")}$`,
});
const mask = { type: "string", pattern: "^0x[0-9a-f]{1,16}$" };
const byte = integer(0, 255);

function productRule(product: SnpProduct): object {
  const parts = Object.fromEntries(tcbPartsOf(product).map((part) => [part, byte]));
  return closed({ minimumTcb: or(closed(parts)), minimumListNumber: { type: "integer", minimum: 0 } });
}

const members = {
  schemaVersion: { const: 1 },
  name: { type: "string", pattern: NAME_PATTERN },
  kind: { enum: ["sev-snp", "sev-snp-simulated"] },
  products: {
    type: "object",
    additionalProperties: false,
    minProperties: 1,
    properties: Object.fromEntries(SNP_PRODUCTS.map((product) => [product, productRule(product)])),
  },
  revocation: revocationRule,
  reportVersions: someOf({ enum: [...SNP_REPORT_VERSIONS] }),
  signers: someOf({ enum: ["vcek", "vlek"] }),
  nonce: required,
  measurements: { anyOf: [list(hex(48)), { enum: [OF_RELEASE, UNCHECKED] }] },
  rootfs: or(someOf(hex(48))),
  vtpm: or(
    closed({
      pcrs: {
        type: "object",
        minProperties: 1,
        propertyNames: { type: "string", pattern: "^(?:[0-9]|1[0-9]|2[0-3])$" },
        additionalProperties: someOf(hex(32)),
      },
    }),
  ),
  guest: closed({
    debug: refused,
    migration: refused,
    smt: refused,
    cxl: refused,
    singleSocket: required,
    memoryAes256Xts: required,
    raplDisabled: required,
    ciphertextHiding: required,
    pageSwapDisabled: required,
    minimumAbi: or(version(2)),
    maximumVmpl: or({ type: "integer", minimum: 0, maximum: 3 }),
    minimumSvn: or({ type: "integer", minimum: 0, maximum: 2 ** 32 - 1 }),
  }),
  hostData: or(someOf(hex(32))),
  idKeys: or(someOf(hex(48))),
  authorKeys: or(someOf(hex(48))),
  chips: or(someOf(hex(64))),
  platform: closed({
    aliasCheck: required,
    smt: refused,
    tsme: required,
    ecc: required,
    raplDisabled: required,
    ciphertextHiding: required,
  }),
  mitigations: closed({ launch: or(mask), current: or(mask) }),
  firmware: closed({ provisional: refused, minimum: or(version(3)) }),
  revoked: closed({ chips: list(hex(64)), keys: list(digest) }),
};

/** Published as `sealift schema attestation-policy`. */
export const attestationPolicySchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift attestation policy",
  type: "object",
  additionalProperties: false,
  required: Object.keys(members),
  properties: { ...members, simulatedRoot: digest },
};

const ZERO_MEASUREMENT = "0".repeat(96);

/** Why the policy must not be used, one line each; empty if it may. */
export function lintPolicy(policy: AttestationPolicy): string[] {
  const problems: string[] = [];
  const { measurements } = policy;
  if (measurements === UNCHECKED || measurements.length === 0) {
    problems.push("measurements: there is none, so any software would be allowed");
  } else if (measurements !== OF_RELEASE && measurements.includes(ZERO_MEASUREMENT)) {
    problems.push("measurements: all zeros is the digest of nothing");
  }
  const known = measurements === OF_RELEASE ? policy.rootfs : measurements;
  const unknown = policy.rootfs === UNCHECKED ? [] : policy.rootfs.filter((digest) => !known.includes(digest));
  if (unknown.length > 0) problems.push(`rootfs: ${unknown[0]} is not one of measurements, so it would never count`);
  for (const [product, { minimumTcb }] of Object.entries(policy.products)) {
    if (minimumTcb === UNCHECKED || Object.values(minimumTcb).every((part) => part === 0)) {
      problems.push(`products.${product}.minimumTcb: there is none, so firmware with known holes would be allowed`);
    }
  }
  if (policy.guest.debug !== "refused") {
    problems.push("guest.debug: the host can read the memory of a guest that may be debugged");
  }
  problems.push(...vtpmProblems(policy.vtpm));
  if ((policy.kind === "sev-snp-simulated") !== (policy.simulatedRoot !== undefined)) {
    problems.push("simulatedRoot: it belongs to kind sev-snp-simulated, which needs it, and to no other");
  }
  return problems;
}

/** The PCRs into which firmware and loaders measure what they start: boot loader, grub's commands and files, unified kernel. */
const KERNEL_PCRS = ["4", "8", "9", "11"];
const UNMEASURED_PCRS = ["0".repeat(64), "f".repeat(64)];

function vtpmProblems(vtpm: AttestationPolicy["vtpm"]): string[] {
  if (vtpm === UNCHECKED) return [];
  const { pcrs } = vtpm;
  const empty = Object.entries(pcrs).flatMap(([pcr, values]) =>
    values.some((value) => UNMEASURED_PCRS.includes(value))
      ? [`vtpm.pcrs.${pcr}: a PCR into which nothing was measured says nothing`]
      : [],
  );
  if (KERNEL_PCRS.some((pcr) => pcr in pcrs)) return empty;
  return [...empty, `vtpm.pcrs: none of ${KERNEL_PCRS.join(", ")}, so any kernel would be allowed`];
}

/**
 * @throws ATTEST_POLICY_MALFORMED, naming the first member that is wrong, and ATTEST_POLICY_WEAK with all that
 * `lintPolicy` finds. Says nothing about whether the values are good ones for today: AMD publishes those as
 * security bulletins.
 */
export function parseAttestationPolicy(bytes: Buffer): { readonly policy: AnyPolicy; readonly digest: Digest } {
  const malformed = (problem: string, cause?: unknown): Error =>
    attestationError("ATTEST_POLICY_MALFORMED", `attestation policy: ${problem}`, {
      cause,
      hints: ["sealift schema attestation-policy prints what goes into it"],
    });
  if (bytes.length > ATTESTATION_POLICY_MAX_BYTES) {
    throw malformed(`got ${bytes.length} bytes, want at most ${ATTESTATION_POLICY_MAX_BYTES}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw malformed("not JSON in UTF-8", cause);
  }
  const schema = isTdx(value) ? tdxPolicySchema : attestationPolicySchema;
  const problem = schemaProblem(schema, value);
  if (problem !== undefined) throw malformed(problem);
  const policy = value as AnyPolicy;
  const weak = isTdxPolicy(policy) ? lintTdxPolicy(policy) : lintPolicy(policy);
  if (weak.length > 0) throw attestationError("ATTEST_POLICY_WEAK", `attestation policy: ${weak.join("; ")}`);
  return { policy, digest: digestOf(bytes) };
}

/** A policy for either kind of processor. */
export type AnyPolicy = AttestationPolicy | TdxPolicy;

export function isTdxPolicy(policy: AnyPolicy): policy is TdxPolicy {
  return isTdx(policy);
}

function isTdx(value: unknown): boolean {
  const { kind } = (value ?? {}) as { readonly kind?: unknown };
  return kind === "tdx" || kind === "tdx-simulated";
}

/** The checks that the policy itself says are not to be made. */
export function uncheckedBy(policy: AnyPolicy): ReadonlySet<AttestationCheck> {
  const members = isTdxPolicy(policy) ? tdxMembers(policy) : snpMembers(policy);
  const names = Object.entries(members).flatMap(([check, value]) => (value === UNCHECKED ? [check] : []));
  return new Set(names as AttestationCheck[]);
}

/** Check → the member that says whether it is made. */
type MembersByCheck = Partial<Record<AttestationCheck, unknown>>;

function tdxMembers(policy: TdxPolicy): MembersByCheck {
  const { guest } = policy;
  return {
    revocation: policy.revocation,
    "revocation-fresh": policy.revocation,
    nonce: policy.nonce,
    "tcb-advisories": policy.acceptedAdvisories,
    rootfs: policy.rootfs,
    migration: guest.migration,
    "sept-ve-disable": guest.septVeDisable,
    perfmon: guest.perfmon,
    "key-locker": guest.keyLocker,
    attributes: guest.otherAttributes,
    xfam: guest.xfam,
    "host-data": policy.configIds,
    owner: policy.owners,
    "owner-config": policy.ownerConfigs,
    "service-td": policy.serviceTds,
    "tdx-module-build": policy.modules,
    "chip-allowed": policy.chips,
    "platform-smt": policy.platformSmt,
  };
}

function snpMembers(policy: AttestationPolicy): MembersByCheck {
  const { guest, platform, mitigations, firmware } = policy;
  return {
    revocation: policy.revocation,
    "revocation-fresh": policy.revocation,
    nonce: policy.nonce,
    rootfs: policy.rootfs,
    "vtpm-quote": policy.vtpm,
    "vtpm-pcrs": policy.vtpm,
    migration: guest.migration,
    smt: guest.smt,
    cxl: guest.cxl,
    "single-socket": guest.singleSocket,
    "memory-aes-256-xts": guest.memoryAes256Xts,
    rapl: guest.raplDisabled,
    "ciphertext-hiding": guest.ciphertextHiding,
    "page-swap": guest.pageSwapDisabled,
    abi: guest.minimumAbi,
    vmpl: guest.maximumVmpl,
    "guest-svn": guest.minimumSvn,
    "host-data": policy.hostData,
    "id-key": policy.idKeys,
    "author-key": policy.authorKeys,
    "chip-allowed": policy.chips,
    "platform-alias-check": platform.aliasCheck,
    "platform-smt": platform.smt,
    "platform-tsme": platform.tsme,
    "platform-ecc": platform.ecc,
    "platform-rapl": platform.raplDisabled,
    "platform-ciphertext-hiding": platform.ciphertextHiding,
    "mitigations-launch": mitigations.launch,
    "mitigations-current": mitigations.current,
    firmware: firmware.minimum,
    "firmware-provisional": firmware.provisional,
  };
}
