import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import test, { type TestContext } from "node:test";
import { digestOf } from "../../bundles/model/digest.ts";
import { checkAuthorization, spendAuthorization } from "../../installer/lifecycle/authorization.ts";
import { appendEntry } from "../../installer/lifecycle/ledger.ts";
import { auditLedger } from "../../installer/lifecycle/ledger-audit.ts";
import { mendDeployments } from "../../installer/lifecycle/ledger-deployments.ts";
import { type Deployments, NOTHING_DEPLOYED, writeDeployments } from "../../installer/site/deployment.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { statePaths } from "../../installer/site/state.ts";
import { scratch } from "../support/scratch.ts";
import { sshSign } from "../support/ssh-signer.ts";
import { makeTestSite, request, type TestSite, upgradePlan } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";

const RELEASE = upgradePlan().to ?? digestOf("");
const DEPLOYED: Deployments = {
  ...NOTHING_DEPLOYED,
  current: {
    id: "0123456789abcdef0123456789abcdef",
    release: RELEASE,
    appliance: "gateway",
    version: "1.1.0",
    colour: "blue",
    config: digestOf("config"),
    base: digestOf("base"),
    containers: digestOf("containers"),
  },
  securityFloor: "1.1.0",
  data: { appliance: "gateway", version: "1.1.0", rollbackTo: "" },
  engineId: "the engine",
};

/** A site on which an authorized upgrade ended with `deployments`. */
async function deployedSite(t: TestContext, deployments: Deployments = DEPLOYED): Promise<TestSite> {
  const site = makeTestSite(await scratch(t));
  const before = site.open();
  const bytes = request(before, upgradePlan());
  const signature = { name: "alice", bytes: sshSign(site.alice, bytes) };
  const authorization = spendAuthorization(before, await checkAuthorization(before, upgradePlan(), bytes, [signature]));
  const paths = statePaths(site.directory);
  writeDeployments(hostDisk, paths, deployments);
  const data = { id: "1", operation: "upgrade", authorization, result: "committed", deployments };
  appendEntry(hostDisk, paths.ledger, "operation", data, site.clock.read());
  return site;
}

function edit(site: TestSite, change: (text: string) => string): void {
  const { deployment } = statePaths(site.directory);
  writeFileSync(deployment, change(readFileSync(deployment, "utf8")));
}

test("a site whose document is what the ledger says opens; one on which nothing ever ran too", async (t) => {
  assert.ok((await deployedSite(t)).open());
  assert.ok(makeTestSite(await scratch(t)).open());
});

for (const [what, change, says] of [
  [
    "a lowered security floor",
    (text: string) => text.replace('"securityFloor":"1.1.0"', '"securityFloor":"1.0.0"'),
    /securityFloor: got "1\.0\.0", want "1\.1\.0"/,
  ],
  [
    "no security floor",
    (text: string) => text.replace('"securityFloor":"1.1.0"', '"securityFloor":null'),
    /securityFloor: got null/,
  ],
  ["another release", (text: string) => text.replace("b".repeat(64), "c".repeat(64)), /current: got /],
  [
    "data of another version",
    (text: string) =>
      text.replace('"data":{"appliance":"gateway","rollbackTo":""', '"data":{"appliance":"gateway","rollbackTo":"*"'),
    /data: got /,
  ],
] as const) {
  test(`${what} in deployment.json is found before anything relies on it, and put right`, async (t) => {
    const site = await deployedSite(t);
    edit(site, change);
    const edited = readFileSync(statePaths(site.directory).deployment);
    assert.throws(() => site.open(), { code: "DEPLOYMENT_CHANGED", message: says });
    const ground = { paths: statePaths(site.directory), disk: hostDisk };
    const kept = mendDeployments(ground);
    assert.deepEqual(kept && readFileSync(kept), edited, "the evidence stays");
    assert.ok(site.open());
    assert.equal(mendDeployments(ground), undefined);
  });
}

test("a deployment.json that is gone, or cut, is written anew", async (t) => {
  const site = await deployedSite(t);
  const { deployment } = statePaths(site.directory);
  const ground = { paths: statePaths(site.directory), disk: hostDisk };
  rmSync(deployment);
  assert.throws(() => site.open(), coded("DEPLOYMENT_CHANGED"));
  mendDeployments(ground);
  assert.ok(site.open());
  edit(site, (text) => text.slice(0, 50));
  assert.throws(() => site.open(), coded("STATE_DAMAGED"));
  mendDeployments(ground);
  assert.ok(site.open() && existsSync(`${deployment}.damaged`));
});

test("where the ledger does not say what was left running, nothing is written over it", async (t) => {
  const site = await deployedSite(t);
  const paths = statePaths(site.directory);
  const data = { id: "2", operation: "upgrade", authorization: digestOf("x"), result: "committed" };
  appendEntry(hostDisk, paths.ledger, "operation", data, site.clock.read());
  edit(site, (text) => text.replace('"1.1.0"', '"1.0.0"'));
  const edited = readFileSync(paths.deployment);
  assert.throws(() => mendDeployments({ paths, disk: hostDisk }), { code: "LEDGER_DAMAGED" });
  assert.deepEqual(readFileSync(paths.deployment), edited);
});

test("the ledger itself is audited: what an operation left must be what was authorized", async (t) => {
  const good = await deployedSite(t);
  assert.deepEqual((await auditLedger(good.open().ledger)).findings, []);
  const { current } = DEPLOYED;
  const other = { ...DEPLOYED, current: current && { ...current, release: digestOf("another") } };
  const bad = await deployedSite(t, other);
  const { findings } = await auditLedger(bad.open().ledger);
  assert.deepEqual(
    findings.map(({ code }) => code),
    ["LEDGER_UNAUTHORIZED"],
  );
});
