/** The policy that the simulator's evidence meets: for demonstrations, and for the control beside the canaries. */
import type { AttestationPolicy } from "./attestation-policy.ts";
import { SIMULATED_TCB, type Simulator } from "./simulator.ts";

/** Every rule that the simulated platform meets; the others say unchecked. */
export function simulatedPolicyFor(simulator: Simulator, measurement: Buffer, withNonce: boolean): AttestationPolicy {
  const { fmc: _, ...minimumTcb } = SIMULATED_TCB;
  return {
    schemaVersion: 1,
    name: "simulated",
    kind: "sev-snp-simulated",
    simulatedRoot: simulator.root,
    products: { [simulator.product]: { minimumTcb, minimumListNumber: 1 } },
    revocation: { graceDays: 0 },
    reportVersions: [3, 5],
    signers: ["vcek"],
    nonce: withNonce ? "required" : "unchecked",
    measurements: [measurement.toString("hex")],
    rootfs: [measurement.toString("hex")],
    vtpm: "unchecked",
    guest: {
      debug: "refused",
      migration: "refused",
      smt: "unchecked",
      cxl: "refused",
      singleSocket: "unchecked",
      memoryAes256Xts: "unchecked",
      raplDisabled: "unchecked",
      ciphertextHiding: "unchecked",
      pageSwapDisabled: "unchecked",
      minimumAbi: "unchecked",
      maximumVmpl: 0,
      minimumSvn: "unchecked",
    },
    hostData: "unchecked",
    idKeys: "unchecked",
    authorKeys: "unchecked",
    chips: [simulator.chipId.toString("hex")],
    platform: {
      aliasCheck: "required",
      smt: "unchecked",
      tsme: "unchecked",
      ecc: "required",
      raplDisabled: "unchecked",
      ciphertextHiding: "unchecked",
    },
    mitigations: { launch: "unchecked", current: "unchecked" },
    firmware: { provisional: "refused", minimum: "1.55.29" },
    revoked: { chips: [], keys: [] },
  };
}
