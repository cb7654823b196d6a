/**
 * Restores that are not like the day on which all is as it was: another release runs than when the backup was made, in
 * both directions; a database is gone, and with it a site that works; the audit log does not hold any more. On a real engine: what is taken works, what is not is refused
 * with a code, and a way forward is there.
 */
import assert from "node:assert/strict";
import { readdirSync, truncateSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { dockerCall } from "../../compose/engine/engine.ts";
import { runCall } from "../../compose/engine/run-call.ts";
import { type CommandResult, sealift } from "../support/command-line.ts";
import { runKilledAt } from "../support/kill-at.ts";
import { inOwnMachine } from "../support/own-engine.ts";
import { prepareReleases, realRelease } from "../support/real-release.ts";
import { RunningSite } from "../support/running-site.ts";
import { scratch } from "../support/scratch.ts";

const PORT = 18_645;

inOwnMachine(
  import.meta.url,
  "restores where not all is as it was",
  () => describe("restores where not all is as it was", { timeout: 900_000 }, suite),
  () => prepareReleases("first", "next"),
);

function suite(): void {
  const cleanups: (() => Promise<void>)[] = [];
  let site: RunningSite;
  let directory: string;
  let ofFirst = "";
  let ofNext = "";

  before(async () => {
    directory = await scratch({ after: (work: () => Promise<void>) => void cleanups.unshift(work) });
    site = await RunningSite.start(directory, "classic");
    cleanups.unshift(() => site.engine.stop());
    await mkdir(join(directory, "backups"));
    const config = join(directory, "install.json");
    await writeFile(config, JSON.stringify({ clientPort: PORT }));
    await site.change("install", (await realRelease("first")).bundle, "--config", config);
    succeeds(await sealift(["key", "generate", "--backup", "--out", join(directory, "safe")]));
    await site.change("operator", "recipients", join(directory, "safe.pub"));
  });
  after(async () => {
    for (const work of cleanups) await work();
  });

  const succeeds = (result: CommandResult): CommandResult => {
    assert.equal(result.exit, 0, `${result.stdout}${result.stderr}`);
    return result;
  };
  const backUp = async (): Promise<string> => {
    const { stdout } = succeeds(await site.run("backup", "--out", join(directory, "backups"), "--json"));
    return (JSON.parse(stdout) as { backup: string }).backup;
  };
  const restoring = (file: string, ...more: readonly string[]): string[] => [
    ...["restore", file, "--identity", join(directory, "safe.key")],
    ...more,
  ];
  const tenants = async (): Promise<string[]> => {
    const { stdout } = succeeds(await site.run("tenant", "list", "--json"));
    return (JSON.parse(stdout) as { tenants: { name: string }[] }).tenants.map(({ name }) => name).sort();
  };
  const docker = async (...args: readonly string[]): Promise<string> => {
    const { status, stdout, stderr } = await runCall(dockerCall(site.engine.engine, args), { timeoutMs: 60_000 });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  };
  const container = (service: string): Promise<string> =>
    docker(
      "ps",
      "--quiet",
      "--filter",
      `label=com.docker.compose.service=${service}`,
      "--filter",
      "label=sealift.site",
    );
  const hasTable = async (name: string): Promise<boolean> => {
    const query = `SELECT count(*) FROM pg_tables WHERE tablename = '${name}'`;
    const psql = ["psql", "-qtA", "-U", "postgres", "-d", "gateway", "-c", query];
    return (await docker("exec", await container("postgres"), ...psql)) === "1";
  };

  it("a backup of the release before is brought to the schema of the one that runs", async () => {
    await site.change("tenant", "add", "of-first");
    ofFirst = await backUp();
    await site.change("upgrade", (await realRelease("next")).bundle);
    await site.change("tenant", "add", "of-next");
    ofNext = await backUp();
    const { stdout } = await site.change(...restoring(ofFirst));
    assert.match(stdout, /1\.1\.0 runs on the data of /);
    await site.assertAt("1.1.0");
    assert.deepEqual(await tenants(), ["default", "of-first"]);
    assert.ok(await hasTable("next_notes"), "the schema is that of 1.1.0");
    await site.change("tenant", "add", "afterwards");
    succeeds(await site.run("fsck"));
  });

  it("a backup of the release behind is taken by the one before, as after a rollback", async () => {
    await site.change("rollback");
    await site.assertAt("1.0.0");
    await site.change(...restoring(ofNext));
    await site.assertAt("1.0.0");
    assert.deepEqual(await tenants(), ["default", "of-first", "of-next"]);
    assert.ok(await hasTable("next_notes"), "the schema stays extended");
    await site.change("upgrade", (await realRelease("next")).bundle);
    await site.assertAt("1.1.0");
    assert.deepEqual(await tenants(), ["default", "of-first", "of-next"]);
    succeeds(await site.run("ledger", "verify"));
  });

  const psql = async (statement: string): Promise<string> =>
    docker("exec", await container("postgres"), "psql", "-qtA", "-U", "postgres", "-c", statement);

  it("a database that somebody dropped comes back; cut off in its middle there is none, as before, and recover ends", async () => {
    await psql('DROP DATABASE "gateway" WITH (FORCE)');
    const killed = await runKilledAt(site.signed(...restoring(ofNext)), { journalWrite: 5, when: "before" });
    assert.ok(killed.wasKilled, killed.stdout + killed.stderr);
    const recovered = succeeds(await site.run("recover", "--json"));
    const { result, remarks } = JSON.parse(recovered.stdout) as { result: string; remarks: readonly string[] };
    assert.equal(result, "restored");
    assert.match(remarks.join("\n"), /the data of before is in place, and the services do not work on it/);
    const names = async (): Promise<string[]> =>
      (await psql("SELECT datname FROM pg_database WHERE datname LIKE 'gateway%' ORDER BY 1")).split("\n");
    assert.deepEqual(await names(), [""]);
    await psql("CREATE DATABASE gateway_before_restore");
    await site.refused(4, "RESTORE_DATABASE_ASIDE", ...restoring(ofNext));
    await psql("DROP DATABASE gateway_before_restore");
    await site.change(...restoring(ofNext));
    assert.deepEqual(await names(), ["gateway"]);
    assert.deepEqual(await tenants(), ["default", "of-first", "of-next"]);
    await site.assertAt("1.1.0");
  });

  it("beside an audit log that does not hold nothing is restored; after a purge the backup's log is continued", async () => {
    const { stdout } = succeeds(await site.run("audit", "verify"));
    const log = /of this site, in (\S+);/.exec(stdout)?.[1] ?? "";
    await docker("stop", await container("audit"));
    const entries = join(log, "tile/entries");
    const files = readdirSync(entries, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
    assert.ok(files.length > 0);
    for (const one of files) truncateSync(join(one.parentPath, one.name), 10);
    const refused = await sealift(site.signed(...restoring(ofNext)));
    assert.equal(refused.exit, 3, refused.stdout + refused.stderr);
    assert.match(refused.stderr, /\[AUDIT_[\s\S]*copy the log's volume away[\s\S]*sealift uninstall --purge-data/);
    await site.change("uninstall", "--purge-data");
    const [first, next] = [(await realRelease("first")).bundle, (await realRelease("next")).bundle];
    await site.refused(4, "RESTORE_RELEASE_NEEDED", ...restoring(ofNext, "--bundle", first));
    await site.change(...restoring(ofNext, "--bundle", next));
    await site.assertAt("1.1.0");
    assert.deepEqual(await tenants(), ["default", "of-first", "of-next"]);
    const verified = succeeds(await site.run("audit", "verify", "--json")).stdout;
    assert.equal((JSON.parse(verified) as { epoch: number }).epoch, 2);
    succeeds(await site.run("ledger", "verify"));
    succeeds(await site.run("fsck", "--content"));
  });
}
