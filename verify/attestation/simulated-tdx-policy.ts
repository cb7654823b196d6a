/** The policy that the simulated TDX platform's quotes meet: for demonstrations, and for the control beside the canaries. */
import type { TdxPolicy } from "./tdx-policy.ts";
import {
  MR_TD,
  PCE_SVN,
  PPID,
  RTMRS,
  SGX_COMPONENTS,
  TDX_FMSPC,
  type TdxSimulator,
  TEE_TCB_SVN,
  XFAM,
} from "./tdx-simulator.ts";

/** Every rule that the simulated platform meets; the others say unchecked. */
export function simulatedTdxPolicyFor(simulator: TdxSimulator, withNonce: boolean): TdxPolicy {
  const rtmrs = RTMRS.map((register) => register.toString("hex"));
  return {
    schemaVersion: 1,
    name: "simulated",
    kind: "tdx-simulated",
    simulatedRoot: simulator.root,
    platforms: {
      [TDX_FMSPC]: {
        minimumTcb: { tdx: TEE_TCB_SVN, sgx: SGX_COMPONENTS, pceSvn: PCE_SVN },
        minimumEvaluationNumber: 18,
      },
    },
    revocation: { graceDays: 0 },
    minimumListNumbers: { root: 1, platform: 1 },
    collateral: { graceDays: 0 },
    quoteVersions: [4, 5],
    nonce: withNonce ? "required" : "unchecked",
    tcbStatuses: ["UpToDate"],
    acceptedAdvisories: [],
    measurements: [{ mrTd: MR_TD.toString("hex"), rtmrs, fixesRootfs: true }],
    rootfs: "required",
    guest: {
      debug: "refused",
      migration: "refused",
      septVeDisable: "required",
      perfmon: "refused",
      keyLocker: "refused",
      otherAttributes: "refused",
      xfam: `0x${XFAM.toString(16)}`,
    },
    configIds: "unchecked",
    owners: "unchecked",
    ownerConfigs: "unchecked",
    serviceTds: ["00".repeat(48)],
    modules: "unchecked",
    chips: [PPID.toString("hex")],
    platformSmt: "refused",
    revoked: { chips: [], keys: [] },
  };
}
