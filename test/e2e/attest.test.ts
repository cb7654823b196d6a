import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { measureFirmwareForTdx } from "../../bundles/model/release-attestation.ts";
import { appraiseInCage } from "../../verify/attestation/appraise-in-cage.ts";
import { ATTESTATION_CHECKS, type AttestationVerdict } from "../../verify/attestation/attestation-verdict.ts";
import { type CommandResult, sealift } from "../support/command-line.ts";
import { scratch } from "../support/scratch.ts";
import { smallTdvf } from "../support/small-tdvf.ts";
import { amdCollateral, LEAST_POLICY, SKIP, vector, vectorFile } from "../verify/attestation/evidence.ts";

const BAD_JUDGE = "../../test/verify/attestation/bad-judge.js";
const NONCE = "00112233445566778899aabbccddeeff";

interface Setting {
  readonly directory: string;
  readonly verify: (...more: readonly string[]) => Promise<CommandResult>;
}

/** A genuine report, AMD's certificates and a policy that allows it, as files. */
async function genuine(t: TestContext, id: string): Promise<Setting> {
  const directory = await scratch(t);
  const row = vector(id);
  const path = (name: string): string => join(directory, name);
  await mkdir(path("collateral"));
  await writeFile(path("evidence"), vectorFile(row.files.report));
  await writeFile(path("collateral/vek"), vectorFile(row.files.vek));
  for (const { name, bytes } of amdCollateral()) await writeFile(path(`collateral/${name.replace("/", "-")}`), bytes);
  await writeFile(path("policy.json"), JSON.stringify({ ...LEAST_POLICY, measurements: [row.measurement] }));
  const args = ["--evidence", path("evidence"), "--collateral", path("collateral"), "--policy", path("policy.json")];
  return {
    directory,
    verify: (...more) => sealift(["attest", "verify", ...args, "--at", row.verifyAt, ...more]),
  };
}

test("attest verify: genuine evidence is allowed with 0, a debugged guest denied with 3", { skip: SKIP }, async (t) => {
  const good = await genuine(t, "milan-v3-ms");
  const allowed = await good.verify("--json");
  assert.equal(allowed.exit, 0, allowed.stderr);
  const verdict = JSON.parse(allowed.stdout) as AttestationVerdict;
  assert.deepEqual([verdict.decision, verdict.scope, verdict.time.source], ["allow", "advisory", "option"]);
  assert.ok(verdict.cage !== null, "the verdict says what stood around the process that read the evidence");
  const text = await good.verify();
  assert.match(text.stdout, /^ALLOWED\n/);
  assert.match(text.stdout, /not checked nonce/);
  const bad = await genuine(t, "milan-v2-debug-on");
  const denied = await bad.verify();
  assert.equal(denied.exit, 3);
  assert.match(denied.stdout, /^DENIED[\s\S]*FAIL +debug .*\[ATTEST_DEBUG_ALLOWED\]/);
});

test("attest verify: bad input ends with a code and nothing on stdout that could be taken for a verdict", {
  skip: SKIP,
}, async (t) => {
  const { directory, verify } = await genuine(t, "milan-v2");
  const ends = async (result: Promise<CommandResult>, exit: number, code: string): Promise<void> => {
    const got = await result;
    assert.equal(got.exit, exit, got.stderr);
    assert.match(got.stderr, new RegExp(`\\[${code}\\]`));
    assert.equal(got.stdout, "");
  };
  await ends(verify("--nonce", "zz"), 2, "USAGE");
  await ends(verify("--at", "yesterday"), 2, "USAGE");
  await ends(verify("--evidence", join(directory, "none")), 4, "FILE_NOT_FOUND");
  await ends(verify("--collateral", join(directory, "none")), 4, "FILE_NOT_FOUND");
  const weak = join(directory, "weak.json");
  await writeFile(weak, JSON.stringify({ ...LEAST_POLICY, measurements: "unchecked" }));
  await ends(verify("--policy", weak), 2, "ATTEST_POLICY_WEAK");
  await writeFile(join(directory, "collateral/notes.txt"), "remember the milk");
  const refused = await verify();
  assert.equal(refused.exit, 3);
  assert.match(refused.stdout, /notes\.txt.*\[ATTEST_CERTIFICATE_MALFORMED\]/);
});

