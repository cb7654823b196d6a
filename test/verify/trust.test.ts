import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { pathToFileURL } from "node:url";
import { keyFingerprint } from "../../bundles/model/public-key.ts";
import { publicKeyPem } from "../../bundles/sign/key-file.ts";
import { loadTrust, readTrustClaim } from "../../verify/trust/trust.ts";
import { readTrustDirectory } from "../../verify/trust/trust-directory.ts";
import { scratch } from "../support/scratch.ts";
import {
  coded,
  keyIdOf,
  makeKey,
  NOW,
  readSigned,
  resign,
  type SignedJson,
  sha256,
  type TestTrust,
  testTrust,
  tufKeyJson,
  writeSigned,
} from "../support/test-trust.ts";

const DAY = 86_400_000;
const later = (days: number): Date => new Date(NOW.getTime() + days * DAY);

/** A root of the next version with `rootKeys` and the same thresholds, signed with `signers`. */
function rotate(trust: TestTrust, rootKeys: readonly KeyObject[], signers: readonly KeyObject[]): void {
  const versions = [...trust.files.keys()].filter((name) => name.endsWith(".root.json")).length;
  const old = readSigned(trust.files, `${versions}.root.json`);
  const entries = rootKeys.map((key, i) => [`${i}`.repeat(64), tufKeyJson(key, `new-${i}`)] as const);
  const signed: SignedJson = structuredClone(old);
  signed.version = versions + 1;
  signed.keys = Object.fromEntries(entries);
  for (const role of Object.values(signed.roles)) role.keyids = entries.map(([id]) => id);
  const idOf = (key: KeyObject): string => keyIdOf(signed.keys, key) || keyIdOf(old.keys, key);
  writeSigned(
    trust.files,
    `${versions + 1}.root.json`,
    signed,
    signers.map((key) => [idOf(key), key]),
  );
}

/** Signs the other three files with other keys, under the ids of the newest root. */
function resignOthers(trust: TestTrust, keys: readonly KeyObject[], root: string): void {
  const ids = readSigned(trust.files, root).keys;
  for (const name of ["1.targets.json", "1.snapshot.json", "timestamp.json"]) {
    writeSigned(
      trust.files,
      name,
      readSigned(trust.files, name),
      keys.map((key) => [keyIdOf(ids, key), key]),
    );
  }
}

test("tells roles, thresholds, holders, keys, versions, expiry and the fingerprint for paper", () => {
  const { files, roleKeys } = testTrust({ builder: 2 }, "gateway");
  const trust = loadTrust(files, NOW);
  assert.equal(trust.rootVersion, 1);
  assert.equal(trust.targetsVersion, 1);
  assert.equal(trust.rootFingerprint, sha256(files.get("1.root.json") as Buffer));
  assert.equal(trust.expires, later(365).toISOString().replace(".000", ""));
  assert.deepEqual([...trust.roles.keys()], ["builder", "security", "release"]);
  const builder = trust.roles.get("builder");
  assert.equal(builder?.threshold, 2);
  assert.deepEqual(
    builder?.keys.map(({ fingerprint, holder }) => [fingerprint, holder]),
    roleKeys.builder.map((key, i) => [keyFingerprint(key), `builder-${i + 1}`]),
  );
});

test("a role covers its own appliance only, or every appliance if it says so", () => {
  const one = loadTrust(testTrust({}, "gateway").files, NOW).roles.get("release");
  assert.deepEqual(one?.paths, ["gateway/*"]);
  assert.equal(one?.covers("gateway", "1.0.0-rc.1"), true);
  assert.equal(one?.covers("gateway2", "1.0.0"), false);
  assert.equal(one?.covers("gateway/x", "1.0.0"), false);
  const all = loadTrust(testTrust({}, "*").files, NOW).roles.get("release");
  assert.equal(all?.covers("gateway", "1.0.0"), true);
  assert.equal(all?.covers("a/b", "1.0.0"), false);
});

