/** Real processes and real SIGKILLs, at a call of the disk that the seed chooses; then recover. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { recover } from "../../installer/lifecycle/execute.ts";
import { openSiteForChange } from "../../installer/lifecycle/site.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { statePaths } from "../../installer/site/state.ts";
import { random } from "../support/faulty-disk.ts";
import { scratch } from "../support/scratch.ts";
import { makeTestSite } from "../support/test-site.ts";
import { prepareToy, TOY_NEW, TOY_OLD, toyOperation, toyState } from "../support/toy-operation.ts";

const RUNS = Number(process.env["SEALIFT_KILL_RUNS"] ?? 8);
const SEED = Number(process.env["SEALIFT_FAULT_SEED"] ?? 20261121);
const CALLS = 58;
const VICTIM = new URL("../support/kill-victim.ts", import.meta.url).pathname;

test(`an operation killed at a call ends old or new (${RUNS} processes, seed ${SEED})`, async (t) => {
  const parent = await scratch(t);
  const { directory: template, clock } = makeTestSite(parent);
  prepareToy({ paths: statePaths(template), disk: hostDisk, clock: clock.read });
  const next = random(SEED);
  const ends = new Map<string, number>();
  for (let run = 0; run < RUNS; run += 1) {
    // Spread over the whole operation, with the seed's place within each part.
    const at = 1 + Math.floor(((run + next()) * CALLS) / RUNS);
    const directory = join(parent, `run-${run}`);
    cpSync(template, directory, { recursive: true, verbatimSymlinks: true });
    const child = spawn(process.execPath, [VICTIM, directory, String(at)], { stdio: ["ignore", "inherit", "inherit"] });
    const [, signal] = (await once(child, "exit")) as [number | null, string | null];
    assert.equal(signal, "SIGKILL", `call ${at} was never reached`);
    const ground = { paths: statePaths(directory), disk: hostDisk, clock: clock.read };
    await recover(ground, new Map([[toyOperation.name, toyOperation]]), ground);
    const { ledger } = openSiteForChange(directory, { clock: clock.read });
    const state = toyState(directory);
    assert.ok(state === TOY_OLD || state === TOY_NEW, `killed at call ${at}: ${state}`);
    const results = ledger.entries.filter(({ type }) => type === "operation").map(({ data }) => data["result"]);
    assert.ok(results.length <= 1, `killed at call ${at}: ${results.length} operations in the ledger`);
    assert.equal(results[0] ?? "restored", state === TOY_NEW ? "committed" : "restored", `killed at call ${at}`);
    ends.set(state, (ends.get(state) ?? 0) + 1);
  }
  t.diagnostic(JSON.stringify(Object.fromEntries(ends)));
  assert.equal(ends.size, 2, "both ends were met");
});
