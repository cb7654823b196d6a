/**
 * The engine's packages of a kit, on root file systems with nothing but apt: installed and started where there
 * is no route, no systemd and no Debian archive. Needs root (mount, process and network namespaces), and a
 * Debian mirror beforehand.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { debianMirrors } from "../../bundles/source/recipe/debian-archive.ts";
import { requirePeer, skipWithout } from "../support/peers.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const HOSTS = { debian12: "bookworm", debian13: "trixie" } as const;
const KIT = "/opt/sealift/current";

function reasonToSkip(): string | false {
  if (process.getuid?.() !== 0) return "needs root for chroot and namespaces";
  const works = spawnSync("unshare", ["--net", "--mount", "--pid", "--fork", "true"]).status === 0;
  return works ? skipWithout("mmdebstrap") : "this machine does not let root make namespaces";
}

function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout.slice(-2000)}\n${stderr.slice(-4000)}`);
  return stdout;
}

/** Everything ends with the script, the daemon too: it is the first process of its namespace. */
function onHost(host: string, script: string): string {
  const mounts = [
    "mount --make-rprivate /",
    `mount -t proc none "${host}/proc"`,
    `mount --rbind /sys "${host}/sys"`,
    `mount --rbind /dev "${host}/dev"`,
    `mount -t tmpfs none "${host}/run"`,
    `mount -t tmpfs none "${host}/tmp"`,
  ].join(" && ");
  return run("unshare", [
    ...["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c"],
    `${mounts} && cd / && exec chroot "${host}" sh -eu -c "$0"`,
    script,
  ]);
}

interface SetUp {
  readonly changed: boolean;
  readonly notes: readonly string[];
  readonly engine?: { readonly version: string };
}

describe("the engine in a kit", { skip: reasonToSkip() }, () => {
  let work: string;
  let kit: string;

  before(async () => {
    work = await mkdtemp(join(tmpdir(), "sealift-kit-engine-"));
    kit = join(work, "kit.tar");
    const platform = `linux/${process.arch === "arm64" ? "arm64" : "amd64"}`;
    const engines = Object.keys(HOSTS).flatMap((host) => ["--engine", host]);
    run(join(root, "sealift"), ["kit", "build", "--platform", platform, "--out", kit, ...engines]);
  });
  after(() => {
    if (work) rmSync(work, { recursive: true, force: true });
  });

  for (const [name, suite] of Object.entries(HOSTS)) {
    it(`is all that a minimal ${name} needs, and nothing is fetched`, async () => {
      const host = join(work, name);
      const [mirror = ""] = await debianMirrors("debian");
      run(requirePeer("mmdebstrap"), ["--quiet", "--variant=minbase", suite, host, mirror]);
      mkdirSync(join(host, KIT), { recursive: true });
      run("tar", ["--extract", "--file", kit, "--directory", join(host, KIT), "--strip-components=1"]);
      const setUp = `${KIT}/sealift host setup --yes --json`;
      // Apart: the second run must find what the first one made, and change nothing.
      const told = onHost(
        host,
        [
          "! command -v ssh-keygen",
          // Nobody is there to ask.
          `if ${KIT}/sealift host setup >/refused 2>&1; then exit 9; else test $? -eq 2; fi`,
          "! command -v dockerd",
          `${setUp} >/first.json; ${setUp} >/second.json`,
          "ssh-keygen -q -t ed25519 -N '' -f /tmp/key && echo plan >/tmp/plan",
          "ssh-keygen -q -Y sign -n test -f /tmp/key /tmp/plan",
          "ssh-keygen -Y check-novalidate -n test -s /tmp/plan.sig </tmp/plan >/dev/null",
          "cat /first.json; printf '\\0'; cat /second.json",
        ].join("; "),
      );
      const [first, second] = told.split("\0").map((text) => JSON.parse(text) as SetUp) as [SetUp, SetUp];
      assert.equal(first.changed, true);
      assert.match(first.notes.join(), /nothing is fetched; the packages are those of this kit/);
      assert.match(first.engine?.version ?? "", /^\d+\.\d+/);
      assert.equal(second.changed, false);
      assert.match(second.notes.join(), /is there and good/);
    });
  }
});
