import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { canonicalJson } from "../../bundles/model/canonical-json.ts";
import { fetchCollateral } from "../../installer/host/fetch-collateral.ts";
import type { AttestationVerdict } from "../../verify/attestation/attestation-verdict.ts";
import { COLLATERAL_NAMESPACE } from "../../verify/attestation/collateral-kit.ts";
import { needsOf } from "../../verify/attestation/collateral-needs.ts";
import { writeCollectedEvidence } from "../../verify/attestation/evidence.ts";
import { simulatedPolicyFor } from "../../verify/attestation/simulated-policy.ts";
import { simulatedTdxPolicyFor } from "../../verify/attestation/simulated-tdx-policy.ts";
import { Simulator } from "../../verify/attestation/simulator.ts";
import { TDX_FMSPC, TdxSimulator } from "../../verify/attestation/tdx-simulator.ts";
import { amdAnswers, intelAnswers, startVendors, type VendorAnswers } from "../support/collateral-servers.ts";
import { sealift } from "../support/command-line.ts";
import { createSiteWithOperator } from "../support/ready-site.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

const FROM = new Date(Date.now() - 24 * 60 * 60 * 1000);
const MEASUREMENT = Buffer.alloc(48, 7);
const snp = new Simulator({ rsaBits: 2048, notBefore: FROM });
const tdx = new TdxSimulator({ notBefore: FROM });
const answers: VendorAnswers = new Map([...amdAnswers(snp, FROM, { number: 2 }), ...intelAnswers(tdx, TDX_FMSPC)]);

/** A verifier's directory: evidence and policy of both kinds, a key of whoever fetches, and who that is. */
async function desk(t: TestContext) {
  const directory = await scratch(t);
  const path = (name: string): string => join(directory, name);
  const none = Buffer.alloc(0);
  await writeFile(
    path("snp.json"),
    writeCollectedEvidence("sev_guest", snp.report({ measurement: MEASUREMENT }), none),
  );
  await writeFile(path("tdx.json"), writeCollectedEvidence("tdx_guest", tdx.quote({ version: 5 }), none));
  await writeFile(path("snp-policy.json"), canonicalJson(simulatedPolicyFor(snp, MEASUREMENT, false)));
  await writeFile(path("tdx-policy.json"), canonicalJson(simulatedTdxPolicyFor(tdx, false)));
  const made = spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path("fred")]);
  assert.equal(made.status, 0, String(made.stderr));
  const key = readFileSync(path("fred.pub"), "utf8").trim();
  await writeFile(path("signers"), `fred namespaces="${COLLATERAL_NAMESPACE}" ${key}\n`);
  return { path };
}

async function run(args: readonly string[], exit = 0): Promise<string> {
  const got = await sealift(["attest", ...args]);
  assert.equal(got.exit, exit, `${args.join(" ")}\n${got.stdout}${got.stderr}`);
  return exit === 0 || exit === 3 ? `${got.stdout}${got.stderr}` : got.stderr;
}

test("what a host needs is fetched at AMD's and Intel's addresses, carried back signed, imported, and enough to appraise with", async (t) => {
  const { path } = await desk(t);
  const server = await startVendors(t, answers, (asked, times) =>
    asked.endsWith("/crl") && times === 1 ? { status: 429, retryAfter: "1" } : undefined,
  );
  const evidence = ["--evidence", path("snp.json"), "--evidence", path("tdx.json")];
  const needs = await run(["needs", ...evidence, "--out", path("needs.json")]);
  assert.match(needs, /https:\/\/kdsintf\.amd\.com\/vcek\/v1\/Milan\//);
  const servers = ["amd-server", "intel-server", "intel-certificates"].flatMap((name) => [`--${name}`, server.url]);
  const fetched = await run(["fetch", path("needs.json"), "--key", path("fred"), "--out", path("kit"), ...servers]);
  assert.match(fetched, /revocation list of .*ARK-Milan, number 2: until/);
  assert.deepEqual(
    server.asked.toSorted(),
    [...answers.keys(), `/vcek/v1/Milan/crl`].sort(),
    "each address once, and the one that said 429 again",
  );
  const into = ["--into", path("collateral"), "--signers", path("signers")];
  const imported = await run(["import", path("kit"), ...into, "--policy", path("snp-policy.json")], 3);
  assert.match(imported, /\[ATTEST_COLLATERAL_MISSING\]/, "a policy for SEV-SNP names no root of TDX");
  assert.equal(existsSync(path("collateral")), false);
  for (const kind of ["snp", "tdx"]) {
    await run(["needs", "--evidence", path(`${kind}.json`), "--out", path(`${kind}-needs`)]);
    await run(["fetch", path(`${kind}-needs`), "--key", path("fred"), "--out", path(`${kind}-kit`), ...servers]);
    const said = await run(["import", path(`${kind}-kit`), ...into, "--policy", path(`${kind}-policy.json`)]);
    assert.match(said, /signed by fred[\s\S]*fetch again before /);
    const files = ["--evidence", path(`${kind}.json`), "--policy", path(`${kind}-policy.json`)];
    const { exit, stdout } = await sealift([
      "attest",
      "verify",
      ...files,
      "--collateral",
      path("collateral"),
      "--json",
    ]);
    const verdict = JSON.parse(stdout) as AttestationVerdict;
    assert.deepEqual(
      [exit, verdict.decision, verdict.findings.filter(({ status }) => status === "fail")],
      [3, "simulated", []],
    );
  }
  assert.equal((await readdir(path("collateral"))).length, 3 + 7);
});

test("a kit of a stranger, an older one and one without its tail are refused, and nothing is imported", async (t) => {
  const { path } = await desk(t);
  await run(["needs", "--evidence", path("snp.json"), "--out", path("needs")]);
  const policy = ["--policy", path("snp-policy.json")];
  const fetchFrom = async (name: string, from: VendorAnswers, key = "fred"): Promise<void> => {
    const { url } = await startVendors(t, from);
    await run(["fetch", path("needs"), "--key", path(key), "--out", path(name), "--amd-server", url]);
  };
  await fetchFrom("new", answers);
  await fetchFrom("old", amdAnswers(snp, FROM, { number: 1 }));
  spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path("eve")]);
  await fetchFrom("eves", answers, "eve");
  await writeFile(path("torn"), readFileSync(path("new")).subarray(0, 2000));
  const into = ["--into", path("collateral"), "--signers", path("signers"), ...policy];
  await run(["import", path("new"), ...into]);
  const before = await readdir(path("collateral"));
  for (const [kit, code] of [
    ["old", "ATTEST_COLLATERAL_ROLLED_BACK"],
    ["eves", "ATTEST_COLLATERAL_SIGNER"],
    ["torn", "ATTEST_COLLATERAL_MALFORMED"],
  ] as const) {
    assert.match(await run(["import", path(kit), ...into], 3), new RegExp(`\\[${code}\\]`), kit);
    assert.deepEqual(await readdir(path("collateral")), before);
  }
  await run(["import", path("new"), "--into", path("collateral")], 2);
  await run(["import", path("new"), "--signers", path("signers")], 2);
  await run(["fetch", path("needs"), "--key", path("fred"), "--out", path("x"), "--amd-server", "ftp://localhost"], 2);
  await run(["needs", "--out", path("x")], 2);
});

