/** The TDX platforms of the tests: of one time, so that their verdicts are the same each day. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { TdxSimulator, type TdxSimulatorOptions } from "../../verify/attestation/tdx-simulator.ts";

export const TDX_FROM = new Date("2026-01-01T00:00:00Z");
export const TDX_AT = "2026-01-15T00:00:00.000Z";

/** A platform whose collateral begins at TDX_FROM, and holds at TDX_AT. */
export class TdxPlatform extends TdxSimulator {
  constructor(options: TdxSimulatorOptions = {}) {
    super({ notBefore: TDX_FROM, ...options });
  }
}

/** A key that nobody has vouched for. */
export function strangerKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}
