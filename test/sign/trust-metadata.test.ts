import assert from "node:assert/strict";
import { createPublicKey } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { ROLES, type Role } from "../../bundles/model/signing-roles.ts";
import {
  type KeyHolder,
  parseTrustMetadata,
  planTrust,
  signingState,
  signTrust,
  type TrustPlan,
  writeTrustMetadata,
} from "../../bundles/sign/trust-metadata.ts";
import { loadTrust } from "../../verify/trust/trust.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { scratch } from "../support/scratch.ts";
import { coded, makeKey, NOW, testTrust } from "../support/test-trust.ts";

const holder = (name: string, key = makeKey()): KeyHolder => ({ publicKey: createPublicKey(key), holder: name });
const rootKeys = [makeKey(), makeKey(), makeKey()] as const;

/** Two of three root keys, one key a role. */
function plan(change: Partial<TrustPlan> = {}): TrustPlan {
  return {
    root: rootKeys.map((key, i) => holder(`root-${i}`, key)),
    rootThreshold: 2,
    roles: new Map(ROLES.map((role) => [role, { keys: [holder(role)], threshold: 1 }])),
    appliance: "*",
    now: NOW,
    ...change,
  };
}

function roles(role: Role, keys: readonly KeyHolder[], threshold: number): TrustPlan["roles"] {
  return new Map([...plan().roles, [role, { keys, threshold }]]);
}

const shared = makeKey();
const lint: [string, () => TrustPlan][] = [
  ["a role without a key", () => plan({ roles: new Map([...plan().roles].slice(1)) })],
  ["a role whose list is empty", () => plan({ roles: roles("builder", [], 1) })],
  ["no root key", () => plan({ root: [], rootThreshold: 1 })],
  ["threshold 0", () => plan({ roles: roles("builder", [holder("a")], 0) })],
  ["threshold 1.5", () => plan({ roles: roles("builder", [holder("a"), holder("b")], 1.5) })],
  ["a threshold above the keys", () => plan({ roles: roles("builder", [holder("a")], 2) })],
  ["a root threshold above the keys", () => plan({ rootThreshold: 4 })],
  ["one holder twice in a role", () => plan({ roles: roles("builder", [holder("a"), holder("a")], 1) })],
  ["one key twice in a role", () => plan({ roles: roles("builder", [holder("a", shared), holder("b", shared)], 1) })],
  [
    "one key in two roles",
    () => plan({ roles: new Map(ROLES.map((role) => [role, { keys: [holder(role, shared)], threshold: 1 }])) }),
  ],
  ["a root key in a role", () => plan({ roles: roles("release", [holder("a", rootKeys[0])], 1) })],
  ["a holder without a name", () => plan({ roles: roles("builder", [holder("")], 1) })],
  ["a holder whose name moves the cursor", () => plan({ roles: roles("builder", [holder("Ada\u001b[2K")], 1) })],
  ["a holder with an endless name", () => plan({ roles: roles("builder", [holder("a".repeat(129))], 1) })],
  ["an appliance that is a pattern", () => plan({ appliance: "a*" })],
  ["an appliance that is a path", () => plan({ appliance: "../x" })],
];
for (const [what, make] of lint) {
  test(`refuses to make a trust with ${what}`, () => {
    assert.throws(() => planTrust(make()), coded("TRUST_LINT"));
  });
}

test("a trust counts as its own when as many root keys as asked have signed, on different machines", async (t) => {
  const directory = join(await scratch(t), "trust");
  const made = planTrust(plan());
  assert.equal(signTrust(made, rootKeys[0]).length, 4);
  await writeTrustMetadata(directory, made, true);
  const carried = parseTrustMetadata(readTrustDirectory(directory));
  assert.deepEqual(
    signingState(carried).map(({ signed, threshold }) => [signed, threshold]),
    Array(4).fill([1, 2]),
  );
  assert.throws(() => loadTrust(readTrustDirectory(directory), NOW), coded("TRUST_THRESHOLD"));
  assert.deepEqual(signTrust(carried, rootKeys[0]), [], "the same key again adds nothing");
  assert.equal(signTrust(carried, rootKeys[2]).length, 4);
  await writeTrustMetadata(directory, carried, false);
  assert.equal(loadTrust(readTrustDirectory(directory), NOW).rootVersion, 1);
  assert.deepEqual((await readdir(directory)).sort(), [
    "1.root.json",
    "1.snapshot.json",
    "1.targets.json",
    "timestamp.json",
  ]);
});

