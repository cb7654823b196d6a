import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { parse } from "yaml";
import type { SecretRule } from "../../bundles/model/appliance-rules.ts";
import type { ComposeTemplate } from "../../bundles/model/compose-template.ts";
import { Identity } from "../../compose/services/service-kit/src/identity.ts";
import { openPeer } from "../../compose/services/service-kit/src/peer-client.ts";
import { sendJson } from "../../compose/services/service-kit/src/problem.ts";
import { startServer } from "../../compose/services/service-kit/src/server.ts";
import { readSecretValues } from "../../compose/services/service-kit/src/settings.ts";
import {
  beginRotation,
  forgetRotation,
  planRotation,
  type Rotation,
  type RotationWish,
  restoreRotation,
  settleRotation,
} from "../../installer/lifecycle/rotation.ts";
import { hostClock } from "../../installer/site/clock.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { type SecretSite, secretMakers } from "../../installer/site/secret-makers.ts";
import { generateSecrets } from "../../installer/site/secrets.ts";
import { statePaths } from "../../installer/site/state.ts";
import { FaultyDisk } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { coded } from "../support/test-trust.ts";

const COMPOSE = new URL("../../compose/compose.yaml", import.meta.url);
/** The appliance that Sealift ships with, as a release has it but for the digests of images. */
const TEMPLATE = parse(readFileSync(COMPOSE, "utf8"), { merge: true }) as ComposeTemplate;
const RULES: readonly SecretRule[] = TEMPLATE["x-sealift"].secrets;

/** A site's secrets, as an install makes them. */
async function siteWith(t: TestContext): Promise<SecretSite> {
  const directory = await scratch(t);
  for (const name of ["site", "secrets"]) mkdirSync(join(directory, name));
  const site = { disk: hostDisk, clock: hostClock, paths: statePaths(directory), siteId: "0".repeat(32) };
  const config = { publicNames: ["ai.example.com"] };
  await generateSecrets(hostDisk, join(directory, "secrets"), RULES, secretMakers(site, config));
  return site;
}

function pathOf({ paths }: SecretSite, file: string): string {
  return join(paths.directory, "secrets", file);
}

function textOf(site: SecretSite, file: string): string {
  return readFileSync(pathOf(site, file), "latin1");
}