test("on a site an operator's kit goes into the site's own directory, and status says until when it will do", async (t) => {
  const { path } = await desk(t);
  const { state, operatorKey } = await createSiteWithOperator(path("."));
  await run(["needs", "--evidence", path("snp.json"), "--out", path("needs")]);
  const { url } = await startVendors(t, answers);
  for (const [kit, key] of [
    ["alices", operatorKey],
    ["freds", path("fred")],
  ] as const) {
    await run(["fetch", path("needs"), "--key", key, "--out", path(kit), "--amd-server", url]);
  }
  const policy = ["--policy", path("snp-policy.json"), "--state", state];
  assert.match(await run(["import", path("freds"), ...policy], 3), /\[ATTEST_COLLATERAL_SIGNER\]/);
  await run(["import", path("alices"), ...policy]);
  assert.equal((await readdir(join(state, "site/collateral"))).length, 3);
  const status = await sealift(["status", "--state", state, "--json"]);
  const { collateral } = JSON.parse(status.stdout) as { collateral: { what: string; daysLeft: number } };
  assert.match(collateral.what, /^revocation list of .*ARK-Milan$/);
  assert.equal(collateral.daysLeft, 44);
});

test("the connected machine stops with a code where a server has nothing, is away, or answers with a page", async (t) => {
  const needs = needsOf(snp.report());
  const from = async (served: VendorAnswers, status?: number) => {
    const { url, asked } = await startVendors(t, served, () => (status === undefined ? undefined : { status }));
    const servers = { amd: url, intel: url, intelCertificates: url };
    return { fetched: fetchCollateral(needs, { servers, pauseMs: 1, onLine: () => {} }), asked };
  };
  await assert.rejects((await from(new Map())).fetched, coded("ATTEST_COLLATERAL_MISSING"));
  const busy = await from(answers, 503);
  await assert.rejects(busy.fetched, coded("ATTEST_FETCH_FAILED"));
  assert.equal(busy.asked.length, 6, "six times and no more");
  const forbidden = await from(answers, 403);
  await assert.rejects(forbidden.fetched, coded("ATTEST_FETCH_FAILED"));
  assert.equal(forbidden.asked.length, 1);
  const page = new Map([...answers].map(([path]) => [path, { body: Buffer.from("<html>log in</html>") }]));
  await assert.rejects((await from(page)).fetched, coded("ATTEST_CERTIFICATE_MALFORMED"));
  const endless = new Map([...answers].map(([path]) => [path, { body: Buffer.alloc(300 * 1024) }]));
  await assert.rejects((await from(endless)).fetched, coded("ATTEST_FETCH_FAILED"));
  const away = { amd: "http://127.0.0.1:1", intel: "", intelCertificates: "" };
  await assert.rejects(
    fetchCollateral(needs, { servers: away, pauseMs: 1, onLine: () => {} }),
    coded("ATTEST_FETCH_FAILED"),
  );
  const quote = needsOf(tdx.quote());
  const bare = new Map([...answers].map(([path, { body }]) => [path, { body }]));
  const { url } = await startVendors(t, bare);
  const servers = { amd: url, intel: url, intelCertificates: url };
  await assert.rejects(fetchCollateral(quote, { servers, pauseMs: 1, onLine: () => {} }), coded("ATTEST_FETCH_FAILED"));
});

test("where a report of version 2 leaves the processor open, the one that AMD knows the chip of is fetched", async (t) => {
  const old = snp.report({ version: 2 });
  const needs = needsOf(old);
  assert.deepEqual(
    needs.map((need) => need.kind === "sev-snp" && [need.product, need.certain]),
    [
      ["Milan", false],
      ["Genoa", false],
    ],
  );
  const { url } = await startVendors(t, answers);
  const servers = { amd: url, intel: url, intelCertificates: url };
  const { needs: met, files } = await fetchCollateral(needs, { servers, pauseMs: 1, onLine: () => {} });
  assert.deepEqual([met.length, files.length], [1, 3]);
});
