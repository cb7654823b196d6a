import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { NO_REVOCATIONS, type RevocationKind } from "../../bundles/model/revocations.ts";
import type { PrivateKey } from "../../bundles/sign/key-file.ts";
import {
  parseTrustMetadata,
  planTrust,
  signingState,
  signTrust,
  trustedRootTarget,
  writeTrustMetadata,
} from "../../bundles/sign/trust-metadata.ts";
import { planTrustUpdate, type TrustUpdate } from "../../bundles/sign/trust-update.ts";
import { loadTrust } from "../../verify/trust/trust.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { judge, wrongCodes } from "../support/judge.ts";
import { scratch } from "../support/scratch.ts";
import {
  makeSigner,
  makeSigners,
  type Signer,
  signAs,
  signedBundle,
  writeSignedBundle,
} from "../support/signed-bundle.ts";
import { coded, NOW } from "../support/test-trust.ts";

const LATER = new Date(NOW.getTime() + 86_400_000);
const nothing: Readonly<Record<RevocationKind, readonly string[]>> = { keys: [], holders: [], releases: [], chips: [] };
const unchanged: TrustUpdate = { roles: new Map(), thresholds: new Map(), revoke: nothing, reason: "", now: LATER };
const held = ({ key, holder }: Signer) => ({ publicKey: createPublicKey(key), holder });
const [ruth, rolf, rosa, remy] = [makeSigner("ruth"), makeSigner("rolf"), makeSigner("rosa"), makeSigner("remy")];
const fingerprintOf = ({ key }: Signer): string => keyFingerprint(createPublicKey(key));

type Files = Map<string, Buffer>;

/** A trust of ruth and rolf, both needed, and the signers of its roles. */
function start(signers = makeSigners()): { readonly files: Files; readonly signers: typeof signers } {
  const files = planTrust({
    root: [ruth, rolf].map(held),
    rootThreshold: 2,
    roles: new Map(
      (["builder", "security", "release"] as const).map((role) => [
        role,
        { keys: signers[role].map(held), threshold: 1 },
      ]),
    ),
    appliance: "*",
    now: NOW,
  });
  for (const { key } of [ruth, rolf]) signTrust(files, key);
  return { files: bytesOf(files), signers };
}

function bytesOf(files: ReturnType<typeof planTrust>): Files {
  return new Map([...files].map(([name, metadata]) => [name, Buffer.from(JSON.stringify(metadata.toJSON()))]));
}

/** The next version, signed by `signers`. */
function updated(files: Files, update: Partial<TrustUpdate>, ...signers: readonly Signer[]): Files {
  const before = parseTrustMetadata(files);
  const after = new Map([...before, ...planTrustUpdate(before, { ...unchanged, ...update })]);
  for (const { key } of signers) signTrust(after, key);
  return bytesOf(after);
}

test("a renewal has new versions and dates of everything, and leaves what was published as it was", () => {
  const { files } = start();
  const after = updated(files, {}, ruth, rolf);
  for (const [name, bytes] of files) {
    if (name !== "timestamp.json") assert.deepEqual(JSON.parse(String(after.get(name))), JSON.parse(String(bytes)));
  }
  const [before, now] = [loadTrust(files, LATER), loadTrust(after, LATER)];
  assert.deepEqual([now.rootVersion, now.targetsVersion], [2, 2]);
  assert.equal(now.rootFingerprint, before.rootFingerprint);
  assert.ok(now.expires > before.expires);
  assert.deepEqual(now.revoked, NO_REVOCATIONS);
});