test("attest simulate makes what attest verify calls simulated, with 3, and with a nonce of its own question", async (t) => {
  const directory = join(await scratch(t), "simulated");
  const made = await sealift(["attest", "simulate", "--out", directory, "--nonce", NONCE]);
  assert.equal(made.exit, 0, made.stderr);
  assert.deepEqual((await readdir(directory)).sort(), ["collateral", "evidence.json", "policy.json"]);
  const path = (name: string): string => join(directory, name);
  const args = [
    "--evidence",
    path("evidence.json"),
    "--collateral",
    path("collateral"),
    "--policy",
    path("policy.json"),
  ];
  const verify = async (nonce: string): Promise<[number | null, AttestationVerdict]> => {
    const { exit, stdout } = await sealift(["attest", "verify", ...args, "--nonce", nonce, "--json"]);
    return [exit, JSON.parse(stdout) as AttestationVerdict];
  };
  const [exit, verdict] = await verify(NONCE);
  assert.deepEqual([exit, verdict.decision], [3, "simulated"]);
  assert.deepEqual(
    verdict.findings.filter(({ status }) => status === "fail"),
    [],
  );
  const [otherExit, other] = await verify(`ff${NONCE.slice(2)}`);
  assert.deepEqual([otherExit, other.decision], [3, "deny"]);
  const again = await sealift(["attest", "simulate", "--out", directory]);
  assert.equal(again.exit, 4, "an existing file is not replaced");
});

test("attest challenge: a file for the VM, which attest verify takes until it expires and for its policy only", {
  skip: SKIP,
}, async (t) => {
  const { directory, verify } = await genuine(t, "milan-v2");
  const path = (name: string): string => join(directory, name);
  const make = (...more: readonly string[]) =>
    sealift(["attest", "challenge", "--policy", path("policy.json"), "--out", path("challenge"), ...more]);
  for (const bad of [
    ["--minutes", "0"],
    ["--release", "sha256:0"],
    ["--site", "x"],
  ]) {
    assert.equal((await make(...bad)).exit, 2, bad.join(" "));
  }
  const made = await make("--minutes", "5", "--json");
  assert.equal(made.exit, 0, made.stderr);
  assert.equal((await make()).exit, 4, "an existing challenge is not replaced");
  // The genuine report answers nobody's challenge; its policy leaves the nonce unchecked.
  const allowed = await verify("--challenge", path("challenge"));
  assert.match(allowed.stdout, /not checked nonce/);
  assert.equal(allowed.exit, 0);
  assert.equal((await verify("--challenge", path("challenge"), "--nonce", NONCE)).exit, 2, "one of both");
  await writeFile(path("policy.json"), JSON.stringify({ ...LEAST_POLICY, nonce: "required" }));
  const denied = await verify("--challenge", path("challenge"));
  assert.equal(denied.exit, 3);
  assert.match(denied.stdout, /\[ATTEST_CHALLENGE_POLICY\]/);
  await writeFile(path("challenge"), "{}");
  const malformed = await verify("--challenge", path("challenge"));
  assert.equal(malformed.exit, 2);
  assert.match(malformed.stderr, /\[ATTEST_CHALLENGE_MALFORMED\]/);
});

test("attest lint: what a policy leaves out, and what it would say of past evidence", { skip: SKIP }, async (t) => {
  const { directory } = await genuine(t, "milan-v2");
  const path = (name: string): string => join(directory, name);
  const past = [
    "--evidence",
    path("evidence"),
    "--collateral",
    path("collateral"),
    "--at",
    vector("milan-v2").verifyAt,
  ];
  const lint = (...args: readonly string[]) => sealift(["attest", "lint", ...args]);
  const alone = await lint(path("policy.json"));
  assert.equal(alone.exit, 0, alone.stderr);
  assert.match(alone.stdout, /unchecked +host-data/);
  const passes = await lint(path("policy.json"), ...past, "--json");
  assert.equal(passes.exit, 0, passes.stderr);
  const [dry] = JSON.parse(passes.stdout).past as { denied: unknown[]; findings: { check: string }[] }[];
  assert.deepEqual(dry?.denied, []);
  assert.deepEqual(
    dry?.findings.map(({ check }) => check),
    ATTESTATION_CHECKS,
    "each check, also those that were not made",
  );
  const dryText = await lint(path("policy.json"), ...past);
  assert.match(dryText.stdout, /pass +signature[\s\S]*not checked nonce +past evidence[\s\S]*not checked smt/);
  const wantsNonce = { ...LEAST_POLICY, measurements: [vector("milan-v2").measurement], nonce: "required" };
  await writeFile(path("nonce.json"), JSON.stringify(wantsNonce));
  assert.equal((await lint(path("nonce.json"), ...past)).exit, 0, "past evidence has another nonce");
  await writeFile(path("strict.json"), JSON.stringify({ ...LEAST_POLICY, revocation: { graceDays: 0 } }));
  const denies = await lint(path("strict.json"), ...past);
  assert.equal(denies.exit, 3);
  assert.match(denies.stdout, /WOULD DENY[\s\S]*ATTEST_CRL_MISSING[\s\S]*ATTEST_MEASUREMENT_UNKNOWN/);
  await writeFile(path("weak.json"), JSON.stringify({ ...LEAST_POLICY, measurements: [] }));
  assert.equal((await lint(path("weak.json"))).exit, 2);
  assert.equal((await lint(path("policy.json"), "--evidence", path("evidence"))).exit, 2);
});

