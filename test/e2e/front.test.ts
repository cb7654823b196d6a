/**
 * The front's image before two gateways of which one is live, without an engine: in a network namespace of
 * its own, with a name server where Docker has its own. Needs a mirror (or a warm cache), root and ip.
 */
import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import type { AbsenceFigures, SilenceFigures, SwitchFigures } from "../support/front-figures.ts";
import { cannotStart, lockedImages, PROJECT, unpackImage } from "../support/image-process.ts";
import { run } from "../support/offline-namespace.ts";
import { peer } from "../support/peers.ts";

const skip = cannotStart;
let work = "";
let rootfs = "";

before(async () => {
  if (skip) return;
  work = await mkdtemp(join(tmpdir(), "sealift-front-"));
  await chmod(work, 0o755);
  const { images } = await lockedImages(work, ["front"]);
  const image = images["front"];
  assert.ok(image);
  ({ rootfs } = await unpackImage(image, "front", work));
  // What Docker makes in a container: the mount point and the name server.
  await mkdir(join(rootfs, "etc/haproxy/switch"));
  await writeFile(join(rootfs, "etc/resolv.conf"), "nameserver 127.0.0.11\noptions ndots:0\n");
});

after(async () => {
  if (work !== "") await rm(work, { recursive: true, force: true });
});

/** Runs test/support/front-figures.ts in a network namespace that has nothing but a loopback. */
async function figures<Figures>(task: string): Promise<Figures> {
  const directory = await mkdtemp(join(work, "switch-"));
  // The front's user reads it.
  await chmod(directory, 0o755);
  const script = join(PROJECT, "test/support/front-figures.ts");
  const inside = `"$1" link set lo up; shift; exec "$@"`;
  const program = ["sh", "-c", inside, "sh", peer("ip") ?? "ip", process.execPath, script, rootfs, directory, task];
  const { code, stdout, stderr } = await run("unshare", ["--net", ...program]);
  assert.equal(code, 0, stderr.slice(-4_000));
  return JSON.parse(stdout) as Figures;
}

test("ten switches by rename and SIGUSR2 under 200 requests a second and streams: nothing is lost", {
  skip,
}, async (t) => {
  const { switches, signals, answers, streams, failed, slowestMs } = await figures<SwitchFigures>("switches");
  t.diagnostic(
    `${switches} switches, ${signals} signals, ${JSON.stringify(answers)}, ${streams} streams, slowest ${slowestMs} ms`,
  );
  assert.deepEqual(failed, []);
  assert.equal(switches, 10);
  for (const kind of ["kept blue", "kept green", "new blue", "new green"]) {
    assert.ok((answers[kind] ?? 0) > 100, `${kind}: ${answers[kind]}`);
  }
  assert.ok(streams >= 10);
});

test("the front works without a gateway, holds connections while one is away, and survives a lost switch file", {
  skip,
}, async (t) => {
  const seen = await figures<AbsenceFigures>("absence");
  t.diagnostic(JSON.stringify(seen));
  assert.equal(seen.monitorStatus, 200);
  assert.deepEqual(seen.before, { active: "blue", up: { blue: 0, green: 0 } });
  assert.ok(seen.closedAfterMs < 1_000, "who comes while there is no gateway is sent away at once");
  assert.ok(seen.appearedAfterMs < 10_000);
  assert.deepEqual(seen.whileAway.failed, []);
  assert.ok(seen.whileAway.answered > seen.whileAway.awayMs / 50);
  assert.equal(seen.afterLostFile, true);
  assert.equal(seen.afterStrangeFile, "closed");
  assert.equal(seen.afterRepair, "blue");
});

test("a switch does not wait for name servers that never answer for the colour that is not there", {
  skip,
}, async (t) => {
  const { reloadMs } = await figures<SilenceFigures>("silence");
  t.diagnostic(`${Math.round(reloadMs)} ms`);
  assert.ok(reloadMs < 4_000);
});