test("other TUF clients read it: tuf-js' own Updater, over files", async (t) => {
  const directory = await scratch(t);
  const { files } = testTrust();
  await mkdir(join(directory, "repository"));
  for (const [name, bytes] of files) await writeFile(join(directory, "repository", name), bytes);
  await mkdir(join(directory, "client"));
  await writeFile(join(directory, "client/root.json"), files.get("1.root.json") as Buffer);
  const { Updater, BaseFetcher } = await import("tuf-js");
  const { DownloadHTTPError } = await import("tuf-js/dist/error.js");
  class FileFetcher extends BaseFetcher {
    override async fetch(url: string) {
      const bytes = files.get(url.split("/").at(-1) as string);
      if (!bytes) throw new DownloadHTTPError("not there", 404);
      return new Blob([new Uint8Array(bytes)]).stream() as never;
    }
  }
  const updater = new Updater({
    metadataDir: join(directory, "client"),
    metadataBaseUrl: pathToFileURL(join(directory, "repository")).href,
    fetcher: new FileFetcher(),
  });
  Reflect.set(Reflect.get(updater, "trustedSet") as object, "referenceTime", NOW);
  // It looks up no target, because we publish none: the roles sign statements, not TUF targets.
  await updater.refresh();
  const { targets } = Reflect.get(updater, "trustedSet") as { targets: { signed: { delegations: { roles: object } } } };
  assert.deepEqual(Object.keys(targets.signed.delegations.roles), ["builder", "security", "release"]);
});

test("expiry holds at the time that is asked for, neither the host's nor none", () => {
  const { files } = testTrust();
  loadTrust(files, later(364));
  loadTrust(files, later(-10_000));
  assert.throws(() => loadTrust(files, later(365)), coded("TRUST_EXPIRED"));
  assert.throws(() => loadTrust(files, later(3 * 365 + 1)), coded("TRUST_EXPIRED"));
  assert.throws(() => loadTrust(files, new Date("no time")), coded("TRUST_MALFORMED"));
});

for (const [name, days] of [
  ["1.root.json", -1],
  ["1.targets.json", -1],
  ["1.snapshot.json", -1],
  ["timestamp.json", -1],
] as const) {
  test(`refuses an expired ${name}`, () => {
    const trust = testTrust();
    resign(trust, name, (signed) => {
      signed.expires = later(days).toISOString().replace(".000", "");
    });
    assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_EXPIRED"));
  });

  test(`refuses ${name} with an expiry in another spelling`, () => {
    const trust = testTrust();
    resign(trust, name, (signed) => {
      signed.expires = "2030";
    });
    assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_MALFORMED"));
  });

  test(`refuses ${name} with one of two signatures, with the same one twice, and with a stranger's`, () => {
    const trust = testTrust();
    const { keys } = readSigned(trust.files, "1.root.json");
    const signed = readSigned(trust.files, name);
    const [first, second] = trust.rootKeys as [KeyObject, KeyObject];
    const [id1, id2] = [keyIdOf(keys, first), keyIdOf(keys, second)];
    for (const [signers, code] of [
      [[[id1, first]], "TRUST_THRESHOLD"],
      [[], "TRUST_THRESHOLD"],
      [
        [
          [id1, first],
          [id2, first],
        ],
        "TRUST_THRESHOLD",
      ],
      [
        [
          [id1, first],
          [id2, makeKey()],
        ],
        "TRUST_THRESHOLD",
      ],
      [
        [
          [id1, first],
          ["f".repeat(64), second],
        ],
        "TRUST_THRESHOLD",
      ],
      [
        [
          [id1, first],
          [id1, first],
        ],
        "TRUST_MALFORMED",
      ],
    ] as [[string, KeyObject][], string][]) {
      writeSigned(trust.files, name, signed, signers);
      assert.throws(() => loadTrust(trust.files, NOW), coded(code));
    }
  });

  test(`refuses a trust without ${name}, and with garbage or something else in its place`, () => {
    const trust = testTrust();
    const good = trust.files.get(name) as Buffer;
    trust.files.delete(name);
    assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_MALFORMED"));
    const other = trust.files.get(name === "timestamp.json" ? "1.snapshot.json" : "timestamp.json") as Buffer;
    const nested = Buffer.from("[".repeat(100_000));
    const texts = ["", "null", "7", "[]", "{}", '{"signed":null,"signatures":[]}', '{"signed":{},"signatures":7}'];
    for (const bytes of [...texts.map((text) => Buffer.from(text)), other, nested, good.subarray(0, 200)]) {
      trust.files.set(name, bytes);
      assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_MALFORMED"));
    }
  });

  test(`refuses ${name} in which a signed byte was changed`, () => {
    const trust = testTrust();
    const text = (trust.files.get(name) as Buffer).toString();
    trust.files.set(name, Buffer.from(text.replace('"expires":"20', '"expires":"21')));
    assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_THRESHOLD"));
  });
}

