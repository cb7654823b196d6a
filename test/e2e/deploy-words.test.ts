/** What an operator is told when containers do not do as they should: why a release failed, and who had to be killed. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, it } from "node:test";
import { endProject } from "../../compose/engine/end-project.ts";
import { projectName } from "../../compose/render.ts";
import { KillCampaign } from "../support/kill-campaign.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningOperation } from "../support/running-operation.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const PORT = 18_993;

inOwnMachine(import.meta.url, "an operator is told what containers do not say any more", defineTests, () =>
  prepareReleases("first", "next", "unhealthy"),
);

function defineTests(): void {
  const cleanups: (() => Promise<void>)[] = [];
  let site: RunningSite;
  let whole: KillCampaign;

  before(async () => {
    const directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    site = await RunningSite.start(directory, "classic");
    cleanups.unshift(() => site.engine.stop());
    whole = new KillCampaign(site, directory, PORT);
    await whole.complete("install");
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  it("a release that fails is taken back; what its containers wrote stays, root's alone, and the error says where", async () => {
    const { bundle } = await realRelease("unhealthy");
    const { stderr } = await site.refused(5, "OPERATION_FAILED", "upgrade", bundle);
    const failed = join(site.site.state, "failed");
    const [id = "", ...more] = readdirSync(failed);
    assert.deepEqual(more, []);
    assert.ok(stderr.includes(`hint: what its containers wrote is kept in ${join(failed, id)}`), stderr);
    const logs = readdirSync(join(failed, id));
    assert.ok(logs.includes("gateway.log") && logs.includes("pii.log"), logs.join());
    for (const name of logs) assert.equal(statSync(join(failed, id, name)).mode & 0o777, 0o600);
    const [state = "", first = ""] = readFileSync(join(failed, id, "gateway.log"), "utf8").split("\n");
    assert.match(state, /^# gateway: /);
    assert.match(first, /^\d{4}-\d\d-\d\dT[\d:.]+Z \{/);
    await whole.assertWhole();
    await site.assertAt("1.0.0");
  });

  it("a container that does not end when it is asked to is killed in the end, and that is said", async () => {
    const upgrade = new RunningOperation(site, ["upgrade", (await realRelease("next")).bundle, "--json"], "drain");
    await upgrade.paused();
    stop(Number(await inspected(await project("blue"), "model", "{{.State.Pid}}")));
    upgrade.resume();
    const { exit, stdout, stderr } = await upgrade.ended;
    assert.equal(exit, 0, stderr);
    assert.match(stderr, /end its requests .*: model still at work; killed in \d+ s/);
    assert.match(stderr, /^note: model did not end within 60 s and was killed$/m);
    const { remarks } = JSON.parse(stdout) as { remarks: string[] };
    assert.deepEqual(remarks, ["model did not end within 60 s and was killed"]);
    await whole.assertWhole();
    await site.assertAt("1.1.0");
  });

  it("containers end in their order: those first on which no other depends", async () => {
    const green = await project("green");
    const { engine } = site.engine;
    const file = await inspected(
      green,
      "gateway",
      '{{index .Config.Labels "com.docker.compose.project.config_files"}}',
    );
    const containers = { name: green, file, directory: dirname(file) };
    assert.deepEqual(await endProject(engine, containers, 20), []);
    const times = await Promise.all(
      ["gateway", "pii", "model"].map((service) => inspected(green, service, "{{.State.FinishedAt}}")),
    );
    assert.equal([...times].sort()[0], times[0], "the gateway needs the others to end its requests");
    assert.deepEqual(await endProject(engine, containers, 1), [], "nothing runs any more");
    const { exit, stderr } = await site.run("start");
    assert.equal(exit, 0, stderr);
    await whole.assertWhole();
  });

  async function project(colour: "blue" | "green"): Promise<string> {
    return projectName((await site.status()).siteId, colour);
  }

  /** Of the one container of a service. */
  async function inspected(ofProject: string, service: string, format: string): Promise<string> {
    const filters = [`label=com.docker.compose.project=${ofProject}`, `label=com.docker.compose.service=${service}`];
    const id = await whole.docker("ps", "--all", "--quiet", ...filters.flatMap((one) => ["--filter", one]));
    return whole.docker("inspect", "--format", format, id);
  }
}

/** It hears no SIGTERM any more, as a program that hangs. */
function stop(pid: number): void {
  process.kill(pid, "SIGSTOP");
}
