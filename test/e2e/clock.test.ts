/**
 * The host's clock is set while a site lives: what would change the site stops until an operator signs that the
 * clock is right now; what only looks goes on and says so.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { createSiteWithOperator, type EnrolledSite } from "../support/ready-site.ts";
import { scratch } from "../support/scratch.ts";

const MAIN = fileURLToPath(new URL("../../installer/main.ts", import.meta.url));
const PRELOAD = new URL("../support/clock-preload.ts", import.meta.url).href;
const DAY_MS = 86_400_000;
const DAY_S = 86_400;
const skip = skipWithoutNamespaces();

interface Host {
  /** How far somebody has set the clock. */
  readonly clockMs?: number;
  /** How much longer the kernel has been up. */
  readonly uptimeS?: number;
  readonly hasRebooted?: boolean;
}

interface Said {
  readonly exit: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

class ClockSite {
  readonly #directory: string;
  readonly #site: EnrolledSite;
  #names = 0;

  private constructor(directory: string, site: EnrolledSite) {
    this.#directory = directory;
    this.#site = site;
  }

  static async create(t: TestContext): Promise<ClockSite> {
    const directory = await scratch(t);
    return new ClockSite(directory, await createSiteWithOperator(directory));
  }

  ledger(): Buffer {
    return readFileSync(join(this.#site.state, "ledger"));
  }

  /** Enrols one more operator, which changes the site. */
  change(host: Host, ...options: readonly string[]): Said {
    this.#names += 1;
    const name = `operator-${this.#names}`;
    const key = join(this.#directory, name);
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key]);
    const file = `${key}.signers`;
    writeFileSync(file, `${name} namespaces="sealift-authorization" ${readFileSync(`${key}.pub`, "utf8")}`);
    return this.run(host, "operator", "add", file, "--key", this.#site.operatorKey, ...options);
  }

  run({ clockMs = 0, uptimeS = 0, hasRebooted = false }: Host, ...args: readonly string[]): Said {
    const time = uptimeS === 0 ? [] : ["--time", "--boottime", String(uptimeS)];
    const bootId = join(this.#directory, "boot_id");
    writeFileSync(bootId, "00000000-0000-4000-8000-000000000000\n");
    const mount = hasRebooted ? `mount --bind ${bootId} /proc/sys/kernel/random/boot_id` : ":";
    const { status, stdout, stderr } = spawnSync(
      "unshare",
      [
        ...["--mount", "--propagation", "private", ...time, "--fork", "sh", "-euc", `${mount}; exec "$@"`, "sh"],
        ...[process.execPath, "--import", PRELOAD, MAIN, ...args, "--state", this.#site.state],
      ],
      { encoding: "utf8", env: { ...process.env, SEALIFT_TEST_CLOCK_MS: String(clockMs) } },
    );
    return { exit: status, stdout, stderr };
  }

  assertRefused(code: string, host: Host): void {
    const before = this.ledger();
    const { exit, stderr } = this.change(host);
    assert.equal(exit, 4, stderr);
    assert.ok(stderr.includes(`[${code}]`), stderr);
    assert.match(stderr, /hint: set the clock right .*\n.*hint: .* --confirm-clock/);
    assert.deepEqual(this.ledger(), before, "nothing was written");
    const looked = this.run(host, "status");
    assert.equal(looked.exit, 4, looked.stderr);
    assert.ok(looked.stdout.includes("not-installed"));
    assert.ok(looked.stderr.includes(`note: ${code}: the clock `), looked.stderr);
  }

  assertChanges(host: Host, ...options: readonly string[]): void {
    const { exit, stderr } = this.change(host, ...options);
    assert.equal(exit, 0, stderr);
    const verified = this.run(host, "ledger", "verify");
    assert.equal(verified.exit, 0, verified.stdout + verified.stderr);
  }
}

test("a clock that runs as the kernel does is believed, also after a reboot and a month without power", {
  skip,
}, async (t) => {
  const site = await ClockSite.create(t);
  site.assertChanges({});
  site.assertChanges({ uptimeS: DAY_S, clockMs: DAY_MS });
  site.assertChanges({ hasRebooted: true, clockMs: 30 * DAY_MS });
});

test("a clock that was set back before the ledger's end, and one that lost its battery", { skip }, async (t) => {
  const site = await ClockSite.create(t);
  site.assertRefused("CLOCK_BACKWARDS", { clockMs: -DAY_MS });
  site.assertRefused("CLOCK_BACKWARDS", { clockMs: -2000 * DAY_MS, hasRebooted: true });
});

test("a clock that went on faster or slower than the kernel", { skip }, async (t) => {
  const site = await ClockSite.create(t);
  site.assertRefused("CLOCK_JUMPED", { clockMs: 30 * DAY_MS });
  // The clock says that no time has passed, the kernel that it was a day.
  site.assertRefused("CLOCK_JUMPED", { uptimeS: DAY_S });
});

test("a clock that is years ahead after a reboot", { skip }, async (t) => {
  const site = await ClockSite.create(t);
  site.assertRefused("CLOCK_JUMPED", { hasRebooted: true, clockMs: 800 * DAY_MS });
});

test("an operator signs that the clock is right now: it holds from then on, and the ledger says so", {
  skip,
}, async (t) => {
  const site = await ClockSite.create(t);
  const ahead = { clockMs: 30 * DAY_MS };
  site.assertChanges(ahead, "--confirm-clock");
  assert.match(site.ledger().toString(), /CLOCK_JUMPED/);
  site.assertChanges(ahead);
  // It was wrong all the same: once more somebody signs, and the way back is in the ledger too.
  site.assertRefused("CLOCK_BACKWARDS", {});
  site.assertChanges({}, "--confirm-clock");
  site.assertChanges({});
});

function skipWithoutNamespaces(): string | false {
  const { status } = spawnSync("unshare", ["--mount", "--time", "--boottime", "1", "--fork", "true"]);
  return status === 0 ? false : "no namespaces of mounts and time here";
}