test("follows a rotation of the root that the old and the new keys signed", () => {
  const trust = testTrust();
  const keys = [makeKey(), makeKey()];
  rotate(trust, keys, [...trust.rootKeys, ...keys]);
  resignOthers(trust, keys, "2.root.json");
  const loaded = loadTrust(trust.files, NOW);
  assert.equal(loaded.rootVersion, 2);
  assert.equal(loaded.rootFingerprint, sha256(trust.files.get("1.root.json") as Buffer));
});

test("refuses a rotation that only the new keys or only the old keys signed", () => {
  for (const which of ["old", "new"]) {
    const trust = testTrust();
    const keys = [makeKey(), makeKey()];
    rotate(trust, keys, which === "old" ? trust.rootKeys : keys);
    resignOthers(trust, keys, "2.root.json");
    assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_THRESHOLD"));
  }
});

test("refuses old keys for the other files after a rotation", () => {
  const trust = testTrust();
  const keys = [makeKey(), makeKey()];
  rotate(trust, keys, [...trust.rootKeys, ...keys]);
  assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_THRESHOLD"));
});

test("refuses a gap in the roots, a root under another number and other versions than promised", () => {
  const gap = testTrust();
  gap.files.set("3.root.json", gap.files.get("1.root.json") as Buffer);
  assert.throws(() => loadTrust(gap.files, NOW), coded("TRUST_ROLLBACK"));
  const twice = testTrust();
  twice.files.set("2.root.json", twice.files.get("1.root.json") as Buffer);
  assert.throws(() => loadTrust(twice.files, NOW), coded("TRUST_ROLLBACK"));
  for (const name of ["1.snapshot.json", "1.targets.json"]) {
    const trust = testTrust();
    resign(trust, name, (signed) => {
      signed.version = 2;
    });
    assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_ROLLBACK"));
  }
  const started = testTrust();
  resign(started, "1.root.json", (signed) => {
    signed.version = 2;
  });
  assert.throws(() => loadTrust(started.files, NOW), coded("TRUST_MALFORMED"));
});

test("older files beside the current ones are left alone", () => {
  const trust = testTrust();
  trust.files.set("7.targets.json", Buffer.from("garbage"));
  loadTrust(trust.files, NOW);
});

/** Gives `role` another key entry over any key, under an id of its own. */
function addKey(signed: SignedJson, role: number, key: KeyObject, holder: string): void {
  const id = "e".repeat(63) + String(role);
  signed.delegations.keys[id] = tufKeyJson(key, holder);
  signed.delegations.roles[role]?.keyids.push(id);
}

