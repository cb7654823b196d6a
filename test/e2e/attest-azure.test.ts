import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import type { AttestationVerdict } from "../../verify/attestation/attestation-verdict.ts";
import { simulatedPolicyFor } from "../../verify/attestation/simulated-policy.ts";
import { Simulator } from "../../verify/attestation/simulator.ts";
import { AzureMachine, PCR_VALUES } from "../support/azure-machine.ts";
import { type CommandResult, sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";
import { simulatedCollateral } from "../verify/attestation/evidence.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const NONCE = "00112233445566778899aabbccddeeff";

test("attest azure: it says what to ask the vTPM, and makes evidence of the answer that attest verify appraises", async (t) => {
  const directory = await scratch(t);
  const path = (name: string): string => join(directory, name);
  const notBefore = new Date(Date.now() - DAY_MS);
  const by = new Simulator({ rsaBits: 2048, notBefore });
  const machine = new AzureMachine(by);
  const measurement = Buffer.alloc(48, 7);
  const azure = (...more: readonly string[]): Promise<CommandResult> => sealift(["attest", "azure", ...more]);
  const asked = await azure("--nonce", NONCE, "--json");
  assert.equal(asked.exit, 0, asked.stderr);
  const { qualifyingData, commands } = JSON.parse(asked.stdout) as { qualifyingData: string; commands: string[] };
  assert.match(commands[1] ?? "", new RegExp(`^tpm2_quote -c 0x81000003 -l sha256:0,.* -q ${qualifyingData} `));
  const { quote, signature, pcrValues } = machine.quote({ extraData: Buffer.from(qualifyingData, "hex") });
  await writeFile(path("envelope"), machine.envelope({ measurement }));
  for (const [name, bytes] of Object.entries({ quote, signature, pcrs: pcrValues })) await writeFile(path(name), bytes);
  const files = ["envelope", "quote", "signature", "pcrs"].flatMap((name) => [`--${name}`, path(name)]);
  const packed = await azure("--nonce", NONCE, ...files, "--out", path("evidence.json"));
  assert.equal(packed.exit, 0, packed.stderr);
  await mkdir(path("collateral"));
  for (const { name, bytes } of simulatedCollateral(by)) await writeFile(path(`collateral/${name}`), bytes);
  const list = { number: 1, thisUpdate: notBefore, nextUpdate: new Date(Date.now() + DAY_MS) };
  await writeFile(path("collateral/ark.crl"), by.revocationList(list));
  const vtpm = { pcrs: { "4": [(PCR_VALUES[4] as Buffer).toString("hex")] } };
  await writeFile(path("policy.json"), canonicalJson({ ...simulatedPolicyFor(by, measurement, true), vtpm }));
  const args = [
    "--evidence",
    path("evidence.json"),
    "--collateral",
    path("collateral"),
    "--policy",
    path("policy.json"),
  ];
  const { exit, stdout } = await sealift(["attest", "verify", ...args, "--nonce", NONCE, "--json"]);
  const { decision, findings, assurance } = JSON.parse(stdout) as AttestationVerdict;
  assert.deepEqual([exit, decision, findings.filter(({ status }) => status === "fail")], [3, "simulated", []]);
  assert.ok(assurance.bootMeasured);
  const wrong = await azure("--nonce", `ff${NONCE.slice(2)}`, ...files, "--out", path("other.json"));
  assert.match(wrong.stderr, /answers another question/);
  await writeFile(path("pcrs"), pcrValues.subarray(32));
  const torn = await azure("--nonce", NONCE, ...files, "--out", path("torn.json"));
  assert.deepEqual([torn.exit, /\[ATTEST_VTPM_INVALID\]/.test(torn.stderr)], [3, true], torn.stderr);
  assert.equal((await azure("--nonce", NONCE, "--out", path("x"))).exit, 2);
  assert.equal((await azure("--envelope", path("envelope"))).exit, 2);
});
