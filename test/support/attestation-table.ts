/**
 * Prints each attestation vector with what is expected and what came out, as a Markdown table: SEV-SNP reports,
 * launch digests, TDX quotes (SEALIFT_TDX_VECTORS), Azure's vTPMs (SEALIFT_AZURE_VECTORS), and a simulated and an impostor's platform of this run. Ends with 1 if one
 * differs. Usage: node test/support/attestation-table.ts
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  commandLineHash,
  EMPTY_HASH,
  type KernelHashes,
  measureLaunch,
} from "../../bundles/model/launch-measurement.ts";
import { readOvmf } from "../../bundles/model/ovmf.ts";
import type { Vmm } from "../../bundles/model/processor-state.ts";
import type { AttestationVerdict } from "../../verify/attestation/attestation-verdict.ts";
import { AZURE_SKIP, azureVectors, judgeAzureVector } from "../verify/attestation/azure-vectors.ts";
import { EXPECTED, failures, judgeVector, SKIP, vectors } from "../verify/attestation/evidence.ts";
import { judgeTdx } from "../verify/attestation/tdx-evidence.ts";
import { judgeTdxVector, TDX_SKIP, tdxVectors } from "../verify/attestation/tdx-vectors.ts";
import { TdxPlatform } from "./tdx-platform.ts";

interface TableRow {
  readonly vector: string;
  readonly expected: string;
  readonly got: string;
}

interface LaunchRow {
  readonly name: string;
  readonly ovmfFile: string;
  readonly vcpus: number;
  readonly vcpuSig: number;
  readonly features: string;
  readonly vmm: Vmm;
  readonly kernel: "empty" | null;
  readonly cmdline: string | null;
  readonly ovmfHashSeed: string | null;
  readonly expected: string;
}

const LAUNCH_DIRECTORY = new URL("../../../shared/vectors/launch-digest/", import.meta.url).pathname;

/** e.g. `deny: debug ATTEST_DEBUG_ALLOWED` */
function verdictText(decision: string, failed: Readonly<Record<string, string | undefined>>): string {
  const codes = Object.entries(failed).map(([check, code]) => `${check} ${code}`);
  return codes.length === 0 ? decision : `${decision}: ${codes.join(", ")}`;
}

const gotOf = (verdict: AttestationVerdict): string => verdictText(verdict.decision, failures(verdict));

function expectedOf(failed: Readonly<Record<string, string>>): string {
  return verdictText(Object.keys(failed).length === 0 ? "allow" : "deny", failed);
}

function snpRows(): TableRow[] {
  return vectors().map((row) => ({
    vector: `SEV-SNP ${row.id}`,
    expected: expectedOf(EXPECTED[row.id] ?? {}),
    got: gotOf(judgeVector(row)),
  }));
}

function launchRows(): TableRow[] {
  const file = (name: string): Buffer => readFileSync(`${LAUNCH_DIRECTORY}${name}`);
  const rows = (JSON.parse(file("launch-digests.json").toString()) as { vectors: LaunchRow[] }).vectors;
  return rows.map((row) => {
    const hashes: KernelHashes = {
      kernel: EMPTY_HASH,
      initrd: EMPTY_HASH,
      commandLine: commandLineHash(row.cmdline ?? ""),
    };
    const inputs = {
      ovmf: readOvmf(file(row.ovmfFile)),
      vmm: row.vmm,
      vcpus: row.vcpus,
      cpuSignature: row.vcpuSig,
      guestFeatures: BigInt(row.features),
      kernelHashes: row.kernel === null ? null : hashes,
    };
    const seed = row.ovmfHashSeed === null ? undefined : Buffer.from(row.ovmfHashSeed, "hex");
    const got = measureLaunch(inputs, seed).toString("hex");
    return { vector: `launch ${row.name}`, expected: row.expected, got };
  });
}

function tdxRows(): TableRow[] {
  return tdxVectors().map((row) => ({
    vector: `TDX ${row.id}`,
    expected: expectedOf(row.failures),
    got: gotOf(judgeTdxVector(row)),
  }));
}

function azureRows(): TableRow[] {
  return azureVectors().map((row) => ({
    vector: `Azure ${row.id}`,
    expected: expectedOf(row.failures),
    got: gotOf(judgeAzureVector(row)),
  }));
}

/** Made here: what no policy for real machines may take. */
function ownRows(): TableRow[] {
  const impostor = new TdxPlatform({ impostor: true });
  const unknown = "deny: chain ATTEST_ROOT_UNKNOWN";
  return [
    { vector: "TDX simulated, under its own policy", expected: "simulated", got: gotOf(judgeTdx()) },
    {
      vector: "TDX simulated, under a policy for Intel",
      expected: unknown,
      got: gotOf(judgeTdx({ policy: { kind: "tdx" } })),
    },
    {
      vector: "TDX impostor with Intel's names",
      expected: unknown,
      got: gotOf(judgeTdx({ by: impostor, policy: { kind: "tdx" } })),
    },
  ];
}

/** Every row that can be made here, and why the others cannot. */
export function attestationTable(): { readonly rows: readonly TableRow[]; readonly absent: readonly string[] } {
  const absent = [SKIP, TDX_SKIP, AZURE_SKIP].flatMap((reason) => (typeof reason === "string" ? [reason] : []));
  return {
    rows: [
      ...(SKIP === false ? [...snpRows(), ...launchRows()] : []),
      ...(TDX_SKIP === false ? tdxRows() : []),
      ...(AZURE_SKIP === false ? azureRows() : []),
      ...ownRows(),
    ],
    absent,
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { rows, absent } = attestationTable();
  const same = (row: TableRow): boolean => row.expected === row.got;
  console.log("| vector | expected | got | |\n|---|---|---|---|");
  for (const row of rows)
    console.log(`| ${row.vector} | ${row.expected} | ${row.got} | ${same(row) ? "as expected" : "DIFFERS"} |`);
  for (const reason of absent) console.log(`\nnot run: ${reason}`);
  console.log(`\n${rows.filter(same).length} of ${rows.length} as expected`);
  process.exitCode = rows.every(same) ? 0 : 1;
}
