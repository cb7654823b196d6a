/** Questions about quotes of a platform of this run, for the tests of TDX. */
import { canonicalJson } from "../../../bundles/model/canonical-json.ts";
import type { ReferenceValues } from "../../../verify/attestation/appraise.ts";
import { appraiseEvidence } from "../../../verify/attestation/appraise-evidence.ts";
import type { AttestationVerdict } from "../../../verify/attestation/attestation-verdict.ts";
import type { TdxPolicy } from "../../../verify/attestation/tdx-policy.ts";
import {
  MR_TD,
  PCE_SVN,
  type QuoteFields,
  RTMRS,
  SGX_COMPONENTS,
  TDX_FMSPC,
} from "../../../verify/attestation/tdx-simulator.ts";
import { TDX_AT, TdxPlatform } from "../../support/tdx-platform.ts";

export const tdxPlatform = new TdxPlatform();
const [RTMR0 = "", RTMR1 = "", RTMR2 = "", RTMR3 = ""] = RTMRS.map((register) => register.toString("hex"));

/** Looks at nothing but what cannot be left out. */
export const LEAST_TDX_POLICY: TdxPolicy = {
  schemaVersion: 1,
  name: "least",
  kind: "tdx",
  platforms: {
    [TDX_FMSPC]: {
      minimumTcb: { tdx: [5, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], sgx: SGX_COMPONENTS, pceSvn: PCE_SVN },
      minimumEvaluationNumber: 18,
    },
  },
  revocation: "unchecked",
  minimumListNumbers: { root: 1, platform: 1 },
  collateral: { graceDays: 0 },
  quoteVersions: [4, 5],
  nonce: "unchecked",
  tcbStatuses: ["UpToDate"],
  acceptedAdvisories: "unchecked",
  measurements: [{ mrTd: MR_TD.toString("hex"), rtmrs: [RTMR0, RTMR1, RTMR2, RTMR3], fixesRootfs: false }],
  rootfs: "unchecked",
  guest: {
    debug: "refused",
    migration: "unchecked",
    septVeDisable: "unchecked",
    perfmon: "unchecked",
    keyLocker: "unchecked",
    otherAttributes: "unchecked",
    xfam: "unchecked",
  },
  configIds: "unchecked",
  owners: "unchecked",
  ownerConfigs: "unchecked",
  serviceTds: "unchecked",
  modules: "unchecked",
  chips: "unchecked",
  platformSmt: "unchecked",
  revoked: { chips: [], keys: [] },
};

export interface TdxCase {
  readonly by?: TdxPlatform;
  readonly fields?: QuoteFields;
  readonly evidence?: Buffer;
  readonly policy?: Partial<TdxPolicy>;
  /** Files that replace those of the same name, or are left out (null). */
  readonly files?: Readonly<Record<string, Buffer | null>>;
  readonly nonce?: Buffer;
  readonly at?: string;
  readonly reference?: ReferenceValues;
}

/** The verdict under a policy of kind `tdx-simulated` that names the platform's root, unless `policy` says otherwise. */
export function judgeTdx({
  by = tdxPlatform,
  fields,
  evidence,
  policy,
  files = {},
  nonce,
  at = TDX_AT,
  reference,
}: TdxCase = {}): AttestationVerdict {
  const kept = by.collateral().flatMap(({ name, bytes }) => {
    const replaced = name in files ? files[name] : bytes;
    return replaced ? [{ name, bytes: replaced }] : [];
  });
  const names = kept.map(({ name }) => name);
  const added = Object.entries(files).flatMap(([name, bytes]) =>
    bytes && !names.includes(name) ? [{ name, bytes }] : [],
  );
  const { simulatedRoot, ...rest } = { kind: "tdx-simulated", simulatedRoot: by.root, ...policy } as const;
  return appraiseEvidence({
    evidence: evidence ?? by.quote(fields),
    collateral: [...kept, ...added],
    policyBytes: canonicalJson({
      ...LEAST_TDX_POLICY,
      ...rest,
      ...(rest.kind === "tdx-simulated" && { simulatedRoot }),
    }),
    nonce: nonce ?? null,
    reference: reference ?? null,
    time: { at, source: "option" },
  });
}