test("other root keys count once the old and the new ones have signed, each on a machine of its own", async (t) => {
  const directory = await scratch(t);
  const at = (name: string): string => join(directory, name);
  await writeTrustMetadata(at("published"), parseTrustMetadata(start().files), true);
  const planned = parseTrustMetadata(readTrustDirectory(at("published")));
  const update = { ...unchanged, root: [rosa, remy].map(held), rootThreshold: 2 };
  await writeTrustMetadata(at("medium"), new Map([...planned, ...planTrustUpdate(planned, update)]), true);
  const missing = () =>
    signingState(parseTrustMetadata(readTrustDirectory(at("medium")))).filter((item) => item.signed < item.threshold);
  assert.deepEqual(
    missing().map(({ file, root }) => `${file} ${root}`),
    ["2.root.json 1", "2.root.json 2", "2.snapshot.json 2", "2.targets.json 2", "timestamp.json 2"],
  );
  for (const [i, { key, holder }] of [ruth, rosa, rolf, remy].entries()) {
    assert.throws(
      () => loadTrust(readTrustDirectory(at("medium")), LATER),
      coded("TRUST_THRESHOLD"),
      `before ${holder}`,
    );
    const machine = at(`machine-${i}`);
    await cp(at("medium"), machine, { recursive: true });
    const files = parseTrustMetadata(readTrustDirectory(machine));
    const signed = signTrust(files, key);
    assert.deepEqual(signed.length, [ruth, rolf].some((old) => old.key === key) ? 1 : 4);
    await writeTrustMetadata(at("medium"), new Map([...files].filter(([name]) => signed.includes(name))), false);
  }
  assert.deepEqual(missing(), []);
  const trust = loadTrust(readTrustDirectory(at("medium")), LATER);
  assert.deepEqual([trust.rootVersion, trust.targetsVersion], [2, 2]);
  const foreign: PrivateKey = makeSigner("x").key;
  assert.throws(
    () => signTrust(parseTrustMetadata(readTrustDirectory(at("medium"))), foreign),
    coded("TRUST_KEY_FOREIGN"),
  );
});

test("a second root that only the new keys signed, or too few of the old ones, is refused", () => {
  const { files } = start();
  const update = { root: [rosa, remy].map(held), rootThreshold: 2 };
  for (const signers of [
    [rosa, remy],
    [ruth, rosa, remy],
    [ruth, rolf],
    [ruth, rolf, rosa],
  ]) {
    assert.throws(() => loadTrust(updated(files, update, ...signers), LATER), coded("TRUST_THRESHOLD"));
  }
  loadTrust(updated(files, update, ruth, rolf, rosa, remy), LATER);
});

test("after a role's rotation the new key counts and the old one does not", async (t) => {
  const path = join(await scratch(t), "bundle");
  const { files, signers } = start();
  const nina = makeSigner("nina");
  const bundle = signedBundle({ signers });
  const rotated = updated(files, { roles: new Map([["release", [held(nina)]]]) }, ruth, rolf);
  await writeSignedBundle(path, bundle);
  assert.deepEqual(wrongCodes(await judge(path, { trustFiles: files })), []);
  assert.deepEqual(wrongCodes(await judge(path, { trustFiles: rotated })), [
    "SIGNATURE_MISSING",
    "SIGNATURE_UNKNOWN_KEY",
  ]);
  const again = signedBundle({ small: bundle.small, signers: { ...signers, release: [nina] } });
  await writeSignedBundle(`${path}2`, again);
  assert.deepEqual(wrongCodes(await judge(`${path}2`, { trustFiles: rotated })), []);
  assert.ok(signAs(bundle.small, "release", nina).length > 0);
  assert.equal(loadTrust(rotated, LATER).rootVersion, 1);
});

test("a release that was taken back is denied, and so is one that wants a newer trust than there is", async (t) => {
  const path = join(await scratch(t), "bundle");
  const { files, signers } = start();
  const bundle = signedBundle({ signers });
  await writeSignedBundle(path, bundle);
  const { digest } = bundle.small.release.descriptor;
  const revoke = { ...nothing, releases: [digest], chips: ["ab".repeat(64)] };
  const after = updated(files, { revoke, reason: "loses data" }, ruth, rolf);
  const verdict = await judge(path, { trustFiles: after });
  assert.deepEqual(wrongCodes(verdict), ["RELEASE_REVOKED"]);
  assert.match(verdict.findings.find(({ code }) => code === "RELEASE_REVOKED")?.message ?? "", /loses data/);
  const twice = updated(after, { revoke, reason: "again", now: new Date(LATER.getTime() + 1000) }, ruth, rolf);
  assert.deepEqual(loadTrust(twice, LATER).revoked, {
    ...NO_REVOCATIONS,
    releases: [{ id: digest, reason: "loses data", at: "2026-06-02T00:00:00Z" }],
    chips: [{ id: "ab".repeat(64), reason: "loses data", at: "2026-06-02T00:00:00Z" }],
  });
});

