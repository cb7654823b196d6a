/**
 * `verify-blob` beside `cosign verify-blob` (2 and 3), each as a process of its own, in interleaved rounds: with
 * everything in the page cache, from a disk that was not read (root only), and over 256 MiB. In the same rounds what
 * no program on Node can do without: Node with an empty file, and with the least that hashes and verifies. From
 * the disk twice: what a running program has in memory cannot be dropped, and this one runs on Sealift's Node; so once
 * with that Node in memory, as where Sealift is in use, and once with a copy of it that nobody runs. And
 * `verify` of a bundle of 200 small images beside sha256sum over the same bytes. Writes test/evidence/bench-verify.json.
 * `verify` of 1 GiB is in bench.ts. Needs ./sealift to have run once.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { requirePeer } from "../support/peers.ts";
import { signedBundle, writeSignedBundle, writeTrustFiles } from "../support/signed-bundle.ts";
import { smallRelease } from "../support/small-bundle.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const sealift = join(root, "sealift");
const scratch = mkdtempSync(join(tmpdir(), "sealift-bench-verify-"));
const at = (name: string): string => join(scratch, name);
const environment = { ...process.env, COSIGN_PASSWORD: "" };

/** Milliseconds, and MiB of the largest process, of a command that must end in 0. */
function run(command: readonly string[]): { readonly ms: number; readonly peakMiB: number } {
  const began = performance.now();
  const { status, stderr } = spawnSync("/usr/bin/time", ["-f", "%M", ...command], {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
    env: environment,
  });
  const ms = performance.now() - began;
  if (status !== 0) throw new Error(`${command.join(" ")}: exit ${status}\n${stderr}`);
  return { ms, peakMiB: Number(stderr.trim().split("\n").at(-1)) / 1024 };
}

/** The page cache is dropped before each run, so that programs and files come from the disk. */
function forgetPages(): void {
  execFileSync("sync");
  writeFileSync("/proc/sys/vm/drop_caches", "3");
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

function compare(commands: Readonly<Record<string, readonly string[]>>, rounds: number, before = (): void => {}) {
  for (const command of Object.values(commands)) run(command);
  const runs = Array.from({ length: rounds }, () =>
    Object.fromEntries(
      Object.entries(commands).map(([name, command]) => {
        before();
        return [name, run(command)] as const;
      }),
    ),
  );
  const each = (pick: (item: { ms: number; peakMiB: number }) => number, sum: (values: number[]) => number) =>
    Object.fromEntries(
      Object.keys(commands).map((name) => [
        name,
        Math.round(10 * sum(runs.map((item) => pick(item[name] as { ms: number; peakMiB: number })))) / 10,
      ]),
    );
  return {
    rounds,
    medianMs: each(({ ms }) => ms, median),
    leastMs: each(
      ({ ms }) => ms,
      (values) => Math.min(...values),
    ),
    peakMiB: each(
      ({ peakMiB }) => peakMiB,
      (values) => Math.max(...values),
    ),
  };
}

/** Neither reads arguments nor says why; ends without taking the engine apart. */
const LEAST = `const { createHash, createPublicKey, verify } = require("node:crypto");
const { readFileSync, writeSync } = require("node:fs");
const [, , key, bundle, file] = process.argv;
const bytes = readFileSync(file);
const { messageDigest, signature } = JSON.parse(readFileSync(bundle, "utf8")).messageSignature;
const digest = createHash("sha256").update(bytes).digest("base64");
const publicKey = createPublicKey(readFileSync(key, "utf8"));
const holds = digest === messageDigest.digest && verify("sha256", bytes, publicKey, Buffer.from(signature, "base64"));
writeSync(1, String(holds));
process.reallyExit(holds ? 0 : 3);
`;

/** Beside `sealift` and the others, with the same file and bundle. */
function leastOfNode(name: string, node: string): Record<string, string[]> {
  writeFileSync(at("empty.cjs"), "");
  writeFileSync(at("least.cjs"), LEAST);
  return {
    nodeAlone: [node, at("empty.cjs")],
    leastOnNode: [node, at("least.cjs"), at("cosign.pub"), at(`${name}.sigstore.json`), at(name)],
  };
}

/** The program itself, if the peer is a script that starts it: a shell more would take its time. */
function programOf(peer: "cosign2" | "cosign3"): string {
  const path = requirePeer(peer);
  if (statSync(path).size > 4096) return path;
  return / exec "([^"]+)" "\$@"/.exec(readFileSync(path, "utf8"))?.[1] ?? path;
}