const targetsChanges: [string, string, (signed: SignedJson, trust: TestTrust) => void][] = [
  [
    "one key in two roles",
    "TRUST_KEY_REUSED",
    (signed, { roleKeys }) => addKey(signed, 1, roleKeys.builder[0] as KeyObject, "x"),
  ],
  [
    "one key twice in a role, under two ids",
    "TRUST_KEY_REUSED",
    (signed, { roleKeys }) => addKey(signed, 0, roleKeys.builder[0] as KeyObject, "x"),
  ],
  [
    "a root key in a role",
    "TRUST_KEY_REUSED",
    (signed, { rootKeys }) => addKey(signed, 0, rootKeys[0] as KeyObject, "x"),
  ],
  ["one holder twice in a role", "TRUST_HOLDER_TWICE", (signed) => addKey(signed, 0, makeKey(), "builder-1")],
  ["a key without a holder", "TRUST_MALFORMED", (signed) => addKey(signed, 0, makeKey(), "")],
  ["a role missing", "TRUST_ROLE_MISSING", (signed) => signed.delegations.roles.pop()],
  ["no delegations", "TRUST_ROLE_MISSING", (signed) => Reflect.deleteProperty(signed, "delegations")],
  [
    "an unknown role",
    "TRUST_MALFORMED",
    (signed) =>
      signed.delegations.roles.push({ name: "admin", keyids: [], threshold: 1, terminating: true, paths: ["*/*"] }),
  ],
  [
    "a role twice",
    "TRUST_MALFORMED",
    (signed) => signed.delegations.roles.push(...signed.delegations.roles.slice(0, 1)),
  ],
  [
    "a role's key that is not there",
    "TRUST_MALFORMED",
    (signed) => signed.delegations.roles[0]?.keyids.push("d".repeat(64)),
  ],
  [
    "a key id twice in a role",
    "TRUST_MALFORMED",
    (signed) => signed.delegations.roles[0]?.keyids.push(signed.delegations.roles[0].keyids[0] as string),
  ],
  [
    "threshold 0",
    "TRUST_MALFORMED",
    (signed) => Object.assign(signed.delegations.roles[0] as object, { threshold: 0 }),
  ],
  [
    "a threshold above the keys",
    "TRUST_THRESHOLD",
    (signed) => Object.assign(signed.delegations.roles[0] as object, { threshold: 2 }),
  ],
  [
    "a threshold as text",
    "TRUST_MALFORMED",
    (signed) => Object.assign(signed.delegations.roles[0] as object, { threshold: "1" }),
  ],
  [
    "a pattern that is more than ours",
    "TRUST_MALFORMED",
    (signed) => Object.assign(signed.delegations.roles[0] as object, { paths: ["{a,b}/**"] }),
  ],
  ["no paths", "TRUST_MALFORMED", (signed) => Object.assign(signed.delegations.roles[0] as object, { paths: [] })],
  [
    "hash prefixes for paths",
    "TRUST_MALFORMED",
    (signed) => {
      const role = signed.delegations.roles[0] as { paths?: string[] };
      delete role.paths;
      Object.assign(role, { path_hash_prefixes: [""] });
    },
  ],
  [
    "a key of another scheme",
    "TRUST_MALFORMED",
    (signed) => Object.assign(Object.values(signed.delegations.keys)[0] as object, { scheme: "ed25519" }),
  ],
  [
    "a key on P-384",
    "TRUST_MALFORMED",
    (signed) =>
      Object.assign(Object.values(signed.delegations.keys)[0]?.keyval as object, {
        public: publicKeyPem(generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey),
      }),
  ],
  [
    "a private key",
    "TRUST_MALFORMED",
    (signed) =>
      Object.assign(Object.values(signed.delegations.keys)[0]?.keyval as object, {
        public: makeKey().export({ format: "pem", type: "pkcs8" }),
      }),
  ],
];
for (const [what, code, change] of targetsChanges) {
  test(`refuses ${what}, however rightly signed; and so does the claim that a signer reads`, () => {
    const trust = testTrust();
    resign(trust, "1.targets.json", (signed) => change(signed, trust));
    assert.throws(() => loadTrust(trust.files, NOW), coded(code));
    assert.throws(() => readTrustClaim(trust.files), coded(code));
  });
}

