/**
 * Media parts and thin bundles by the real command line: cut, lose, repair with our verb and with `par2`, verify
 * from the parts; leave out what a site has, by its inventory.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { closeStore, openStore, readLayout } from "../../bundles/layout/layout.ts";
import { hostDisk } from "../../installer/site/disk.ts";
import { stageRelease } from "../../installer/site/store.ts";
import { allowRelease } from "../../verify/allowed-release.ts";
import type { Verdict } from "../../verify/verdict.ts";
import { endOf, sealift, startSealift } from "../support/command-line.ts";
import { requirePeer, skipWithout } from "../support/peers.ts";
import { createSiteWithOperator } from "../support/ready-site.ts";
import { scratch } from "../support/scratch.ts";
import { smallRelease, smallRules, writeSmallBundle } from "../support/small-bundle.ts";

const PASSWORD = { COSIGN_PASSWORD: "test" };
const MODEL_BYTES = 3_000_000;
const PART_BYTES = 800_000;

async function json(exit: number, ...args: string[]): Promise<Record<string, unknown>> {
  const result = await sealift([...args, "--json"], PASSWORD);
  assert.equal(result.exit, exit, `${args.join(" ")}\n${result.stderr}`);
  return JSON.parse(result.stdout) as Record<string, unknown>;
}

/** The code of the error with which the verb ends, whose message must have all of `words`. */
async function refused(exit: number, code: string, words: readonly string[], ...args: string[]): Promise<void> {
  const error = (await json(exit, ...args))["error"] as { code: string; message: string } | undefined;
  assert.equal(error?.code, code);
  for (const word of words) assert.ok(error?.message.includes(word), `${word} in: ${error?.message}`);
}

/** An appliance with a model that is most of it, its trust, and keys of the three roles. */
async function publisher(root: string) {
  await writeSmallBundle(join(root, "images.tar"), smallRelease());
  await writeFile(join(root, "model.bin"), randomFillSync(Buffer.alloc(MODEL_BYTES)));
  await writeFile(join(root, "config.schema.json"), '{"type":"object"}');
  const services = { a: { image: "audit" }, front: { image: "gateway" } };
  await writeFile(join(root, "compose.yaml"), JSON.stringify({ services, "x-sealift": smallRules("a") }));
  const appliance = join(root, "appliance.yaml");
  const contents = {
    schemaVersion: 1,
    appliance: "test",
    channel: "stable",
    images: { gateway: { layout: "images.tar#gateway" }, audit: { layout: "images.tar#audit" } },
    files: { model: { path: "model.bin", mediaType: "application/octet-stream" } },
    compose: "compose.yaml",
    configSchema: "config.schema.json",
  };
  await writeFile(appliance, JSON.stringify(contents));
  await json(0, "bundle", "lock", "--appliance", appliance);
  const names = ["root", "builder", "security", "release"];
  await Promise.all(names.map((name) => json(0, "key", "generate", "--out", join(root, name))));
  const trust = join(root, "trust");
  const roles = names.slice(1).flatMap((role) => ["--role", `${role}=${join(root, role)}.pub`]);
  await json(0, "trust", "init", "--out", trust, "--root-key", join(root, "root.key"), ...roles);
  const build = (version: string, out: string, ...options: string[]) =>
    json(0, "bundle", "build", "--appliance", appliance, "--version", version, "--out", join(root, out), ...options);
  const sign = async (bundle: string): Promise<void> => {
    for (const role of names.slice(1)) {
      await json(0, "bundle", "sign", join(root, bundle), "--role", role, "--key", join(root, `${role}.key`));
    }
  };
  return { appliance, trust, build, sign };
}

function listIsRight(directory: string): boolean {
  const [list = ""] = spawnSync("sh", ["-c", "ls *.sha256"], { cwd: directory, encoding: "utf8" }).stdout.split("\n");
  return spawnSync("sha256sum", ["--check", "--quiet", "--strict", list], { cwd: directory }).status === 0;
}

async function flipBit(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 0x10;
  await writeFile(path, bytes);
}