test("a revoked key or holder leaves every role, root too, and needs a successor where too few are left", () => {
  const signers = { ...makeSigners(), builder: [makeSigner("ann"), makeSigner("bob")] };
  const { files } = start(signers);
  const [ann, bob] = signers.builder as [Signer, Signer];
  const byKey = updated(files, { revoke: { ...nothing, keys: [fingerprintOf(ann)] }, reason: "lost" }, ruth, rolf);
  const byName = updated(files, { revoke: { ...nothing, holders: ["ann"] }, reason: "left" }, ruth, rolf);
  for (const after of [byKey, byName]) {
    const { roles, rootVersion } = loadTrust(after, LATER);
    assert.deepEqual(
      roles.get("builder")?.keys.map(({ holder }) => holder),
      [bob.holder],
    );
    assert.equal(rootVersion, 1);
  }
  const only = { revoke: { ...nothing, holders: [signers.release[0]?.holder ?? ""] }, reason: "left" };
  assert.throws(() => updated(files, only, ruth, rolf), coded("TRUST_LINT"));
  const successor: Partial<TrustUpdate> = { ...only, roles: new Map([["release", [held(rosa)]]]) };
  assert.equal(loadTrust(updated(files, successor, ruth, rolf), LATER).roles.get("release")?.keys[0]?.holder, "rosa");
  const root = { revoke: { ...nothing, holders: ["rolf"] }, reason: "left", root: [ruth, rosa].map(held) };
  const rooted = updated(files, root, ruth, rolf, rosa);
  assert.deepEqual([loadTrust(rooted, LATER).rootVersion, loadTrust(rooted, LATER).targetsVersion], [2, 2]);
  assert.throws(() => updated(byKey, { roles: new Map([["builder", [held(ann)]]]) }), coded("TRUST_LINT"));
});

test("a trust in which a revoked key or holder has a role is refused, whoever signed it", () => {
  const { files, signers } = start();
  for (const [kind, id] of [
    ["keys", fingerprintOf(signers.builder[0] as Signer)],
    ["holders", "rob-release"],
    ["holders", "ruth"],
  ] as const) {
    const parsed = parseTrustMetadata(files);
    const targets = parsed.get("1.targets.json");
    assert.ok(targets);
    const entry = { id, reason: "x", at: "2026-06-01T00:00:00Z" };
    targets.signed.unrecognizedFields["x-sealift-revoked"] = {
      ...structuredClone({ keys: [], holders: [], releases: [], chips: [] }),
      [kind]: [entry],
    };
    targets.signatures = {};
    for (const { key } of [ruth, rolf]) signTrust(parsed, key);
    assert.throws(() => loadTrust(bytesOf(parsed), LATER), coded("TRUST_REVOKED_IN_USE"));
    targets.signed.unrecognizedFields["x-sealift-revoked"] = { [kind]: [entry] };
    targets.signatures = {};
    for (const { key } of [ruth, rolf]) signTrust(parsed, key);
    assert.throws(() => loadTrust(bytesOf(parsed), LATER), coded("TRUST_MALFORMED"));
  }
});

