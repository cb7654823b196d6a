/**
 * The policy under which evidence of Intel TDX is appraised. As with SEV-SNP (attestation-policy.ts) every member must
 * be there, and what would make the appraisal worthless cannot be left out: `lintTdxPolicy`.
 */
import type { Digest } from "../../bundles/model/digest.ts";
import { NAME_PATTERN } from "../../bundles/model/release-manifest.ts";
import type { JsonSchema } from "../../bundles/model/schema.ts";
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
import { TCB_COMPONENTS } from "./sgx-extension.ts";
import { TCB_STATUSES, type TcbStatus } from "./tdx-collateral.ts";
import { TDX_QUOTE_VERSIONS } from "./tdx-quote.ts";

export interface TdxPlatformRule {
  /** The least of each component, for the launch and the current TCB of the TD alike. */
  readonly minimumTcb:
    | {
        /** TEE_TCB_SVN: the TDX module, its major version, the loader and so on; 16 numbers. */
        readonly tdx: readonly number[];
        /** The SGX components of the platform's certificate; 16 numbers. */
        readonly sgx: readonly number[];
        readonly pceSvn: number;
      }
    | Unchecked;
  /** No TCB info with a smaller tcbEvaluationDataNumber: whoever shows an older one wants an advisory forgotten. */
  readonly minimumEvaluationNumber: number;
}

/** One start that is allowed. Registers belong together: each by itself could be another start's. */
export interface TdxMeasurement {
  /** 96 hexadecimal digits: the firmware with which the TD was made. */
  readonly mrTd: string;
  /** RTMR0 to RTMR3. In most systems: the machine's description, loader and kernel, command line and initrd, applications. */
  readonly rtmrs: readonly (string | Unchecked)[];
  /** That this start fixes the root file system too, as `rootfs` in a policy for SEV-SNP. The author says so. */
  readonly fixesRootfs: boolean;
}

export interface TdxPolicy {
  readonly schemaVersion: 1;
  readonly name: string;
  /** `tdx-simulated` judges the evidence of tests only, and its verdict is never an allow. */
  readonly kind: "tdx" | "tdx-simulated";
  readonly simulatedRoot?: Digest;
  /** By FMSPC, 12 hexadecimal digits: the families of platforms that are allowed. */
  readonly platforms: Readonly<Record<string, TdxPlatformRule>>;
  readonly revocation: RevocationRule | Unchecked;
  /** No revocation list with a smaller number, of the root and of the platform's authority. Intel's have been 1 so far. */
  readonly minimumListNumbers: { readonly root: number; readonly platform: number };
  /** How long after their next update TCB info and the enclave's identity are still taken, in days. */
  readonly collateral: { readonly graceDays: number };
  readonly quoteVersions: readonly number[];
  readonly nonce: "required" | Unchecked;
  /** What Intel may say of platform, module and quoting enclave together. */
  readonly tcbStatuses: readonly TcbStatus[];
  /** The advisories that may be open; any other denies. */
  readonly acceptedAdvisories: readonly string[] | Unchecked;
  readonly measurements: readonly TdxMeasurement[] | Unchecked;
  readonly rootfs: "required" | Unchecked;
  readonly guest: {
    readonly debug: "refused" | Unchecked;
    readonly migration: "refused" | Unchecked;
    readonly septVeDisable: "required" | Unchecked;
    readonly perfmon: "refused" | Unchecked;
    readonly keyLocker: "refused" | Unchecked;
    /** Attributes that are not known here. */
    readonly otherAttributes: "refused" | Unchecked;
    /** The extended features that the TD may use: bits in hexadecimal; any other denies. */
    readonly xfam: string | Unchecked;
  };
  /** MRCONFIGID, MROWNER, MROWNERCONFIG and MRSERVICETD: 96 hexadecimal digits each. */
  readonly configIds: readonly string[] | Unchecked;
  readonly owners: readonly string[] | Unchecked;
  readonly ownerConfigs: readonly string[] | Unchecked;
  readonly serviceTds: readonly string[] | Unchecked;
  /** MRSEAM: which builds of the TDX module, beside what Intel's TCB info says of it. */
  readonly modules: readonly string[] | Unchecked;
  /** PPIDs: 32 hexadecimal digits each. */
  readonly chips: readonly string[] | Unchecked;
  readonly platformSmt: "refused" | Unchecked;
  readonly revoked: { readonly chips: readonly string[]; readonly keys: readonly Digest[] };
}

