/**
 * Whole-process benches against a peer in the same run, in interleaved rounds (A B A B …), so that a
 * machine that slows down slows both. Prints a table and writes test/evidence/bench.json. Needs ./sealift
 * to have run once, and about 4 GB of temporary space.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { signedBundle, writeSignedBundle, writeTrustFiles } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";

const ROUNDS = 9;
const root = fileURLToPath(new URL("../../", import.meta.url));
const sealift = join(root, "sealift");

interface Run {
  readonly seconds: number;
  /** Of the largest single process, from wait4's ru_maxrss. */
  readonly peakMiB: number;
}

/** GNU time reports wall time and peak memory of the whole tree's largest process. */
function run(command: readonly string[], wantedStatus = 0): Run {
  const { status, stderr } = spawnSync("/usr/bin/time", ["-f", "%e %M", ...command], {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (status !== wantedStatus) throw new Error(`${command.join(" ")}: exit ${status}\n${stderr}`);
  const [seconds, kib] = (stderr.trim().split("\n").at(-1) ?? "").split(" ").map(Number);
  return { seconds: seconds as number, peakMiB: (kib as number) / 1024 };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
const round = (value: number): number => Math.round(value * 1000) / 1000;

function compare(a: readonly string[], b: readonly string[]) {
  run(a);
  run(b);
  const rounds = Array.from({ length: ROUNDS }, () => ({ a: run(a), b: run(b) }));
  return {
    rounds: ROUNDS,
    seconds: round(median(rounds.map((item) => item.a.seconds))),
    peerSeconds: round(median(rounds.map((item) => item.b.seconds))),
    ratio: round(median(rounds.map((item) => item.a.seconds / item.b.seconds))),
    peakMiB: Math.round(Math.max(...rounds.map((item) => item.a.peakMiB))),
  };
}

const scratch = mkdtempSync(join(tmpdir(), "sealift-bench-"));
try {
  const bundle = join(scratch, "bundle.tar");
  const trust = join(scratch, "trust");
  const files = Array.from({ length: 8 }, (_, i) => ({
    name: `file${i}`,
    mediaType: "application/octet-stream",
    bytes: randomFillSync(Buffer.alloc(128 * 1024 * 1024)),
  }));
  const signed = signedBundle({ small: smallRelease({ files }), now: new Date() });
  await writeSignedBundle(bundle, signed);
  await writeTrustFiles(trust, signed.trustFiles);
  const verify = compare([sealift, "verify", bundle, "--trust", trust], ["sha256sum", bundle]);

  const built = join(scratch, "built.tar");
  const build = [
    sealift,
    "bundle",
    "build",
    "--appliance",
    join(root, "compose/appliance.yaml"),
    "--version",
    "1.0.0",
    "--out",
    built,
  ];
  run(build);
  const copied = join(scratch, "copied.tar");
  const rebuild = compare(build, ["cp", built, copied]);
  const inspected = JSON.parse(execFileSync(sealift, ["bundle", "inspect", built, "--json"], { encoding: "utf8" })) as {
    images: { name: string; bytes: number }[];
  };

  const evidence = {
    commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    "verify 1 GiB against sha256sum": { bundleBytes: statSync(bundle).size, ...verify },
    "bundle build of unchanged inputs against cp": { bundleBytes: statSync(built).size, ...rebuild },
    "image set, zstd layers": Object.fromEntries(inspected.images.map(({ name, bytes }) => [name, bytes])),
    "bundle of the image set": statSync(built).size,
  };
  mkdirSync(join(root, "test/evidence"), { recursive: true });
  writeFileSync(join(root, "test/evidence/bench.json"), `${JSON.stringify(evidence, null, 2)}\n`);
  process.stdout.write(`${JSON.stringify(evidence, null, 2)}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