function signFile(name: string, bytes: number): void {
  writeFileSync(at(name), randomFillSync(Buffer.alloc(bytes)));
  const offline = ["--use-signing-config=false", "--tlog-upload=false"];
  const bundle = ["--bundle", at(`${name}.sigstore.json`)];
  execFileSync(
    requirePeer("cosign3"),
    ["sign-blob", "--yes", "--key", at("cosign.key"), ...bundle, ...offline, at(name)],
    { env: environment, stdio: "ignore" },
  );
}

function verifyBy(sealift: string, name: string): Record<string, string[]> {
  const common = ["verify-blob", "--key", at("cosign.pub"), "--bundle", at(`${name}.sigstore.json`)];
  return {
    sealift: [sealift, ...common, at(name)],
    cosign2: [
      ...[programOf("cosign2"), ...common, "--new-bundle-format", "--insecure-ignore-tlog"],
      ...["--trusted-root", at("root.json"), at(name)],
    ],
    cosign3: [programOf("cosign3"), ...common, "--insecure-ignore-tlog", at(name)],
  };
}

/** A checkout of the last commit, with a copy of Node and nothing of the packages, which this verb does not load. */
function anotherTree(): { readonly sealift: string; readonly node: string } {
  const tree = at("tree");
  execFileSync("git", ["clone", "--quiet", root, tree]);
  mkdirSync(join(tree, "node_modules/.bin"), { recursive: true });
  copyFileSync(realpathSync(process.execPath), join(tree, "node_modules/node"));
  const node = join(tree, "node_modules/.bin/node");
  symlinkSync("../node", node);
  execFileSync("cp", ["-p", join(tree, "package-lock.json"), join(tree, "node_modules/.sealift-lock")]);
  return { sealift: join(tree, "sealift"), node };
}

/** What verify-blob takes of a small file that lies on a disk. */
function fromDisk(commands: Readonly<Record<string, readonly string[]>>): unknown {
  return process.getuid?.() === 0 ? compare(commands, 9, forgetPages) : "not measured: needs root";
}

try {
  execFileSync(requirePeer("cosign3"), ["generate-key-pair"], { cwd: scratch, env: environment, stdio: "ignore" });
  writeFileSync(at("root.json"), '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}');
  signFile("small", 1024 * 1024);
  signFile("large", 256 * 1024 * 1024);
  const small = { ...verifyBy(sealift, "small"), ...leastOfNode("small", process.execPath) };
  const other = anotherTree();
  const smallElsewhere = { ...verifyBy(other.sealift, "small"), ...leastOfNode("small", other.node) };

  const names = Array.from({ length: 200 }, (_, i) => ({ name: `image${i}` }));
  const bundle = signedBundle({ small: smallRelease({ images: names }), now: new Date() });
  await writeSignedBundle(at("bundle.tar"), bundle);
  await writeTrustFiles(at("trust"), bundle.trustFiles);
  const verify = [sealift, "verify", at("bundle.tar"), "--trust", at("trust")];

  const evidence = {
    commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? "unknown",
    "verify-blob, 1 MiB": compare(small, 25),
    "verify-blob, 1 MiB, only Node in the page cache": fromDisk(small),
    "verify-blob, 1 MiB, nothing in the page cache": fromDisk(smallElsewhere),
    "verify-blob, 256 MiB": compare(verifyBy(sealift, "large"), 9),
    "verify, 200 small images": {
      bundleBytes: statSync(at("bundle.tar")).size,
      ...compare({ sealift: verify, sha256sum: ["sha256sum", at("bundle.tar")] }, 9),
    },
  };
  writeFileSync(join(root, "test/evidence/bench-verify.json"), `${JSON.stringify(evidence, null, 2)}\n`);
  process.stdout.write(`${JSON.stringify(evidence, null, 2)}\n`);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
