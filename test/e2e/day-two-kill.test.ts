/** What an operator does with a site that runs, killed in its middle: afterwards there is the old state or the new one. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it, type TestContext } from "node:test";
import { dockerCall } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { sealift } from "../support/command-line.ts";
import { random } from "../support/faulty-disk.ts";
import { type KillPoint, runKilledAt } from "../support/kill-at.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningOperation } from "../support/running-operation.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const PORT = 18_743;
const MODEL = "sealift-test-model";
const SEED = Number(process.env["SEALIFT_TEST_SEED"] ?? 1);
const DELAY_MAX_MS = 400;
const next = random(SEED);
/** In the middle of the task, which takes about half a second: before its container, in it, or behind it. */
const within = (): KillPoint => ({ journalWrite: 2, when: "after", delayMs: Math.floor(next() * DELAY_MAX_MS) });
/** `begin`, the order's intent, its outcome: then the key's intent and outcome, or at once the end. */
const BEFORE: KillPoint = { journalWrite: 2, when: "before" };
const DONE: KillPoint = { journalWrite: 3, when: "before" };
const RECORDED: KillPoint = { journalWrite: 3, when: "after" };

inOwnMachine(
  import.meta.url,
  "day two, cut off in its middle",
  () => describe("day two, cut off in its middle", { timeout: 600_000 }, suite),
  () => prepareReleases("first"),
);

interface Recovered {
  readonly operation: string | null;
  readonly result: "committed" | "restored" | null;
  readonly credentials: readonly string[];
}

