/**
 * A site's life on the real engine, in both image stores: install, upgrade and rollback under load without a
 * lost request, releases that must not stay, what remains without a medium and after uninstall.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { dockerCall, type ImageStore } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { sealift } from "../support/command-line.ts";
import { engineDiskBytes } from "../support/engine-disk.ts";
import { failedRequests, startLoad } from "../support/load.ts";
import type { LoadReport, LoadRequest } from "../support/load-generator.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { type BrokenRelease, prepareReleases, realRelease, STREAM_SECONDS } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const PORT = 18443;
const STORE = "SEALIFT_TEST_STORE";
/** Over kept connections, and as many over new ones. */
const PER_SECOND = 25;
const BROKEN: readonly (readonly [BrokenRelease, RegExp])[] = [
  ["unhealthy", /gateway: (?:un|starting)/],
  ["wrong", /got release "9\.9\.9", want "1\.2\.0"/],
  ["slow", /no answer within 3000 ms/],
  ["broken-migration", /"name":"broken","code":"22012"/],
];

for (const store of ["classic", "containerd"] as const) {
  inOwnMachine(
    import.meta.url,
    `a site lives on the real engine, ${store} store`,
    () => {
      // Each store has a machine of its own, in which this file is run again.
      if (process.env[STORE] === store) suite(store);
    },
    async () => ({
      ...(await prepareReleases("first", "next", ...BROKEN.map(([name]) => name))),
      [STORE]: store,
    }),
  );
}

/** Of a release's images. */
async function digestsIn(name: "first" | "next"): Promise<string[]> {
  const { stdout } = await sealift(["bundle", "inspect", (await realRelease(name)).bundle, "--json"]);
  const { release } = JSON.parse(stdout) as { readonly release: { readonly images: readonly { digest: string }[] } };
  return release.images.map(({ digest }) => digest);
}