test("a bundle in parts is verified in place, and lost parts are made again, by us and by par2", async (t) => {
  const root = await scratch(t);
  const { trust, build, sign, appliance } = await publisher(root);
  const bundle = join(root, "one.tar");
  const { digest } = await build("1.0.0", "one.tar");
  await sign("one.tar");
  const parts = join(root, "parts");
  const split = await json(0, "bundle", "split", bundle, "--size", String(PART_BYTES), "--parity", "2", "--out", parts);
  const names = (split["parts"] as { name: string; size: number }[]).map(({ name }) => name);
  const parity = (split["parity"] as { name: string; size: number }[]).map(({ name }) => name);
  assert.equal(split["digest"], digest);
  assert.ok(names.length >= 4 && parity.length === 2);
  assert.ok(listIsRight(parts));
  const joined = execFileSync("sh", ["-c", "cat *.part*-of-*"], { cwd: parts, maxBuffer: 1e8 });
  assert.ok(joined.equals(await readFile(bundle)));

  const at = ["--trust", trust, "--at", new Date().toISOString()];
  const whole = await json(0, "verify", bundle, ...at);
  assert.deepEqual(await json(0, "verify", parts, ...at), whole, "the verdict is the same");
  assert.deepEqual(await json(0, "verify", join(parts, names[1] as string), ...at), whole);
  assert.equal((await json(0, "bundle", "inspect", parts))["digest"], digest);
  await json(0, "sbom", "show", parts);
  assert.equal((await json(0, "bundle", "rebuild", parts, "--appliance", appliance))["same"], true);
  await refused(
    4,
    "PARTS_READ_ONLY",
    [],
    "bundle",
    "sign",
    parts,
    "--role",
    "builder",
    "--key",
    join(root, "builder.key"),
  );
  const again = join(root, "again");
  await json(0, "bundle", "split", parts, "--size", String(PART_BYTES), "--parity", "2", "--out", again);
  assert.ok(
    (await readFile(join(again, parity[1] as string))).equals(await readFile(join(parts, parity[1] as string))),
  );

  const [one, two, three] = names as [string, string, string];
  const lost = join(root, "lost");
  await cp(parts, lost, { recursive: true });
  await rm(join(lost, one));
  await flipBit(join(lost, three));
  await refused(5, "PARTS_MISSING", [one], "verify", lost, ...at);
  await refused(5, "PARTS_DAMAGED", [one, three], "bundle", "repair", lost, "--check");
  const media = join(root, "media");
  await mkdir(media);
  const repaired = await json(0, "bundle", "repair", lost, "--out", media);
  assert.deepEqual([repaired["missing"], repaired["damaged"]], [[one], [three]]);
  assert.deepEqual((await readdir(media)).sort(), [one, three]);
  await json(0, "bundle", "repair", lost);
  assert.ok(listIsRight(lost));
  assert.deepEqual(await json(0, "verify", lost, ...at), whole);
  await flipBit(join(lost, two));
  await refused(5, "PARTS_DAMAGED", [two], "verify", lost, ...at);
  await copyFile(join(parts, one), join(lost, two));
  await refused(5, "PARTS_DAMAGED", [`${two} (it is a copy of ${one})`], "verify", lost, ...at);
  await rm(join(lost, one));
  await rm(join(lost, three));
  await refused(5, "PARTS_UNREPAIRABLE", [one, two, three], "bundle", "repair", lost);

  await t.test("par2 repairs ours, and we repair with what par2 made", { skip: skipWithout("par2") }, async () => {
    const par2 = requirePeer("par2");
    const run = (directory: string, ...args: string[]) =>
      spawnSync(par2, args, { cwd: directory, encoding: "utf8", timeout: 60_000 });
    const theirs = join(root, "theirs");
    await cp(parts, theirs, { recursive: true });
    assert.equal(run(theirs, "verify", "-q", parity[0] as string).status, 0);
    await rm(join(theirs, two));
    await flipBit(join(theirs, one));
    const { status, stdout, stderr } = run(theirs, "repair", "-q", parity[1] as string);
    assert.equal(status, 0, stdout + stderr);
    assert.ok(listIsRight(theirs));
    assert.equal((await json(0, "verify", theirs, ...at))["decision"], "allow");

    for (const name of parity) await rm(join(theirs, name));
    const prefix = two.replace(/\.part.*/, "");
    const blocks = ["-s100000", "-c20", "-n1"];
    assert.equal(run(theirs, "create", "-q", ...blocks, `${prefix}.par2`, ...names).status, 0);
    await rm(join(theirs, two));
    await flipBit(join(theirs, three));
    await json(0, "bundle", "repair", theirs);
    for (const name of names) {
      assert.ok((await readFile(join(theirs, name))).equals(await readFile(join(parts, name))), name);
    }
  });
});

