import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { reasonOf } from "../../bundles/model/sealift-error.ts";
import { writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { reportDataOf } from "../../verify/attestation/report-data.ts";
import { simulatedPolicyFor } from "../../verify/attestation/simulated-policy.ts";
import { Simulator } from "../../verify/attestation/simulator.ts";
import { installerError } from "../error.ts";
import { writeNew } from "../host/write-new.ts";
import { readNonce } from "./attest-input.ts";
import { type Command, optionalOption, positionals, requiredOption } from "./command.ts";

const NAME = "attest simulate";
const DAY_MS = 24 * 60 * 60 * 1000;

export const attestSimulate: Command = {
  name: NAME,
  summary: "make evidence of a processor that is none, to try attest verify without the hardware",
  usage: "--out DIR [--nonce HEX]",
  details: [
    "--out DIR    a new directory: evidence.json, collateral/ and policy.json",
    "--nonce HEX  16 to 64 bytes; the policy then asks for it",
    "SIMULATED – NOT AMD: the keys are made in this run and thrown away, the certificates say what they are,",
    "and no policy for real machines takes them. attest verify ends with 3 for this evidence, always.",
  ],
  options: { out: { type: "string" }, nonce: { type: "string" } },
  run: async (invocation) => {
    positionals(invocation, NAME);
    const directory = requiredOption(invocation, NAME, "out");
    const nonce = readNonce(NAME, optionalOption(invocation, "nonce"));
    const now = new Date();
    const simulator = new Simulator({ notBefore: new Date(now.getTime() - DAY_MS) });
    const measurement = createHash("sha384").update("a guest that never was").digest();
    const report = simulator.report({ measurement, ...(nonce && { reportData: reportDataOf(nonce) }) });
    const list = {
      number: 1,
      thisUpdate: new Date(now.getTime() - DAY_MS),
      nextUpdate: new Date(now.getTime() + 46 * DAY_MS),
    };
    const files: readonly (readonly [string, Uint8Array])[] = [
      ["evidence.json", writeCollectedEvidence("simulator", report, Buffer.alloc(0))],
      ["policy.json", canonicalJson(simulatedPolicyFor(simulator, measurement, nonce !== null))],
      ["collateral/ark.der", simulator.rootCertificate],
      ["collateral/ask.der", simulator.intermediateCertificate],
      ["collateral/vcek.der", simulator.leafCertificate()],
      ["collateral/ark.crl", simulator.revocationList(list)],
    ];
    await mkdir(join(directory, "collateral"), { recursive: true }).catch((cause: unknown) => {
      throw installerError("FILE_WRITE_FAILED", `destination ${JSON.stringify(directory)}: ${reasonOf(cause)}`, {
        cause,
      });
    });
    for (const [name, bytes] of files) await writeNew(join(directory, name), bytes);
    const { terminal } = invocation;
    const next = `sealift attest verify --evidence ${join(directory, "evidence.json")} --collateral ${join(directory, "collateral")} --policy ${join(directory, "policy.json")}`;
    terminal.result("SIMULATED – NOT AMD: this evidence proves nothing about any machine");
    terminal.result(`next: ${next}${nonce === null ? "" : ` --nonce ${nonce.toString("hex")}`}`);
    terminal.document({ simulated: true, directory, files: files.map(([name]) => name) });
    return 0;
  },
};
