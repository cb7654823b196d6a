import assert from "node:assert/strict";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { hexOf } from "../../bundles/model/digest.ts";
import { appendEntry } from "../../installer/lifecycle/ledger.ts";
import { auditLedger } from "../../installer/lifecycle/ledger-audit.ts";
import {
  enrolledTrust,
  planTrustChange,
  TRUST_CHANGED,
  trustChangeTo,
  trustOfLedger,
} from "../../installer/lifecycle/trust-change.ts";
import { placeTrust, stageTrust } from "../../installer/site/trust.ts";
import { changedTrust, freshTrust, importTrust, rotatedTrust } from "../support/enrolled-site.ts";
import { scratch } from "../support/scratch.ts";
import { makeTestSite } from "../support/test-site.ts";
import { coded, sha256, testTrust } from "../support/test-trust.ts";

const publisher = testTrust();

test("the first import pins the root, a newer trust takes its place, and the ledger proves both", async (t) => {
  const { directory, open, alice, bob } = makeTestSite(await scratch(t));
  assert.throws(() => enrolledTrust(open()), coded("TRUST_NOT_ENROLLED"));
  const first = await importTrust(open(), publisher.files, alice);
  const { pin, files } = enrolledTrust(open());
  assert.equal(pin.rootFingerprint, sha256(publisher.files.get("1.root.json") as Buffer));
  assert.deepEqual(files, publisher.files);
  assert.equal(first.before, undefined);

  const newer = rotatedTrust(freshTrust(publisher));
  const { details, from, to, trustVersion } = planTrustChange(trustChangeTo(open(), newer.files));
  assert.deepEqual([from, trustVersion], [pin.digest, 1]);
  assert.equal(details[0], `keep root fingerprint ${pin.rootFingerprint}`);
  assert.ok(
    details.includes("root version 1 -> 2") && details.includes("timestamp version 1 -> 2"),
    details.join("\n"),
  );
  await importTrust(open(), newer.files, bob);
  assert.deepEqual(readdirSync(join(directory, "trust")), [hexOf(to as NonNullable<typeof to>)]);
  const after = enrolledTrust(open()).pin;
  assert.deepEqual([after.digest, after.roots.length, after.timestampVersion], [to, 2, 2]);
  assert.deepEqual(await auditLedger(open().ledger), { findings: [], authorizations: 2 });
});

test("the plan names the root, each role and each key, for the person who signs", async (t) => {
  const { open } = makeTestSite(await scratch(t));
  const { details, from } = planTrustChange(trustChangeTo(open(), publisher.files));
  assert.equal(from, null);
  assert.match(details[0] as string, /^pin root fingerprint [0-9a-f]{64}$/);
  for (const role of ["builder", "security", "release"]) {
    assert.ok(details.includes(`${role}: 1 of 1, for */*`), details.join("\n"));
    assert.ok(details.some((line) => new RegExp(`^${role} key [0-9a-f]{64} of ${role}-1$`).test(line)));
  }
});

test("a trust that is another publisher's, older, rewritten or expired is refused", async (t) => {
  const { open, alice, clock } = makeTestSite(await scratch(t));
  const inForce = rotatedTrust(freshTrust(publisher));
  await importTrust(open(), inForce.files, alice);
  const refused: [string, ReadonlyMap<string, Buffer>][] = [
    ["TRUST_FINGERPRINT_MISMATCH", testTrust().files],
    ["TRUST_ROLLBACK", freshTrust(publisher).files],
    ["TRUST_ROLLBACK", rotatedTrust(publisher).files],
    // What the holders of the first root's keys can still sign after they were rotated away.
    [
      "TRUST_REWRITTEN",
      rotatedTrust(freshTrust(publisher, 3), (signed) => {
        signed.expires = "2029-01-01T00:00:00Z";
      }).files,
    ],
    [
      "TRUST_REWRITTEN",
      changedTrust(rotatedTrust(freshTrust(publisher, 3)), "1.targets.json", (signed) => {
        signed.expires = "2029-01-01T00:00:00Z";
      }).files,
    ],
  ];
  for (const [code, files] of refused) assert.throws(() => trustChangeTo(open(), files), coded(code));
  clock.set("2031-01-01T00:00:00.000Z");
  assert.throws(() => trustChangeTo(open(), freshTrust(inForce, 4).files), coded("TRUST_EXPIRED"));
});

test("an edit of the trust directory is found out", async (t) => {
  const { directory, open, alice } = makeTestSite(await scratch(t));
  const { after } = await importTrust(open(), publisher.files, alice);
  const path = join(directory, "trust", hexOf(after.pin.digest));
  const timestamp = publisher.files.get("timestamp.json") as Buffer;
  writeFileSync(join(path, "timestamp.json"), Buffer.concat([timestamp, Buffer.from("\n")]));
  assert.throws(() => enrolledTrust(open()), coded("TRUST_CHANGED"));
  writeFileSync(join(path, "timestamp.json"), timestamp);
  enrolledTrust(open());
  writeFileSync(join(path, "2.root.json"), publisher.files.get("1.root.json") as Buffer);
  assert.throws(() => enrolledTrust(open()), coded("TRUST_CHANGED"));
  for (const gone of [join(path, "1.root.json"), path, join(directory, "trust")]) {
    rmSync(gone, { recursive: true });
    assert.throws(() => enrolledTrust(open()), {
      code: "TRUST_CHANGED",
      message: /^release trust "(?!.*release trust)/,
    });
  }
  const { disk, paths } = open();
  stageTrust(disk, paths.directory, publisher.files);
  placeTrust(disk, paths.directory, after.pin);
  assert.deepEqual(enrolledTrust(open()).files, publisher.files);
});

test("only the trust that was authorized can be put in its place", async (t) => {
  const { open, alice } = makeTestSite(await scratch(t));
  const { after } = await importTrust(open(), publisher.files, alice);
  const { disk, paths } = open();
  stageTrust(disk, paths.directory, freshTrust(publisher).files);
  assert.throws(() => placeTrust(disk, paths.directory, after.pin), coded("TRUST_CHANGED"));
  assert.deepEqual(enrolledTrust(open()).files, publisher.files);
});

test("a trust that came into the ledger without an authorization is a finding", async (t) => {
  const { open, alice, clock } = makeTestSite(await scratch(t));
  const { after } = await importTrust(open(), publisher.files, alice);
  const { disk, paths } = open();
  appendEntry(disk, paths.ledger, TRUST_CHANGED, { trust: after.pin }, clock.read());
  const { findings } = await auditLedger(open().ledger);
  assert.deepEqual(
    findings.map(({ code }) => code),
    ["LEDGER_UNAUTHORIZED"],
  );
  appendEntry(disk, paths.ledger, TRUST_CHANGED, { trust: { ...after.pin, roots: [] } }, clock.read());
  assert.throws(() => trustOfLedger(open().ledger.entries), coded("STATE_DAMAGED"));
});
