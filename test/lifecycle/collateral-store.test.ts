import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import {
  collateralFiles,
  collateralForecast,
  collateralWarnings,
  type ImportQuestion,
  importCollateral,
  importSiteCollateral,
  siteCollateral,
} from "../../installer/lifecycle/collateral-store.ts";
import { auditLedger } from "../../installer/lifecycle/ledger-audit.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { type CollateralNeed, needsOf } from "../../verify/attestation/collateral-needs.ts";
import { Simulator } from "../../verify/attestation/simulator.ts";
import { amdAnswers, filesFrom, kitOf } from "../support/collateral-servers.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigner } from "../support/ssh-signer.ts";
import { makeTestSite } from "../support/test-site.ts";
import { coded } from "../support/test-trust.ts";
import { simulatedPolicy } from "../verify/attestation/evidence.ts";

const DAY_MS = 86_400_000;
const NOW = new Date("2026-11-21T08:00:00.000Z");
const FROM = new Date(NOW.getTime() - DAY_MS);
const by = new Simulator({ rsaBits: 2048, notBefore: FROM });
const fetcher = makeSigner();
const needs = needsOf(by.report());

interface KitOptions {
  readonly number?: number;
  readonly from?: Date;
  readonly days?: number;
  readonly fetched?: Date;
  readonly signer?: ReturnType<typeof makeSigner>;
  readonly namespace?: string;
  /** What the statement says that the files are for. */
  readonly claimed?: readonly CollateralNeed[];
}

function kit({
  number = 5,
  from = FROM,
  days,
  fetched = NOW,
  signer = fetcher,
  namespace,
  claimed = needs,
}: KitOptions = {}) {
  const files = filesFrom(amdAnswers(by, from, { number, ...(days !== undefined && { days }) }), needs);
  return kitOf(signer, claimed, fetched, files, namespace);
}

function bring(directory: string, bytes: Buffer, changes: Partial<ImportQuestion> = {}) {
  return importCollateral(hostDisk, {
    kit: bytes,
    signers: [{ principal: "fred", key: fetcher.key }],
    directory,
    policy: simulatedPolicy(by),
    now: NOW,
    ...changes,
  });
}

/** Name → bytes of all that lies in a directory. */
const contents = (directory: string): Record<string, string> =>
  Object.fromEntries(readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), "base64")]));

test("a signed kit becomes a directory of collateral, a newer one takes its place, and what is for others stays", async (t) => {
  const directory = join(await scratch(t), "collateral");
  const { by: signer, items } = await bring(directory, kit());
  assert.equal(signer.principal, "fred");
  assert.equal(items.length, 4);
  const chip = by.chipId.toString("hex", 0, 8);
  const names = [`amd-milan-vcek-${chip}-4.0.24.219.der`, "amd-milan-vcek-chain.pem", "amd-milan-vcek.crl"];
  assert.deepEqual(readdirSync(directory).sort(), names.toSorted());
  const neighbour = new Simulator({ rsaBits: 2048, notBefore: FROM });
  writeFileSync(join(directory, "of-another-chip.der"), neighbour.leafCertificate());
  writeFileSync(
    join(directory, "brought-by-hand.crl"),
    by.revocationList({ number: 4, thisUpdate: FROM, nextUpdate: NOW }),
  );
  writeFileSync(join(directory, ".amd-milan-vcek.crl.new"), "half of a l");
  await bring(directory, kit({ number: 6, from: new Date(FROM.getTime() + 3_600_000) }));
  const left = collateralFiles(directory).map(({ name }) => name);
  assert.deepEqual(left, [...names, "of-another-chip.der"].sort(), "the list that was brought by hand is older");
  assert.ok(!readdirSync(directory).includes(".amd-milan-vcek.crl.new"), "what a power cut left is written over");
});

test("a kit is refused, and the directory stays as it was, when it is older, expired, of nobody or not what was signed", async (t) => {
  const directory = join(await scratch(t), "collateral");
  await bring(directory, kit());
  const before = contents(directory);
  const strangers = kit({ signer: makeSigner() });
  const damaged = JSON.parse(kit().toString());
  damaged.statement = damaged.statement.replace(NOW.toISOString(), FROM.toISOString());
  const refused: readonly (readonly [string, string, Buffer])[] = [
    ["a smaller number", "ATTEST_COLLATERAL_ROLLED_BACK", kit({ number: 4 })],
    [
      "the same number, issued before",
      "ATTEST_COLLATERAL_ROLLED_BACK",
      kit({ from: new Date(FROM.getTime() - DAY_MS) }),
    ],
    ["a list that has ended", "ATTEST_COLLATERAL_EXPIRED", kit({ days: 0.5 })],
    ["fetched tomorrow", "ATTEST_COLLATERAL_EXPIRED", kit({ fetched: new Date(NOW.getTime() + DAY_MS) })],
    ["another's signature", "ATTEST_COLLATERAL_SIGNER", strangers],
    ["a signature for something else", "ATTEST_COLLATERAL_SIGNATURE", kit({ namespace: "sealift-authorization" })],
    ["another statement than was signed", "ATTEST_COLLATERAL_SIGNATURE", Buffer.from(JSON.stringify(damaged))],
    [
      "another chip's need",
      "ATTEST_COLLATERAL_OTHER",
      kit({ claimed: needsOf(new Simulator({ rsaBits: 2048 }).report()) }),
    ],
  ];
  for (const [what, code, bytes] of refused) {
    await assert.rejects(bring(directory, bytes), coded(code), what);
    assert.deepEqual(contents(directory), before, what);
  }
});

test("a site takes kits of its operators only, notes it in the ledger, and says when what it has ends", async (t) => {
  const { open, alice, clock } = makeTestSite(await scratch(t));
  assert.equal(collateralForecast(open()), undefined);
  await assert.rejects(importSiteCollateral(open(), kit(), simulatedPolicy(by)), coded("ATTEST_COLLATERAL_SIGNER"));
  await importSiteCollateral(open(), kit({ signer: alice }), simulatedPolicy(by));
  const entry = open().ledger.entries.at(-1);
  assert.equal(entry?.type, "collateral-imported");
  assert.equal((entry.data["by"] as { principal: string }).principal, "alice");
  assert.deepEqual((await auditLedger(open().ledger)).findings, []);
  assert.equal(collateralForecast(open())?.daysLeft, 45);
  assert.deepEqual(collateralWarnings(open()), []);
  clock.pass(31 * DAY_MS);
  assert.match(
    collateralWarnings(open())[0] ?? "",
    /revocation list of .*ARK-Milan in 14 days ends, on 2027-01-05: sealift attest needs/,
  );
  clock.pass(20 * DAY_MS);
  assert.match(collateralWarnings(open())[0] ?? "", /ended on 2027-01-05/);
  writeFileSync(join(siteCollateral(open().paths), "notes.txt"), "remember the milk");
  assert.match(collateralWarnings(open())[0] ?? "", /cannot be read \(ATTEST_CERTIFICATE_MALFORMED\)/);
});