test("a complete trust keeps its bytes, so that the fingerprint on paper stays true", () => {
  const made = planTrust(plan());
  for (const key of rootKeys.slice(0, 2)) signTrust(made, key);
  const before = JSON.stringify(made.get("1.root.json")?.toJSON());
  assert.deepEqual(signTrust(made, rootKeys[2]), []);
  assert.equal(JSON.stringify(made.get("1.root.json")?.toJSON()), before);
});

test("refuses to sign with a key that is no root key, be it a role's", () => {
  const trust = testTrust();
  const metadata = parseTrustMetadata(trust.files);
  assert.throws(() => signTrust(metadata, makeKey()), coded("TRUST_KEY_FOREIGN"));
  assert.throws(() => signTrust(metadata, trust.roleKeys.release[0] as typeof shared), coded("TRUST_KEY_FOREIGN"));
});

test("a signature that does not hold is not counted, and does not keep its key from signing", () => {
  const made = planTrust(plan());
  signTrust(made, rootKeys[0]);
  const files = new Map([...made].map(([name, value]) => [name, Buffer.from(JSON.stringify(value.toJSON()))]));
  const text = (files.get("timestamp.json") as Buffer).toString();
  files.set("timestamp.json", Buffer.from(text.replace('"sig":"30', '"sig":"31')));
  const parsed = parseTrustMetadata(files);
  assert.equal(signingState(parsed).find(({ file }) => file === "timestamp.json")?.signed, 0);
  assert.deepEqual(signTrust(parsed, rootKeys[0]), ["timestamp.json"]);
});

test("garbage in a trust directory is refused before anything is signed", () => {
  for (const text of ["", "null", "{}", '{"signed":{"_type":"root"}}', '{"signed":{"_type":"x"},"signatures":[]}']) {
    assert.throws(() => parseTrustMetadata(new Map([["1.root.json", Buffer.from(text)]])), coded("TRUST_UNPARSABLE"));
  }
});

test("never writes over a trust, and leaves none behind that is not whole", async (t) => {
  const directory = await scratch(t);
  await writeFile(join(directory, "1.root.json"), "mine");
  await assert.rejects(writeTrustMetadata(directory, planTrust(plan()), true), coded("TRUST_EXISTS"));
  assert.equal(await readFile(join(directory, "1.root.json"), "utf8"), "mine");
  await assert.rejects(
    writeTrustMetadata(join(directory, "1.root.json"), planTrust(plan()), true),
    coded("TRUST_WRITE_FAILED"),
  );
  // A disk that fails in the middle, as a name that it does not take does.
  const targets = new Map([
    ["trusted_root.json", Buffer.from("{}")],
    ["x".repeat(300), Buffer.from("{}")],
  ]);
  for (const place of [join(directory, "a", "b"), join(directory, "empty")]) {
    if (place.endsWith("empty")) await mkdir(place);
    await assert.rejects(writeTrustMetadata(place, planTrust(plan()), true, targets), coded("TRUST_WRITE_FAILED"));
  }
  assert.deepEqual((await readdir(directory)).sort(), ["1.root.json", "empty"]);
  assert.deepEqual(await readdir(join(directory, "empty")), []);
  await writeTrustMetadata(join(directory, "empty"), planTrust(plan()), true);
  const order: string[] = [];
  const watched = new Map(
    [...planTrust(plan())].map(([name, value]) => {
      const toJSON = () => {
        order.push(name);
        return value.toJSON();
      };
      return [name, Object.assign(Object.create(value) as typeof value, { toJSON })];
    }),
  );
  await writeTrustMetadata(join(directory, "new"), watched, true);
  assert.equal(order.at(-1), "1.root.json");
});

test("a root key that only a command can use signs a trust, and a command with another key signs nothing", async (t) => {
  const directory = await scratch(t);
  const [path, foreign] = [join(directory, "key.pem"), join(directory, "foreign.pem")];
  await writeFile(path, rootKeys[0].export({ type: "pkcs8", format: "pem" }));
  await writeFile(foreign, makeKey().export({ type: "pkcs8", format: "pem" }));
  const publicKey = createPublicKey(rootKeys[0]);
  const signer = (file: string) => ({ publicKey, command: `openssl dgst -sha256 -sign '${file}'` });
  const made = planTrust(plan());
  assert.throws(() => signTrust(made, signer(foreign)), coded("SIGNER_FAILED"));
  assert.equal(signTrust(made, signer(path)).length, 4);
  assert.equal(signTrust(made, rootKeys[1]).length, 4);
  const files = new Map([...made].map(([name, value]) => [name, Buffer.from(JSON.stringify(value.toJSON()))]));
  assert.equal(loadTrust(files, NOW).rootVersion, 1);
});