const components = { type: "array", minItems: TCB_COMPONENTS, maxItems: TCB_COMPONENTS, items: integer(0, 255) };
const registers = { type: "array", minItems: 4, maxItems: 4, items: or(hex(48)) };
const members = {
  schemaVersion: { const: 1 },
  name: { type: "string", pattern: NAME_PATTERN },
  kind: { enum: ["tdx", "tdx-simulated"] },
  platforms: {
    type: "object",
    minProperties: 1,
    maxProperties: 64,
    propertyNames: { type: "string", pattern: "^[0-9a-f]{12}$" },
    additionalProperties: closed({
      minimumTcb: or(closed({ tdx: components, sgx: components, pceSvn: integer(0, 0xffff) })),
      minimumEvaluationNumber: integer(1),
    }),
  },
  revocation: revocationRule,
  minimumListNumbers: closed({ root: integer(0), platform: integer(0) }),
  collateral: closed({ graceDays: integer(0, 366) }),
  quoteVersions: someOf({ enum: [...TDX_QUOTE_VERSIONS] }),
  nonce: required,
  tcbStatuses: someOf({ enum: [...TCB_STATUSES] }),
  acceptedAdvisories: or(list({ type: "string", pattern: "^INTEL-[A-Z]{2}-[0-9]{5}$" })),
  measurements: or(list(closed({ mrTd: hex(48), rtmrs: registers, fixesRootfs: { type: "boolean" } }))),
  rootfs: required,
  guest: closed({
    debug: refused,
    migration: refused,
    septVeDisable: required,
    perfmon: refused,
    keyLocker: refused,
    otherAttributes: refused,
    xfam: or({ type: "string", pattern: "^0x[0-9a-f]{1,16}$" }),
  }),
  configIds: or(someOf(hex(48))),
  owners: or(someOf(hex(48))),
  ownerConfigs: or(someOf(hex(48))),
  serviceTds: or(someOf(hex(48))),
  modules: or(someOf(hex(48))),
  chips: or(someOf(hex(16))),
  platformSmt: refused,
  revoked: closed({ chips: list(hex(16)), keys: list(digest) }),
};

/** Published as `sealift schema attestation-policy-tdx`. */
export const tdxPolicySchema: JsonSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "Sealift attestation policy for Intel TDX",
  type: "object",
  additionalProperties: false,
  required: Object.keys(members),
  properties: { ...members, simulatedRoot: digest },
};

/** Platform, module or enclave with holes that are known and mended. */
const HOLES: readonly TcbStatus[] = ["OutOfDate", "OutOfDateConfigurationNeeded", "Revoked"];
const ZERO_MEASUREMENT = "0".repeat(96);

/** Why the policy must not be used, one line each; empty if it may. */
export function lintTdxPolicy(policy: TdxPolicy): string[] {
  const problems: string[] = [];
  const { measurements, platforms, tcbStatuses, guest } = policy;
  if (measurements === UNCHECKED || measurements.length === 0) {
    problems.push("measurements: there is none, so any software would be allowed");
  } else problems.push(...measurements.flatMap(measurementProblems));
  for (const [platform, { minimumTcb }] of Object.entries(platforms)) {
    if (minimumTcb === UNCHECKED || minimumTcb.tdx.every((part) => part === 0)) {
      problems.push(
        `platforms.${platform}.minimumTcb: there is none, so a TDX module with known holes would be allowed`,
      );
    }
  }
  for (const status of tcbStatuses.filter((one) => HOLES.includes(one))) {
    problems.push(`tcbStatuses: ${status} is what Intel calls a platform with known holes`);
  }
  if (guest.debug !== "refused") {
    problems.push("guest.debug: the host can read the memory of a TD that may be debugged");
  }
  if ((policy.kind === "tdx-simulated") !== (policy.simulatedRoot !== undefined)) {
    problems.push("simulatedRoot: it belongs to kind tdx-simulated, which needs it, and to no other");
  }
  return problems;
}

function measurementProblems({ mrTd, rtmrs }: TdxMeasurement, i: number): string[] {
  const [, loader, kernel] = rtmrs;
  return [
    ...(mrTd === ZERO_MEASUREMENT ? [`measurements[${i}].mrTd: all zeros is the digest of nothing`] : []),
    ...(loader === UNCHECKED && kernel === UNCHECKED
      ? [`measurements[${i}].rtmrs: neither RTMR1 nor RTMR2, so any kernel would be allowed`]
      : []),
  ];
}