function suite(store: ImageStore): void {
  describe(`the ${store} store`, { timeout: 900_000 }, () => {
    const cleanups: (() => Promise<void>)[] = [];
    let site: RunningSite;
    let directory: string;
    let apiKey = "";

    before(async () => {
      directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
      site = await RunningSite.start(directory, store);
      cleanups.unshift(() => site.engine.stop());
    });
    after(async () => {
      for (const work of cleanups) await work();
    });

    const docker = async (...args: string[]): Promise<string> => {
      const { status, stdout, stderr } = await runCall(dockerCall(site.engine.engine, args), { timeoutMs: 60_000 });
      assert.equal(status, 0, stderr);
      return stdout.trim();
    };

    /** How often each gateway was started, and its last words. */
    async function gatewaysSay(): Promise<string> {
      const ids = (
        await docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.service=gateway")
      ).split("\n");
      const said = ids.map(async (id) => {
        const state = await docker("inspect", "--format", "{{.Name}} {{.RestartCount}} {{json .State}}", id);
        const { stdout, stderr } = await runCall(dockerCall(site.engine.engine, ["logs", "--tail", "40", id]), {
          timeoutMs: 60_000,
        });
        return `${state}\n${stdout}\n${stderr}`;
      });
      return (await Promise.all(said)).join("\n");
    }

    /** Requests by the clock while `work` goes on, with `streams` of 30 s too; none may be lost. Returns which releases answered. */
    async function underLoad(work: () => Promise<unknown>, streams: boolean): Promise<string[]> {
      const ask = (stream: boolean): LoadRequest => ({
        path: "/v1/chat/completions",
        headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
        body: JSON.stringify({ model: "sealift-test-model", stream, messages: [{ role: "user", content: "hello" }] }),
        ...(stream ? { endsWith: "[DONE]\n\n" } : { includes: '"whole"' }),
      });
      const load = await startLoad({
        origin: `https://127.0.0.1:${PORT}`,
        caFile: join(site.site.state, "site/client-ca.pem"),
        request: ask(false),
        keptPerSecond: PER_SECOND,
        newPerSecond: PER_SECOND,
        ...(streams && { stream: { request: ask(true), everySeconds: 3 } }),
        release: { header: "sealift-release" },
      });
      const started = performance.now();
      let seconds = 0;
      let report: LoadReport | undefined;
      try {
        await work();
      } finally {
        seconds = (performance.now() - started) / 1000;
        report = await load.stop();
      }
      if (failedRequests(report) > 0) assert.fail(`${JSON.stringify(report)}\n${await gatewaysSay()}`);
      const { kept, new: anew, stream } = report.kinds;
      const said = `${seconds} s: ${JSON.stringify(report.kinds)}`;
      // The last ones may be late, and are not sent any more when it is stopped.
      for (const kind of [kept, anew])
        assert.ok(kind.completed > 100 && kind.completed > 0.9 * seconds * PER_SECOND, said);
      if (streams) assert.ok(stream.completed > 3 && stream.slowestMs >= STREAM_SECONDS * 1000, said);
      return Object.keys(report.releases).sort();
    }

    it("installs 1.0.0 from its bundle, after a plan that changes nothing", async () => {
      const { bundle } = await realRelease("first");
      const config = join(directory, "config.yaml");
      await writeFile(config, `clientPort: ${PORT}\n`);
      const plan = await site.run("install", bundle, "--config", config, "--plan");
      assert.equal(plan.exit, 0, plan.stderr);
      assert.match(plan.stdout, /^ {2}- sealift-gateway 1\.0\.0 in blue, on a site where nothing runs yet$/m);
      assert.equal((await site.status()).state, "not-installed");
      assert.equal(await docker("ps", "--all", "--quiet"), "");
      const disk = /^ {2}- disk: (\d+) MB for images in the engine, \d+ MB in the site's store$/m.exec(
        plan.stdout,
      )?.[1];
      const before = engineDiskBytes(site.engine.engine);
      const installed = await site.change("install", bundle, "--config", config, "--json");
      const ratio = (Number(disk) * 1e6) / (engineDiskBytes(site.engine.engine) - before);
      assert.ok(ratio > 0.95 && ratio < 1.05, `${disk} MB were predicted, that is ${ratio} of what they are`);
      const { credentials } = JSON.parse(installed.stdout) as { credentials: string[] };
      apiKey = (JSON.parse(credentials[0] ?? "") as { key: string }).key;
      await site.assertAt("1.0.0");
      await site.refused(4, "INSTALL_EXISTS", "install", bundle);
    });

    it("goes to 1.1.0 and back without losing a request", async () => {
      const { bundle } = await realRelease("next");
      const planned = await site.run("upgrade", bundle, "--plan", "--json");
      const { plan, software } = JSON.parse(planned.stdout) as {
        readonly plan: { readonly details: readonly string[] };
        readonly software: {
          readonly against: string;
          readonly images: readonly { readonly name: string; readonly presence: string }[];
        };
      };
      assert.ok(
        plan.details.some((line) => line.startsWith("software")),
        planned.stdout,
      );
      assert.match(software.against, /^sealift-gateway 1\.0\.0, sha256:/);
      assert.ok(software.images.some(({ name, presence }) => name === "gateway" && presence === "both"));
      assert.deepEqual(await underLoad(() => site.change("upgrade", bundle), true), ["1.0.0", "1.1.0"]);
      const status = await site.assertAt("1.1.0");
      assert.equal(status.previous?.version, "1.0.0");
      await site.refused(3, "UPGRADE_NOT_NEWER", "upgrade", bundle);
      assert.deepEqual(await underLoad(() => site.change("rollback", "--to", "1.0.0"), true), ["1.0.0", "1.1.0"]);
      await site.assertAt("1.0.0");
      await site.refused(4, "ROLLBACK_NOT_POSSIBLE", "rollback", "--to", "0.9.0");
    });

    // What has nothing to do with images is looked at once.
    if (store === "classic") {
      for (const [name, reason] of BROKEN) {
        it(`returns by itself from a release that is ${name}, without losing a request`, async () => {
          const { bundle } = await realRelease(name);
          const before = await site.status();
          const containers = await docker("ps", "--quiet");
          await underLoad(async () => {
            const { stderr } = await site.refused(5, "OPERATION_FAILED", "upgrade", bundle);
            assert.match(stderr, reason);
          }, false);
          const after = await site.assertAt("1.0.0");
          assert.deepEqual(after.current, before.current);
          assert.equal(await docker("ps", "--quiet"), containers, "no container was made anew");
        });
      }

      it("changes its configuration through the other colour, and the front where it must", async () => {
        const config = join(directory, "config.json");
        const free = PORT + 1;
        await writeFile(config, JSON.stringify({ clientPort: free }));
        const before = await site.status();
        await site.change("config", "apply", config);
        const after = await site.assertAt("1.0.0");
        assert.notEqual(after.current?.colour, before.current?.colour);
        assert.match((await site.run("status")).stdout, new RegExp(`https://127\\.0\\.0\\.1:${free}$`, "m"));
        await writeFile(config, JSON.stringify({ clientPort: PORT }));
        await site.change("config", "apply", config);
        await site.refused(4, "CONFIG_UNCHANGED", "config", "apply", config);
        await site.assertAt("1.0.0");
      });

      it("stops and starts", async () => {
        for (const verb of ["stop", "start"]) {
          const planned = await site.run(verb, "--plan", "--json");
          assert.equal(planned.exit, 0, planned.stderr);
          assert.equal((JSON.parse(planned.stdout) as { plan: { action: string } }).plan.action, verb);
          await site.assertAt("1.0.0");
        }
        assert.equal((await site.run("stop")).exit, 0);
        const stopped = await site.run("status");
        assert.equal(stopped.exit, 4);
        assert.match(stopped.stdout, /PROBLEM gateway: .*exit code 0/);
        assert.equal((await site.run("start")).exit, 0);
        await site.assertAt("1.0.0");
      });

      it("prunes what it cannot return to, and nothing else", async () => {
        const kept = await Promise.all((["first", "next"] as const).map(digestsIn));
        const loaded = async (): Promise<string[]> => {
          const format = "{{.Repository}} {{.Digest}}";
          const lines = (await docker("images", "--digests", "--format", format)).split("\n");
          return lines.flatMap((line) => (line.startsWith("127.83.76.1") ? (line.split(" ")[1] ?? []) : [])).sort();
        };
        const needed = [...new Set(kept.flat())].sort();
        const left = (await loaded()).filter((digest) => !needed.includes(digest));
        assert.notEqual(left.length, 0, "a release that was taken back had an image of its own");
        await site.change("prune", "--keep", "0");
        assert.deepEqual(await loaded(), needed);
        assert.equal(readdirSync(join(site.site.state, "backups")).length, 0);
        assert.equal(readdirSync(join(site.site.state, "store")).length, 2);
        await site.assertAt("1.0.0");
      });
    }

    it("goes back without a medium, also after somebody pruned the engine", async () => {
      const { bundle } = await realRelease("next");
      await site.change("upgrade", bundle);
      await docker("system", "prune", "--all", "--force");
      await site.change("rollback");
      await site.assertAt("1.0.0");
    });

    it("leaves the data when it is uninstalled, and takes it up again", async () => {
      const volumes = await docker("volume", "ls", "--quiet");
      assert.notEqual(volumes, "");
      await site.change("uninstall");
      assert.equal(await docker("ps", "--all", "--quiet"), "");
      assert.equal(await docker("images", "--quiet"), "");
      assert.equal(await docker("volume", "ls", "--quiet"), volumes);
      assert.equal(readdirSync(join(site.site.state, "store")).length, 0);
      const { bundle } = await realRelease("first");
      await site.change("install", bundle, "--config", join(directory, "config.yaml"));
      await site.assertAt("1.0.0");
    });

    it("leaves nothing but its history when it is uninstalled with its data", async () => {
      await site.change("uninstall", "--purge-data");
      assert.equal(await docker("volume", "ls", "--quiet"), "");
      const networks = await docker("network", "ls", "--format", "{{.Name}}");
      assert.deepEqual(networks.split("\n").sort(), ["host", "none"]);
      for (const name of ["store", "deployments", "secrets", "backups", "switch"]) {
        assert.deepEqual(readdirSync(join(site.site.state, name)), [], name);
      }
      const { state } = site.site;
      const gone = ["store", "deployments", "secrets", "backups", "switch"];
      const rest = readdirSync(state).filter((name) => !gone.includes(name));
      assert.deepEqual(rest.sort(), ["journal", "ledger", "lock", "site", "trust"]);
      // As the plan said: with the keys of the site's own authorities.
      const own = ["client-authority.json", "client-ca.pem", "identity-root.pem"];
      assert.deepEqual(
        readdirSync(join(state, "site")).sort(),
        [...own, "authority.json", "deployment.json", "site.json"].sort(),
      );
      const ledger = await site.run("ledger", "verify");
      assert.equal(ledger.exit, 0, ledger.stdout);
    });
  });
}