test("what names nothing, or has no reason, is not revoked; and nothing is built on an unfinished version", () => {
  const { files } = start();
  for (const [revoke, reason] of [
    [{ ...nothing, keys: ["ab"] }, "x"],
    [{ ...nothing, releases: ["latest"] }, "x"],
    [{ ...nothing, chips: ["xyz"] }, "x"],
    [{ ...nothing, holders: [""] }, "x"],
    [{ ...nothing, holders: ["ann"] }, ""],
    [{ ...nothing, holders: ["ann"] }, "\u001b[2J"],
  ] as const) {
    assert.throws(() => updated(files, { revoke, reason }), coded("TRUST_LINT"));
  }
  assert.throws(() => updated(updated(files, {}, ruth), {}), coded("TRUST_INCOMPLETE"));
});

test("files of two versions mixed, or an older one, are refused", async () => {
  const { files } = start();
  const after = updated(files, {}, ruth, rolf);
  const mixed = (name: string, from: Files): Files => new Map([...after, [name, from.get(name) as Buffer]]);
  assert.equal(loadTrust(mixed("timestamp.json", files), LATER).targetsVersion, 1);
  const without = new Map(after);
  without.delete("2.snapshot.json");
  assert.throws(() => loadTrust(without, LATER), coded("TRUST_MALFORMED"));
  const renamed = new Map([...after, ["2.snapshot.json", after.get("1.snapshot.json") as Buffer]]);
  assert.throws(() => loadTrust(renamed, LATER), coded("TRUST_ROLLBACK"));
  const older = new Map([...after, ["2.targets.json", after.get("1.targets.json") as Buffer]]);
  assert.throws(() => loadTrust(older, LATER), coded("TRUST_ROLLBACK"));
});

test("an interrupted update leaves a directory that is told to be unfinished", async (t) => {
  const directory = await scratch(t);
  const { files } = start();
  await writeTrustMetadata(directory, parseTrustMetadata(files), true);
  const added = planTrustUpdate(parseTrustMetadata(files), unchanged);
  const [first] = added;
  assert.ok(first);
  await writeTrustMetadata(directory, new Map([first]), false);
  assert.throws(
    () => planTrustUpdate(parseTrustMetadata(readTrustDirectory(directory)), unchanged),
    coded("TRUST_INCOMPLETE"),
  );
  await writeFile(join(directory, "2.targets.json.new"), "half");
  assert.ok((await readFile(join(directory, "1.root.json"))).length > 0);
  assert.equal(readTrustDirectory(directory).has("2.targets.json.new"), false);
});

test("identities and the trusted root stay through a rotation, are exchanged by one, and are revoked by their holder", () => {
  const identity = { holder: "remy", identity: "remy@example.com", issuer: "https://issuer.example" };
  const root = Buffer.from(JSON.stringify({ mediaType: "application/vnd.dev.sigstore.trustedroot+json;version=0.1" }));
  const { target, name } = trustedRootTarget(root);
  const { files, signers } = start();
  const withIdentity = updated(files, { roles: new Map([["release", [identity]]]), trustedRoot: target }, ruth, rolf);
  withIdentity.set(name, root);
  assert.equal([...withIdentity.keys()].includes("2.root.json"), false);
  const rotated = updated(withIdentity, {}, ruth, rolf);
  rotated.set(name, root);
  const { roles, trustedRoot } = loadTrust(rotated, LATER);
  assert.deepEqual(trustedRoot, root);
  assert.partialDeepStrictEqual(roles.get("release")?.keys, [identity]);
  assert.equal(roles.get("builder")?.keys[0]?.holder, signers.builder[0]?.holder);
  const others = [...signers.release.map(held), identity];
  const two = updated(rotated, { roles: new Map([["release", others]]) }, ruth, rolf);
  const revoked = updated(two, { revoke: { ...nothing, holders: ["remy"] }, reason: "left" }, ruth, rolf);
  revoked.set(name, root);
  assert.deepEqual(
    loadTrust(revoked, LATER)
      .roles.get("release")
      ?.keys.map(({ holder }) => holder),
    signers.release.map(({ holder }) => holder),
  );
  rotated.delete(name);
  assert.throws(() => loadTrust(rotated, LATER), coded("TRUST_MALFORMED"));
});