test("a split that is killed leaves no half part, and the same command goes on", async (t) => {
  const root = await scratch(t);
  const { build } = await publisher(root);
  await build("1.0.0", "one.tar");
  const args = ["bundle", "split", join(root, "one.tar"), "--size", String(PART_BYTES), "--parity", "2"];
  await json(0, ...args, "--out", join(root, "whole"));
  const out = join(root, "parts");
  for (const ms of [350, 450, 600]) {
    const child = startSealift([...args, "--out", out], {});
    setTimeout(() => child.kill("SIGKILL"), ms);
    await endOf(child, args);
    for (const name of await readdir(out).catch(() => [])) {
      if (name.endsWith(".partial")) continue;
      assert.ok((await readFile(join(out, name))).equals(await readFile(join(root, "whole", name))), name);
    }
  }
  await json(0, ...args, "--out", out);
  assert.ok(listIsRight(out));
  const left = (await readdir(out)).filter((name) => name.endsWith(".partial"));
  assert.deepEqual(left, []);
});

test("a thin bundle is the same release, verifies where the rest is, and is denied elsewhere", async (t) => {
  const root = await scratch(t);
  const { trust, build, sign } = await publisher(root);
  await build("1.0.0", "one.tar");
  await sign("one.tar");
  const whole = await build("1.1.0", "whole.tar");
  const thin = await build("1.1.0", "thin.tar", "--base", join(root, "one.tar"));
  assert.equal(thin["digest"], whole["digest"]);
  assert.ok((thin["leftOut"] as { bytes: number }).bytes >= MODEL_BYTES);
  assert.ok((await readFile(join(root, "thin.tar"))).length < (await readFile(join(root, "whole.tar"))).length / 10);
  await sign("whole.tar");
  await json(0, "bundle", "attach", join(root, "thin.tar"), join(root, "whole.tar"));
  const verify = ["verify", join(root, "thin.tar"), "--trust", trust];
  const { findings } = (await json(3, ...verify)) as unknown as Verdict;
  const missing = findings.filter(({ code }) => code === "LAYOUT_BLOB_MISSING");
  assert.ok(missing.length > 0 && missing.every(({ message }) => message.includes("blobs/sha256/")));
  const verdict = (await json(0, ...verify, "--base", join(root, "one.tar"))) as unknown as Verdict;
  assert.equal(verdict.subject.digest, whole["digest"]);
  // Denied before anything of the base is asked for.
  await writeFile(join(root, "cut.tar"), (await readFile(join(root, "thin.tar"))).subarray(0, 40_960));
  const cut = ["verify", join(root, "cut.tar"), "--trust", trust, "--base", join(root, "one.tar")];
  assert.equal(((await json(3, ...cut)) as unknown as Verdict).decision, "deny");

  // A site whose store has 1.0.0. The engine has no part in this, so the release is put there without one.
  const { state } = await createSiteWithOperator(root);
  const store = openStore(join(root, "one.tar"));
  const judged = (await json(0, "verify", join(root, "one.tar"), "--trust", trust)) as unknown as Verdict;
  await stageRelease(hostDisk, state, allowRelease({ ...judged, scope: "site" }, readLayout(store)));
  closeStore(store);
  const inventory = join(root, "site.inventory");
  const written = await json(0, "inventory", "--out", inventory, "--state", state);
  assert.ok(Number(written["blobs"]) > 0);
  await refused(4, "FILE_EXISTS", [], "inventory", "--out", inventory, "--state", state);
  const steered = await build("1.1.0", "steered.tar", "--inventory", inventory);
  assert.deepEqual([steered["digest"], steered["leftOut"]], [thin["digest"], thin["leftOut"]]);
  await writeFile(join(root, "no.inventory"), "{}");
  const appliance = ["--appliance", join(root, "appliance.yaml"), "--version", "1.1.0", "--out", join(root, "x.tar")];
  await refused(
    3,
    "INVENTORY_MALFORMED",
    [],
    "bundle",
    "build",
    ...appliance,
    "--inventory",
    join(root, "no.inventory"),
  );
});