test("attest measure: one digest for each number of processors, and which input differs", { skip: SKIP }, async (t) => {
  const directory = await scratch(t);
  const ovmf = new URL("../../../shared/vectors/launch-digest/ovmf_AmdSev_suffix.bin", import.meta.url).pathname;
  const empty = join(directory, "empty");
  await writeFile(empty, "");
  const args = ["--ovmf", ovmf, "--kernel", empty, "--initrd", empty, "--guest-features", "0x21", "--cpu", "EPYC-v4"];
  const measure = (...more: readonly string[]) => sealift(["attest", "measure", ...args, ...more]);
  // From vectors.json of the launch digests: four processors, an empty command line.
  const four = "4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942";
  const met = await measure("--vcpus", "1", "--vcpus", "4", "--expect", four, "--json");
  assert.equal(met.exit, 0, met.stderr);
  const { digests } = JSON.parse(met.stdout) as { digests: { vcpus: number; digest: string }[] };
  assert.deepEqual(
    digests.map(({ vcpus }) => vcpus),
    [1, 4],
  );
  assert.equal(digests[1]?.digest, four);
  const differs = await measure("--vcpus", "1", "--expect", four);
  assert.equal(differs.exit, 3);
  assert.match(differs.stdout, /processors: 4, not 1/);
  assert.match(differs.stdout, /root file system: no root hash in the command line/);
  const verity = await measure("--vcpus", "1", "--append", `root=/dev/vda roothash=${"ab".repeat(32)} ro`);
  assert.match(verity.stdout, /root file system: fixed by the root hash (?:ab){32}/);
  for (const bad of [["--vcpus", "0"], ["--vcpus", "1", "--cpu", "i386"], ["--vcpus", "1", "--vmm", "xen"], []]) {
    assert.equal((await measure(...bad)).exit, 2, bad.join(" "));
  }
  assert.equal((await measure("--vcpus", "1", "--kernel", join(directory, "none"))).exit, 4);
});

test("attest measure --tdx: MRTD in both orders, and nothing that is not measured there", async (t) => {
  const directory = await scratch(t);
  const ovmf = join(directory, "ovmf");
  await writeFile(ovmf, smallTdvf());
  const measure = (...more: readonly string[]) => sealift(["attest", "measure", "--tdx", "--ovmf", ovmf, ...more]);
  const [first, second] = measureFirmwareForTdx(smallTdvf());
  const met = await measure("--expect", second?.mrTd ?? "", "--json");
  assert.equal(met.exit, 0, met.stderr);
  assert.deepEqual((JSON.parse(met.stdout) as { mrTds: unknown }).mrTds, [first, second]);
  assert.equal((await measure("--expect", "0a".repeat(48))).exit, 3);
  assert.equal((await measure("--vcpus", "1")).exit, 2);
  await writeFile(ovmf, Buffer.alloc(4096));
  assert.match((await measure()).stderr, /\[ATTEST_OVMF_MALFORMED\]/);
});

test("attest collect on a machine that is no confidential VM ends with 4 and writes nothing", async (t) => {
  const directory = await scratch(t);
  const { exit, stderr } = await sealift(["attest", "collect", "--nonce", NONCE, "--out", join(directory, "evidence")]);
  if (exit === 0) return t.skip("this machine is a confidential VM");
  assert.equal(exit, 4, stderr);
  assert.match(stderr, /\[ATTEST_TSM_(?:UNAVAILABLE|DENIED)\]/);
  assert.deepEqual(await readdir(directory), []);
});

test("what the caged process answers is believed only if it answers the question and follows from its findings", async () => {
  const ask = (how: string) =>
    appraiseInCage(
      {
        evidence: Buffer.from("evidence"),
        collateral: [],
        policyBytes: canonicalJson({ ...LEAST_POLICY, name: how }),
        nonce: null,
        time: { at: "2026-07-01T00:00:00.000Z", source: "option" },
      },
      BAD_JUDGE,
    );
  assert.equal((await ask("honest")).decision, "allow", "the same answer without a lie is taken");
  for (const how of ["dies", "garbage", "other-question", "no-verdict", "lies", "other-evidence", "more-assurance"]) {
    await assert.rejects(ask(how), (error) => (error as { code?: string }).code === "CAGE_FAILED", how);
  }
});
