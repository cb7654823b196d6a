/**
 * `bundle split` and `bundle repair` beside `par2 create` and `par2 repair` (Debian's) over the same parts with the same
 * blocks, and beside sha256sum over them, in interleaved rounds. Splitting also copies and hashes the bundle, which par2
 * does not. Writes test/evidence/bench-parts.json. Needs ./sealift and test/support/peers.sh to have run once.
 * An argument is the bundle's size in MiB.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { requirePeer } from "../support/peers.ts";
import { signedBundle, writeSignedBundle } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";

const MIB = 1024 * 1024;
const ROUNDS = 3;
const PARTS = 8;
const PARITY = 2;
const BLOCKS = 32;
const root = fileURLToPath(new URL("../../", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "sealift-bench-parts-"));
const at = (...names: string[]): string => join(scratch, ...names);
const sealift = join(root, "sealift");
const par2 = requirePeer("par2");

interface Run {
  readonly seconds: number;
  /** User and system, of all threads. */
  readonly cpuSeconds: number;
  readonly peakMiB: number;
}

/** GNU time reports wall time, processor time and peak memory of the largest process. */
function run(command: readonly string[], directory = scratch): Run {
  const { status, stderr } = spawnSync("/usr/bin/time", ["-f", "%e %U %S %M", ...command], {
    cwd: directory,
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (status !== 0) throw new Error(`${command.join(" ")}: exit ${status}\n${stderr}`);
  const [seconds = 0, user = 0, system = 0, kib = 0] = (stderr.trim().split("\n").at(-1) ?? "").split(" ").map(Number);
  return { seconds, cpuSeconds: user + system, peakMiB: kib / 1024 };
}

function median(runs: readonly Run[]): Run {
  const of = (pick: (one: Run) => number): number => {
    const sorted = runs.map(pick).sort((a, b) => a - b);
    return Math.round(100 * (sorted[Math.floor(sorted.length / 2)] as number)) / 100;
  };
  return {
    seconds: of((one) => one.seconds),
    cpuSeconds: of((one) => one.cpuSeconds),
    peakMiB: of((one) => one.peakMiB),
  };
}

/** The parts alone, without parity and list. */
function copyParts(from: string, to: string, leaveOut: number): void {
  rmSync(to, { recursive: true, force: true });
  mkdirSync(to);
  const lost = readdirSync(from)
    .filter((name) => name.includes(".part"))
    .sort()
    .slice(0, leaveOut);
  for (const name of readdirSync(from)) if (!lost.includes(name)) copyFileSync(join(from, name), join(to, name));
}

try {
  const bytes = Number(process.argv[2] ?? 256) * MIB;
  const file = { name: "model", mediaType: "application/octet-stream", bytes: randomFillSync(Buffer.alloc(bytes)) };
  await writeSignedBundle(at("bundle"), signedBundle({ small: smallRelease({ files: [file] }) }));
  const size = statSync(at("bundle")).size;
  const partBytes = String(Math.ceil((size / PARTS) * 1.02));
  const split = [
    sealift,
    "bundle",
    "split",
    at("bundle"),
    "--size",
    partBytes,
    "--parity",
    String(PARITY),
    "--out",
    at("ours"),
  ];
  const rounds = Array.from({ length: ROUNDS }, () => {
    rmSync(at("ours"), { recursive: true, force: true });
    const ours = run(split);
    const names = readdirSync(at("ours"))
      .filter((name) => name.includes(".part"))
      .sort();
    const blockBytes = statSync(at("ours", names[0] as string)).size / (BLOCKS / PARITY);
    copyParts(at("ours"), at("theirs"), 0);
    for (const name of readdirSync(at("theirs"))) if (name.endsWith(".par2")) rmSync(at("theirs", name));
    const theirs = run(
      [par2, "create", "-q", `-s${blockBytes}`, `-c${BLOCKS}`, `-n${PARITY}`, "x.par2", ...names],
      at("theirs"),
    );
    const floor = run(["sha256sum", ...names], at("ours"));
    copyParts(at("ours"), at("lost"), PARITY);
    const repair = run([sealift, "bundle", "repair", at("lost")]);
    copyParts(at("ours"), at("lost"), PARITY);
    const [anyParity = ""] = readdirSync(at("lost")).filter((name) => name.endsWith(".par2"));
    const theirRepair = run([par2, "repair", "-q", anyParity], at("lost"));
    return { split: ours, par2Create: theirs, sha256sum: floor, repair, par2Repair: theirRepair };
  });
  const result = Object.fromEntries(
    (["split", "par2Create", "sha256sum", "repair", "par2Repair"] as const).map((name) => [
      name,
      median(rounds.map((round) => round[name])),
    ]),
  );
  const evidence = {
    commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
    date: new Date().toISOString(),
    machine: { cpus: cpus().length, model: cpus()[0]?.model },
    what: { bundleBytes: size, parts: PARTS, parity: PARITY, blocks: BLOCKS, rounds: ROUNDS, repaired: PARITY },
    peers: { par2: execFileSync(par2, ["--version"], { encoding: "utf8" }).trim() },
    median: result,
  };
  console.table(result);
  writeFileSync(join(root, "test/evidence/bench-parts.json"), `${JSON.stringify(evidence, null, 2)}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