test("one root key under two ids does not count as two", () => {
  const trust = testTrust();
  const key = trust.rootKeys[0] as KeyObject;
  const signed = readSigned(trust.files, "1.root.json");
  const id = keyIdOf(signed.keys, key);
  const alias = "a".repeat(64);
  signed.keys = { [id]: tufKeyJson(key, "Ada"), [alias]: tufKeyJson(key, "Bob") };
  for (const role of Object.values(signed.roles)) role.keyids = [id, alias];
  writeSigned(trust.files, "1.root.json", signed, [
    [id, key],
    [alias, key],
  ]);
  assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_KEY_REUSED"));
});

test("one holder of two root keys does not count as two", () => {
  const trust = testTrust();
  resign(trust, "1.root.json", (signed) => {
    for (const key of Object.values(signed.keys)) key["x-sealift-holder"] = "Ada";
  });
  assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_HOLDER_TWICE"));
});

test("what a signer reads is there before anybody has signed", () => {
  const trust = testTrust();
  for (const name of trust.files.keys()) writeSigned(trust.files, name, readSigned(trust.files, name), []);
  const claim = readTrustClaim(trust.files);
  assert.equal(claim.rootThreshold, 2);
  assert.deepEqual(
    claim.rootKeys.map(({ holder }) => holder),
    ["root-1", "root-2"],
  );
  assert.deepEqual([...claim.roles.keys()], ["builder", "security", "release"]);
  assert.throws(() => loadTrust(trust.files, NOW), coded("TRUST_THRESHOLD"));
});

test("500 seeded mutants of a trust never crash and never change who is trusted", () => {
  const { files } = testTrust();
  const fingerprints = (loaded: ReturnType<typeof loadTrust>): string[] =>
    [...loaded.roles.values()].flatMap(({ keys }) => keys.map(({ fingerprint }) => fingerprint));
  const want = fingerprints(loadTrust(files, NOW));
  let seed = 7;
  const next = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  let refused = 0;
  for (let round = 0; round < 500; round += 1) {
    const mutants = new Map(files);
    const name = [...files.keys()][next(files.size)] as string;
    const bytes = Buffer.from(files.get(name) as Buffer);
    bytes.writeUInt8(next(256), next(bytes.length));
    mutants.set(name, bytes);
    try {
      assert.deepEqual(fingerprints(loadTrust(mutants, NOW)), want, `round ${round}`);
    } catch (cause) {
      assert.match((cause as { code?: string }).code ?? String(cause), /^TRUST_/, `round ${round}: ${String(cause)}`);
      refused += 1;
    }
  }
  assert.ok(refused > 450, `got ${refused} of 500 refused`);
});

test("a trust directory gives its metadata and nothing else, bounded", async (t) => {
  const directory = await scratch(t);
  const { files } = testTrust();
  for (const [name, bytes] of files) await writeFile(join(directory, name), bytes);
  await writeFile(join(directory, "README"), "not ours");
  await writeFile(join(directory, "01.root.json"), "not ours");
  assert.deepEqual([...readTrustDirectory(directory).keys()].sort(), [...files.keys()].sort());
  await writeFile(join(directory, "2.targets.json"), Buffer.alloc(2 * 1024 * 1024));
  assert.throws(() => readTrustDirectory(directory), coded("TRUST_UNREADABLE"));
});

test("tells a directory that is missing, or holds no trust, from one that cannot be read", async (t) => {
  const directory = await scratch(t);
  assert.throws(() => readTrustDirectory(join(directory, "none")), coded("TRUST_NOT_FOUND"));
  assert.throws(() => readTrustDirectory(directory), coded("TRUST_NOT_FOUND"));
  await writeFile(join(directory, "file"), "");
  assert.throws(() => readTrustDirectory(join(directory, "file")), coded("TRUST_UNREADABLE"));
  for (const target of ["/dev/zero", join(directory, "file")]) {
    await symlink(target, join(directory, "1.root.json"));
    assert.throws(() => readTrustDirectory(directory), coded("TRUST_UNREADABLE"), target);
    await rm(join(directory, "1.root.json"));
  }
});