function suite(): void {
  const cleanups: (() => Promise<void>)[] = [];
  let site: RunningSite;

  before(async () => {
    const directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    site = await RunningSite.start(directory, "classic");
    cleanups.unshift(() => site.engine.stop());
    const config = join(directory, "install.json");
    await writeFile(config, JSON.stringify({ clientPort: PORT }));
    await site.change("install", (await realRelease("first")).bundle, "--config", config);
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  const recover = async (): Promise<Recovered> => {
    const { exit, stdout, stderr } = await sealift(["recover", "--json", "--state", site.site.state]);
    assert.equal(exit, 0, stdout + stderr);
    return JSON.parse(stdout) as Recovered;
  };
  const listed = async <Row>(verb: string, member: string): Promise<readonly Row[]> => {
    const { exit, stdout, stderr } = await site.run(verb, "list", "--json");
    assert.equal(exit, 0, stderr);
    return (JSON.parse(stdout) as Record<string, readonly Row[]>)[member] ?? [];
  };
  /** No container of a task is left that could still do something. */
  const assertNoTask = async (): Promise<void> => {
    const filter = ["--filter", "label=com.docker.compose.oneoff=True", "--filter", "label=sealift.site"];
    const call = dockerCall(site.engine.engine, ["ps", "--all", "--quiet", ...filter]);
    assert.equal((await runCall(call, { timeoutMs: 60_000 })).stdout.trim(), "");
  };
  const lastResult = async (): Promise<unknown> => {
    const { stdout } = await site.run("ledger", "show", "--json");
    const { entries } = JSON.parse(stdout) as { entries: { type: string; data: Record<string, unknown> }[] };
    return entries.findLast(({ type }) => type === "operation")?.data["result"];
  };
  const told = (t: TestContext, point: KillPoint, { result }: Recovered): void =>
    t.diagnostic(`${JSON.stringify(point)}: ${result}`);

  it(`tenant add: the whole tenant is there, or nothing of it, as the ledger says, seed ${SEED}`, async (t) => {
    const results = new Set<unknown>();
    for (const [i, point] of [BEFORE, within(), within(), DONE].entries()) {
      const name = `tenant-${i}`;
      const { wasKilled, exit, stderr } = await runKilledAt(site.signed("tenant", "add", name), point);
      // On a quick machine a late kill comes too late.
      if (!wasKilled) {
        assert.equal(exit, 0, stderr);
        continue;
      }
      const recovered = await recover();
      told(t, point, recovered);
      await assertNoTask();
      const tenants = await listed<{ name: string; models: string[] }>("tenant", "tenants");
      const found = tenants.find((one) => one.name === name);
      assert.deepEqual(found?.models, recovered.result === "committed" ? [MODEL] : undefined, JSON.stringify(point));
      assert.equal(await lastResult(), recovered.result);
      results.add(recovered.result);
    }
    assert.deepEqual([...results].sort(), ["committed", "restored"], "kills before it and after it");
    assert.equal((await site.run("ledger", "verify")).exit, 0);
  });

  it(`api-key add: there is a key, and recover shows one; or there is none, seed ${SEED}`, async (t) => {
    for (const [i, point] of [within(), DONE, RECORDED].entries()) {
      const holder = `robot-${i}`;
      const add = site.signed("api-key", "add", "--tenant", "default", "--for", holder);
      const { wasKilled, exit, stderr } = await runKilledAt(add, point);
      if (!wasKilled) {
        assert.equal(exit, 0, stderr);
        continue;
      }
      const recovered = await recover();
      told(t, point, recovered);
      await assertNoTask();
      const keys = await listed<{ holder: string; prefix: string }>("api-key", "keys");
      const of = keys.filter((one) => one.holder === holder);
      const isNew = recovered.result === "committed";
      assert.deepEqual([of.length, recovered.credentials.length], isNew ? [1, 1] : [0, 0], JSON.stringify(point));
      if (isNew) assert.ok(JSON.parse(recovered.credentials[0] ?? "").key.startsWith(`slk_${of[0]?.prefix}_`));
      assert.equal(await lastResult(), recovered.result);
    }
  });

  const secrets = (): Readonly<Record<string, string>> => {
    const directory = join(site.site.state, "secrets");
    const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
    const paths = files.map((one) => join(one.parentPath, one.name));
    return Object.fromEntries(paths.map((path) => [path, readFileSync(path, "latin1")]));
  };
  /** At some moment of the step, or of what follows within so long. */
  const killedIn = async (
    t: TestContext,
    step: string,
    withinMs: number,
    ...args: readonly string[]
  ): Promise<Recovered> => {
    const operation = new RunningOperation(site, args);
    const delayMs = Math.floor(next() * withinMs);
    t.diagnostic(`${args.join(" ")}: ${step} + ${delayMs} ms`);
    await operation.reached(step, delayMs);
    operation.signal("SIGKILL");
    await operation.ended;
    return recover();
  };

  it(`a rotation before its commit: every secret is the old one, and all services know each other, seed ${SEED}`, async (t) => {
    const old = secrets();
    assert.equal((await killedIn(t, "rotate", 1_000, "rotate", "certificates")).result, "restored");
    assert.deepEqual(secrets(), old);
    await site.assertAt("1.0.0");
    assert.equal((await killedIn(t, "watch", 5_000, "rotate", "secrets")).result, "restored");
    assert.deepEqual(secrets(), old);
    await site.assertAt("1.0.0");
    assert.ok(!readdirSync(join(site.site.state, "site")).includes("rotation"));
    // The task comes in with the owner's password, and a new key goes all the way.
    await site.change("tenant", "add", "after-rotation");
  });

  it(`a rotation after its commit: every secret is the new one alone, seed ${SEED}`, async (t) => {
    const old = secrets();
    assert.equal((await killedIn(t, "settle", 500, "rotate", "secrets")).result, "committed");
    await site.assertAt("1.0.0");
    const now = secrets();
    const changed = Object.keys(old).filter((path) => now[path] !== old[path]);
    assert.equal(changed.length, 8, changed.join(", "));
    for (const path of changed) assert.ok(!now[path]?.includes("\n"), path);
    await site.change("tenant", "disable", "after-rotation");
    assert.equal((await site.run("ledger", "verify")).exit, 0);
  });
}
