/** A power cut or a full disk at every call of `attest import`: what is there can be read, and nothing in it is older. */
import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { collateralFiles, importCollateral } from "../../installer/lifecycle/collateral-store.ts";
import { type Disk, hostDisk } from "../../installer/site/disk.ts";
import { checkCollateral, collateralItems } from "../../verify/attestation/collateral-check.ts";
import { needsOf } from "../../verify/attestation/collateral-needs.ts";
import { Simulator } from "../../verify/attestation/simulator.ts";
import { amdAnswers, filesFrom, kitOf } from "../support/collateral-servers.ts";
import { type Fault, FaultyDisk } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { makeSigner } from "../support/ssh-signer.ts";
import { simulatedPolicy } from "../verify/attestation/evidence.ts";

const HOUR_MS = 3_600_000;
const FROM = new Date("2026-11-20T08:00:00Z");
const NOW = new Date(FROM.getTime() + 24 * HOUR_MS);
const by = new Simulator({ rsaBits: 2048, notBefore: FROM });
const fetcher = makeSigner();
const needs = needsOf(by.report());
const policy = simulatedPolicy(by);
const kitWith = (number: number): Buffer =>
  kitOf(fetcher, needs, NOW, filesFrom(amdAnswers(by, new Date(FROM.getTime() + number * HOUR_MS), { number }), needs));
const bring = (disk: Disk, directory: string, kit: Buffer) =>
  importCollateral(disk, { kit, signers: [{ principal: "fred", key: fetcher.key }], directory, policy, now: NOW });
const KINDS: readonly ((at: number) => Fault)[] = [
  (at) => ({ kind: "power", at }),
  (at) => ({ kind: "error", code: "ENOSPC", at, forever: true }),
];

const AGAIN_EACH = 4;

test("an import under any fault leaves collateral that still does, the old or the new, and is done by doing it again", async (t) => {
  const parent = await scratch(t);
  const before = join(parent, "before");
  await bring(hostDisk, before, kitWith(4));
  const kit = kitWith(5);
  const ends = new Set<string>();
  for (const [k, kind] of KINDS.entries()) {
    let isComplete = false;
    for (let at = 1; !isComplete; at += 1) {
      const name = `${k}-${at}`;
      const directory = join(parent, name);
      cpSync(before, directory, { recursive: true });
      const disk = new FaultyDisk(kind(at), at);
      try {
        await bring(disk, directory, kit);
        isComplete = disk.calls < at;
      } catch (error) {
        const code = (error as { code?: string }).code ?? "";
        if (!disk.isDead) assert.ok(["STATE_DISK_FULL", "STATE_WRITE_FAILED"].includes(code), `${name}: ${error}`);
      }
      const left = collateralFiles(directory);
      const [list] = checkCollateral(left, needs, NOW, policy).filter(({ number }) => number !== null);
      ends.add(`${list?.number}`);
      // ssh-keygen takes longer than all the rest.
      if (at % AGAIN_EACH !== 0) continue;
      await bring(hostDisk, directory, kit);
      const numbers = collateralItems(collateralFiles(directory)).flatMap(({ number }) =>
        number === null ? [] : [number],
      );
      assert.deepEqual(numbers, [5n], name);
    }
  }
  assert.deepEqual([...ends].sort(), ["4", "5"]);
});