/** Every file of the site but what `forgetRotation` removes, by its path. */
function snapshot({ paths }: SecretSite): Readonly<Record<string, string>> {
  const names = readdirSync(paths.directory, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  const files = names.map((one) => join(one.parentPath, one.name)).filter((path) => !path.includes("/site/rotation/"));
  return Object.fromEntries(files.map((path) => [path, createHash("sha256").update(readFileSync(path)).digest("hex")]));
}

test("the plan names what is rotated, what is not, and who is started anew", () => {
  const secrets = planRotation(TEMPLATE, "secrets");
  assert.deepEqual(secrets.rotation.between, ["audit"], "it takes both keys; Postgres has one password at a time");
  assert.deepEqual(secrets.rotation.after, ["audit", "postgres"]);
  assert.equal(secrets.rotation.files.length, 8);
  const [rotated, kept] = secrets.details;
  for (const file of ["gateway/database-password", "gateway-owner/database-password", "gateway/pii-principal-key"]) {
    assert.ok(rotated?.includes(file), file);
  }
  assert.match(kept ?? "", /not rotated, .*: gateway\/api-key-pepper, gateway\/record-key, audit\/checkpoint-key/);
  const certificates = planRotation(TEMPLATE, "certificates");
  assert.deepEqual(certificates.rotation.between, ["audit", "postgres"]);
  assert.deepEqual(certificates.rotation.after, ["audit", "postgres"]);
  assert.equal(certificates.rotation.files.length, 4);
});

test("nothing is rotated that its readers did not agree to, or that a base service shares with a colour's", () => {
  const rules = TEMPLATE["x-sealift"];
  const none = { ...TEMPLATE, "x-sealift": { ...rules, secrets: [] } };
  for (const wish of ["secrets", "certificates"] as const) {
    assert.throws(() => planRotation(none, wish), coded("ROTATION_NOT_HERE"));
  }
  const services = { ...TEMPLATE.services, pii: { ...TEMPLATE.services["audit"], image: "pii" } };
  const shared = { ...TEMPLATE, services };
  assert.throws(() => planRotation(shared, "secrets"), coded("ROTATION_NOT_HERE"));
});

test("while both passwords and keys count, each reader's own is the one that the others take", async (t) => {
  const site = await siteWith(t);
  const { rotation } = planRotation(TEMPLATE, "secrets");
  const old = Object.fromEntries(rotation.files.map(({ path }) => [path, textOf(site, path)]));
  const kept = ["gateway/api-key-pepper", "gateway/record-key", "audit/checkpoint-key"].map((file) =>
    textOf(site, file),
  );
  beginRotation(site, TEMPLATE, rotation);
  const values = async (file: string): Promise<readonly string[]> => readSecretValues(pathOf(site, file));
  const [next = "", before] = await values("gateway/audit-principal-key");
  assert.equal(before, old["audit/principal-key"]);
  assert.notEqual(next, before);
  assert.match(next, /^[0-9a-f]{64}$/);
  assert.deepEqual(await values("audit/principal-key"), [before, next], "the old colour's and the new one's");
  assert.deepEqual(await values("pii/principal-key"), await values("gateway/pii-principal-key"), "of one colour");
  const [password, oldPassword] = await values("gateway/database-password");
  assert.equal(oldPassword, old["postgres/gateway-password"]);
  assert.deepEqual(await values("postgres/gateway-password"), [oldPassword], "until the old colour is gone");
  settleRotation(site, rotation);
  settleRotation(site, rotation);
  for (const file of ["gateway/database-password", "postgres/gateway-password"]) {
    assert.deepEqual(await values(file), [password]);
  }
  for (const file of ["gateway/audit-principal-key", "audit/principal-key"])
    assert.deepEqual(await values(file), [next]);
  for (const { path } of rotation.files) assert.notEqual(textOf(site, path), old[path], path);
  assert.deepEqual(
    ["gateway/api-key-pepper", "gateway/record-key", "audit/checkpoint-key"].map((file) => textOf(site, file)),
    kept,
  );
  forgetRotation(site);
  assert.ok(!readdirSync(join(site.paths.directory, "site")).includes("rotation"), "no old value is left");
  assert.throws(() => settleRotation(site, rotation), coded("STATE_DAMAGED"));
});

/** Whether the service behind `server` answers the one behind `client`. */
async function answers(server: Identity, client: Identity): Promise<boolean> {
  const running = await startServer({
    host: "127.0.0.1",
    port: 0,
    tls: server.serverOptions([client.service]),
    routes: [{ method: "POST", path: "/", handle: ({ response }) => sendJson(response, 200, {}) }],
    log: () => {},
    drainTimeoutMs: 0,
  });
  const origin = new URL(`https://127.0.0.1:${running.port}`);
  const peer = openPeer({ agent: client.agent(server.service), origin, timeoutMs: 5_000, answerMaxBytes: 1024 });
  try {
    await peer.post("/", {}, "r-1");
    return true;
  } catch {
    return false;
  } finally {
    peer.close();
    await running.stop();
  }
}

test("while both roots count old and new identities know each other, and afterwards only the new ones", async (t) => {
  const site = await siteWith(t);
  const { rotation } = planRotation(TEMPLATE, "certificates");
  const open = (service: string): Promise<Identity> =>
    Identity.open(pathOf(site, `${service}/identity/identity.pem`), service);
  const [oldGateway, oldPii] = [await open("gateway"), await open("pii")];
  beginRotation(site, TEMPLATE, rotation);
  const audit = await open("audit");
  const [gateway, pii] = [await open("gateway"), await open("pii")];
  assert.ok(await answers(audit, oldGateway), "the old colour");
  assert.ok(await answers(audit, gateway), "the new colour");
  assert.ok(await answers(pii, gateway));
  assert.ok(await answers(oldPii, oldGateway));
  settleRotation(site, rotation);
  const [settled, later] = [await open("audit"), await open("gateway")];
  assert.ok(await answers(settled, gateway), "the colour that goes on with what it began with");
  assert.ok(await answers(settled, later), "and the one after it");
  assert.ok(!(await answers(settled, oldGateway)), "the old root counts no more");
  assert.ok(!(await answers(audit, later)), "nor for the new one");
  const uids = rotation.files.map(({ uid }) => uid);
  assert.deepEqual(uids, [10_001, 10_030, 10_020, 10_070]);
});

/** Each call is an fsync or stands beside one; all of them would take ten seconds. */
const STRIDE = 5;

test("a rotation that is cut at any call is taken back whole, or completed whole", async (t) => {
  for (const wish of ["secrets", "certificates"] satisfies RotationWish[]) {
    const site = await siteWith(t);
    const { rotation } = planRotation(TEMPLATE, wish);
    const before = snapshot(site);
    let cuts = 0;
    for (const kind of ["kill", "power"] as const) {
      for (let at = kind === "kill" ? 1 : 3; ; at += STRIDE) {
        const disk = new FaultyDisk({ kind, at }, at);
        if (!fails(() => beginRotation({ ...site, disk }, TEMPLATE, rotation))) break;
        cuts += 1;
        restoreRotation(site, rotation);
        forgetRotation(site);
        assert.deepEqual(snapshot(site), before, `${kind} at call ${at}`);
      }
      restoreRotation(site, rotation);
      forgetRotation(site);
      assert.deepEqual(snapshot(site), before);
    }
    assert.ok(cuts > 30, String(cuts));
    completesFromAnywhere(site, rotation);
  }
});

function completesFromAnywhere(site: SecretSite, rotation: Rotation): void {
  beginRotation(site, TEMPLATE, rotation);
  for (let at = 1; ; at += STRIDE) {
    const disk = new FaultyDisk({ kind: "power", at }, at);
    if (!fails(() => settleRotation({ ...site, disk }, rotation))) break;
  }
  settleRotation(site, rotation);
  const after = snapshot(site);
  settleRotation(site, rotation);
  assert.deepEqual(snapshot(site), after, "done once more it changes nothing");
  for (const { path } of rotation.files.filter(({ path }) => !path.endsWith(".pem"))) {
    assert.ok(!textOf(site, path).includes("\n"), path);
  }
}

function fails(work: () => void): boolean {
  try {
    work();
    return false;
  } catch {
    return true;
  }
}
