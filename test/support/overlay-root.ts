/**
 * A root file system made in steps, each of them a layer as a container engine makes it: commands run in the
 * root on top of all earlier steps (an overlay), and what they changed is the layer, whiteouts and opaque
 * directories among it. Needs root, overlay and python3, whose tarfile writes what Node.js cannot read.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

/** False if this machine can make one, else why not. */
export function skipWithoutOverlay(): string | false {
  if (process.getuid?.() !== 0) return "needs root";
  if (spawnSync("python3", ["-c", "import os; os.getxattr"]).status !== 0) return "no python3";
  const mounts =
    "mount -t tmpfs none /mnt && mkdir /mnt/a /mnt/b /mnt/c && mount -t overlay -o lowerdir=/mnt/a,upperdir=/mnt/b,workdir=/mnt/c none /mnt";
  return spawnSync("unshare", ["--mount", "sh", "-ec", mounts]).status === 0 ? false : "no overlay mounts here";
}

export function run(command: string, args: readonly string[], cwd?: string): string {
  const options = { encoding: "utf8", maxBuffer: 2 ** 28, ...(cwd === undefined ? {} : { cwd }) } as const;
  const { status, stdout, stderr } = spawnSync(command, args, options);
  assert.equal(status, 0, `${command} ${args.join(" ")}\n${stdout.slice(-2000)}\n${stderr.slice(-4000)}`);
  return stdout;
}

/** Writes a step's directory as a layer: overlay's marks as OCI's (image-spec v1.1, layer.md). */
const WRITE_LAYER = `
import os, stat, sys, tarfile
upper, out = sys.argv[1:]
def is_opaque(path):
  try: return os.getxattr(path, "trusted.overlay.opaque") == b"y"
  except OSError: return False
with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
  for directory, names, files in os.walk(upper):
    names.sort()
    inside = os.path.relpath(directory, upper)
    if inside != ".": tar.add(directory, inside, recursive=False)
    if inside != "." and is_opaque(directory):
      tar.addfile(tarfile.TarInfo(os.path.join(inside, ".wh..wh..opq")))
    for name in sorted(files + [n for n in names if os.path.islink(os.path.join(directory, n))]):
      path = os.path.join(directory, name)
      status = os.lstat(path)
      target = os.path.normpath(os.path.join(inside, name))
      if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        tar.addfile(tarfile.TarInfo(os.path.normpath(os.path.join(inside, ".wh." + name))))
      elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
        tar.add(path, target, recursive=False)
`;

export class OverlayRoot {
  readonly #work: string;
  /** The lowest first. */
  readonly #steps: string[];
  #count = 0;

  /** `base` is an unpacked root, the lowest layer; `work` a directory for the rest. */
  constructor(base: string, work: string) {
    this.#steps = [base];
    this.#work = work;
  }

  /** A root with the same lower layers that goes its own way from here on. */
  fork(work: string): OverlayRoot {
    const forked = new OverlayRoot(this.#steps[0] as string, work);
    forked.#steps.push(...this.#steps.slice(1));
    return forked;
  }

  /** Runs a shell script in the root, with `mounts` (host directory → path in the root) visible; its changes are the next layer. */
  step(script: string, mounts: Readonly<Record<string, string>> = {}): string {
    this.#count += 1;
    const upper = join(this.#work, `step-${this.#count}`);
    const output = this.#inside(script, upper, mounts);
    this.#steps.push(upper);
    return output;
  }

  /** Runs a shell script in the root, and forgets what it changed. */
  ask(script: string, mounts: Readonly<Record<string, string>> = {}): string {
    this.#count += 1;
    return this.#inside(script, join(this.#work, `asked-${this.#count}`), mounts);
  }

  /** A directory with all that the root has, or has in `below`. */
  copy(below = ""): string {
    const directory = join(this.#work, "copy");
    mkdirSync(directory);
    this.ask(`cp -ax /${below}/. /tmp/copy/`.replace("//", "/"), { [directory]: "/tmp/copy" });
    return directory;
  }

  /** The layers as uncompressed archives, the lowest first; with `below` of steps alone, and of that directory in them. */
  writeLayers(below?: string): string[] {
    const steps = below === undefined ? this.#steps : this.#steps.slice(1).map((step) => join(step, below));
    return steps
      .filter((step) => existsSync(step))
      .map((step, i) => {
        const out = join(this.#work, `layer-${i}.tar`);
        run("python3", ["-c", WRITE_LAYER, step, out]);
        return out;
      });
  }

  #inside(script: string, upper: string, mounts: Readonly<Record<string, string>>): string {
    const merged = `${upper}.merged`;
    for (const path of [upper, `${upper}.work`, merged]) mkdirSync(path);
    const lower = [...this.#steps].reverse().join(":");
    const bind = Object.entries(mounts).map(
      ([from, to]) => `mkdir -p "${merged}${to}"; mount --bind "${from}" "${merged}${to}"`,
    );
    const setUp = [
      "mount --make-rprivate /",
      `mount -t overlay -o "lowerdir=${lower},upperdir=${upper},workdir=${upper}.work" none "${merged}"`,
      ...bind,
      `mount -t proc none "${merged}/proc"`,
    ];
    const enter = `exec chroot "${merged}" /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root LC_ALL=C sh -euc "$0"`;
    return run("unshare", [
      "--mount",
      "--net",
      "--pid",
      "--fork",
      "sh",
      "-euc",
      `${setUp.join("\n")}\n${enter}`,
      script,
    ]);
  }
}
