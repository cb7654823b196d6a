/**
 * The kit's whole way: built twice, checked with openssl and sha256sum by the runbook's own commands,
 * unpacked as root, and used on a root file system that has no npm, no checkout and no route. Needs root
 * (chroot, mount and network namespaces) and, the first time, the npm registry.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseSbom } from "../../sbom/document.ts";
import { requirePeer, skipWithout } from "../support/peers.ts";
import { signedBundle, writeSignedBundle, writeTrustFiles } from "../support/signed-bundle.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const NOBODY = "65534";
const TOOLS = ["unshare", "openssl", "sha256sum", "tar", "chroot", "setpriv", "ldd", "git"];

function has(tool: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${tool}`]).status === 0;
}

function reasonToSkip(): string | false {
  if (process.getuid?.() !== 0) return "needs root for chroot and namespaces";
  const missing = TOOLS.find((tool) => !has(tool));
  if (missing !== undefined) return `${missing} is not on this machine`;
  const works = spawnSync("unshare", ["--net", "--mount", "true"]).status === 0;
  return works ? false : "this machine does not let root make namespaces";
}

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(
  command: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Result {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 26, ...options });
  return { status, stdout, stderr };
}

/** The fenced sh blocks of the runbook, in order. */
function runbookBlocks(): string[] {
  const text = readFileSync(join(root, "runbooks/kit.md"), "utf8");
  return [...text.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block as string);
}

describe("a kit", { skip: reasonToSkip() }, () => {
  let work: string;
  let kit: string;
  let fingerprint: string;
  let commit: string;
  /** Stands in for /opt of the target machine; mounted there in a namespace of its own. */
  let opt: string;
  const password = { COSIGN_PASSWORD: "e2e" };

  /** Runs a script as root with our own /opt and /root, without a network. */
  function onTarget(script: string, env: NodeJS.ProcessEnv = {}): Result {
    const mounts = `mount --bind "${opt}" /opt && mount -t tmpfs none /root && cd /`;
    return run("unshare", ["--mount", "--net", "sh", "-c", `${mounts}\n${script}`], {
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env },
    });
  }

  /** The runbook's installation, with the operator's two values put in. */
  function install(medium: string, paper = fingerprint): Result {
    const script = runbookBlocks().slice(0, -1).join("\n");
    assert.match(script, /^MEDIUM=.*$/m);
    return onTarget(
      script.replace(/^MEDIUM=.*$/m, `MEDIUM='${medium}'`).replace(/^FINGERPRINT=.*$/m, `FINGERPRINT=${paper}`),
    );
  }

  function copyKit(name: string): string {
    const copy = join(work, name, "kit.tar");
    mkdirSync(dirname(copy));
    for (const suffix of ["", ".sha256", ".sig", ".pub"]) copyFileSync(`${kit}${suffix}`, `${copy}${suffix}`);
    return copy;
  }

  before(async () => {
    work = mkdtempSync(join(tmpdir(), "sealift-kit-test-"));
    // The ordinary user of the tests below must reach the bundle in it.
    chmodSync(work, 0o755);
    kit = join(work, "kit.tar");
    opt = join(work, "opt");
    mkdirSync(opt);
    const generated = run(join(root, "sealift"), ["key", "generate", "--out", join(work, "kit"), "--json"], {
      env: { ...process.env, ...password },
    });
    assert.equal(generated.status, 0, generated.stderr);
    fingerprint = (JSON.parse(generated.stdout) as { fingerprint: string }).fingerprint;
    const args = ["kit", "build", "--platform", `linux/${process.arch === "arm64" ? "arm64" : "amd64"}`];
    const built = run(join(root, "sealift"), [...args, "--out", kit, "--key", join(work, "kit.key"), "--json"], {
      env: { ...process.env, ...password },
    });
    assert.equal(built.status, 0, built.stderr);
    commit = (JSON.parse(built.stdout) as { commit: string }).commit;
    const bundle = signedBundle({ now: new Date() });
    await writeSignedBundle(join(work, "good.tar"), bundle);
    await writeTrustFiles(join(work, "trust"), bundle.trustFiles);
    const bytes = readFileSync(join(work, "good.tar"));
    // In the first blob's content, behind its header.
    bytes[2048] = (bytes[2048] as number) ^ 1;
    writeFileSync(join(work, "bad.tar"), bytes);
  });

  after(() => {
    if (work) rmSync(work, { recursive: true, force: true });
  });

  test("has the same bytes from another directory, umask, time zone and locale, unsigned", () => {
    const clone = join(work, "clone");
    execFileSync("git", ["clone", "--quiet", "--no-checkout", root, clone], { stdio: "ignore" });
    execFileSync("git", ["-C", clone, "checkout", "--quiet", "--detach", commit]);
    symlinkSync(join(root, "node_modules"), join(clone, "node_modules"));
    const script = 'umask 077; exec "$0" "$@"';
    const platform = `linux/${process.arch === "arm64" ? "arm64" : "amd64"}`;
    const args = ["kit", "build", "--platform", platform, "--out", join(work, "second.tar"), "--json"];
    const built = run("sh", ["-c", script, process.execPath, join(clone, "installer/main.ts"), ...args], {
      cwd: "/",
      env: { ...process.env, TZ: "Asia/Kathmandu", LC_ALL: "C", SOURCE_DATE_EPOCH: "1" },
    });
    assert.equal(built.status, 0, built.stderr);
    const document = JSON.parse(built.stdout) as { signed: boolean; digest: string };
    assert.equal(document.signed, false);
    assert.equal(document.digest, `sha256:${readFileSync(`${kit}.sha256`, "utf8").slice(0, 64)}`);
    assert.equal(existsSync(join(work, "second.tar.sig")), false);
    rmSync(clone, { recursive: true, force: true });
    rmSync(join(work, "second.tar"));
  });

  test("holds one directory of root's, files of modes 0644 and 0755, one link, and nothing of tests or npm's caches", () => {
    const lines = run("tar", ["--numeric-owner", "-tvf", kit]).stdout.trim().split("\n");
    const names = lines.map((line) => line.split(/\s+/)[5] as string);
    assert.deepEqual([...new Set(names.map((name) => name.split("/")[0]))].length, 1);
    for (const line of lines) assert.match(line, /^(?:-rw-r--r--|-rwxr-xr-x|drwxr-xr-x|lrwxrwxrwx) 0\/0 /);
    assert.deepEqual(lines.filter((line) => line.startsWith("l")).length, 1);
    for (const page of ["README", "install", "recover", "errors"]) {
      assert.ok(
        names.some((name) => name.endsWith(`/runbooks/${page}.html`)),
        `${page} as a page`,
      );
    }
    const foreign = /^[^/]+\/(?:test|\.git|node_modules\/(?:typescript|@biomejs|@typescript|\.cache|\.package-lock))/;
    assert.deepEqual(
      names.filter((name) => foreign.test(name)),
      [],
    );
  });

  test("names in its SBOM what an independent listing of its files finds, and Node with its CPE", async () => {
    const listed = run("tar", ["-xOf", kit, "--wildcards", "*/kit.cdx.json"]);
    const sbom = parseSbom(Buffer.from(listed.stdout));
    const manifests = run("sh", ["-c", `tar -tf "${kit}" | grep -E '/node_modules/(@[^/]+/)?[^/]+/package.json$'`])
      .stdout.trim()
      .split("\n");
    const found = new Set<string>();
    for (const path of manifests) {
      const { name, version } = JSON.parse(run("tar", ["-xOf", kit, path]).stdout) as {
        name?: string;
        version?: string;
      };
      if (name !== undefined && version !== undefined) found.add(`${name}@${version}`);
    }
    const libraries = sbom.components.filter(({ purl }) => purl?.startsWith("pkg:npm/"));
    assert.ok(sbom.components.some(({ purl }) => purl?.startsWith("pkg:deb/debian/libatomic1@")));
    const said = libraries.map(({ group, name, version }) => `${group ? `${group}/` : ""}${name}@${version}`);
    assert.deepEqual(said.sort(), [...found].sort());
    assert.match(listed.stdout, /cpe:2\.3:a:nodejs:node\.js:26\./);
    writeFileSync(join(work, "kit.cdx.json"), listed.stdout);
    const validated = run(join(root, "sealift"), ["sbom", "validate", join(work, "kit.cdx.json")]);
    assert.equal(validated.status, 0, validated.stderr + validated.stdout);
  });

  test("is refused by the runbook for a flipped byte, a stranger's key, a damaged checksum and another paper", () => {
    const flipped = copyKit("flipped");
    const bytes = readFileSync(flipped);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
    writeFileSync(flipped, bytes);
    writeFileSync(`${flipped}.sha256`, `${createHash("sha256").update(bytes).digest("hex")}  kit.tar\n`);
    const forged = install(flipped);
    assert.notEqual(forged.status, 0);
    assert.match(forged.stdout + forged.stderr, /Verification failure/i);

    const stranger = copyKit("stranger");
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    writeFileSync(`${stranger}.sig`, sign("sha256", readFileSync(stranger), privateKey));
    writeFileSync(`${stranger}.pub`, publicKey.export({ format: "pem", type: "spki" }));
    const signedByStranger = install(stranger);
    assert.notEqual(signedByStranger.status, 0);
    assert.doesNotMatch(signedByStranger.stdout, /Verified OK/);

    const damaged = copyKit("damaged");
    writeFileSync(`${damaged}.sha256`, `${"0".repeat(64)}  kit.tar\n`);
    assert.match(install(damaged).stdout, /FAILED/);

    const paper = install(copyKit("paper"), "f".repeat(64));
    assert.notEqual(paper.status, 0);
    assert.doesNotMatch(paper.stdout, /Verified OK/);

    for (const name of ["flipped", "stranger", "damaged", "paper"]) rmSync(join(work, name), { recursive: true });
    assert.equal(existsSync(join(opt, "sealift/current")), false);
  });

  test("is installed by the runbook's commands, and again over itself", () => {
    for (let round = 0; round < 2; round += 1) {
      const { status, stdout, stderr } = install(kit);
      assert.equal(status, 0, stderr);
      assert.match(stdout, /Verified OK/);
      assert.match(stdout, /^sealift \d+\.\d+\.\d+$/m);
    }
    const later = onTarget(runbookBlocks().at(-1) as string);
    assert.deepEqual([later.status, later.stdout], [0, ""], later.stderr);
  });

  test("verifies as root and as an ordinary user who owns nothing, and calls nobody", () => {
    for (const user of [[], ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]]) {
      const verify = (bundle: string): Result =>
        onTarget(
          'exec "$@"'.replace(
            '"$@"',
            [
              ...user,
              "/opt/sealift/current/sealift",
              "verify",
              join(work, bundle),
              "--trust",
              join(work, "trust"),
              "--json",
            ].join(" "),
          ),
        );
      const good = verify("good.tar");
      assert.equal(good.status, 0, good.stderr + good.stdout);
      assert.equal((JSON.parse(good.stdout) as { decision: string }).decision, "allow");
      const bad = verify("bad.tar");
      assert.equal(bad.status, 3, bad.stderr);
      assert.equal((JSON.parse(bad.stdout) as { decision: string }).decision, "deny");
    }
  });

  test("once it is installed it verifies the provenance of the next kit, as cosign does", {
    skip: skipWithout("cosign3"),
  }, () => {
    const [bundle, type] = [`${kit}.provenance.json`, "https://slsa.dev/provenance/v1"];
    const flipped = join(work, "provenance-flipped", "kit.tar");
    mkdirSync(dirname(flipped));
    const bytes = readFileSync(kit);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
    writeFileSync(flipped, bytes);
    const common = ["--key", `${kit}.pub`, "--bundle", bundle];
    const cosign = ["verify-blob-attestation", ...common, "--type", type, "--insecure-ignore-tlog"];
    const sealift = ["/opt/sealift/current/sealift", "verify-blob", ...common, "--predicate-type", type].join(" ");
    for (const [file, expected] of [[kit, 0] as const, [flipped, 3] as const]) {
      const ours = onTarget(`${sealift} ${file}`);
      assert.equal(ours.status, expected, ours.stderr);
      // By digest: of a file it takes 128 MiB at most.
      const digest = createHash("sha256").update(readFileSync(file)).digest("hex");
      const theirs = run(requirePeer("cosign3"), [...cosign, "--digest", digest, "--digestAlg", "sha256"]);
      assert.equal(theirs.status === 0, expected === 0, theirs.stderr);
    }
    rmSync(flipped);
  });

  test("makes no connection while it verifies", {
    skip: has("strace") ? false : "strace is not on this machine",
  }, () => {
    const log = join(work, "strace.log");
    const strace = `strace -f -s 4096 -o "${log}" -e trace=execve,socket,connect,bind,listen`;
    const calls = (command: string): string[] => {
      const traced = onTarget(`${strace} ${command}`);
      assert.equal(traced.status, 0, traced.stderr);
      return readFileSync(log, "utf8").split("\n");
    };
    const isCall = (line: string): boolean => /\b(?:connect|bind|listen)\(|\bsocket\(AF_INET/.test(line);

    // The trace would show one: the same Node, told to connect.
    const script = "require('node:net').connect(9, '127.0.0.1').on('error', () => {})";
    const control = calls(`/opt/sealift/current/node_modules/.bin/node -e "${script}"`);
    assert.ok(control.some((line) => isCall(line) && line.includes("connect(")));

    const verify = calls(
      `/opt/sealift/current/sealift verify "${join(work, "good.tar")}" --trust "${join(work, "trust")}"`,
    );
    assert.ok(
      verify.some((line) => line.includes("execve(") && line.includes("judge.ts")),
      "the judge was traced too",
    );
    assert.deepEqual(verify.filter(isCall), []);
  });

  describe("on a root file system with a shell and Node's libraries alone", () => {
    let chrootDirectory: string;

    before(() => {
      chrootDirectory = join(work, "rootfs");
      makeRootFileSystem(chrootDirectory, join(opt, "sealift/current/node_modules/.bin/node"));
      cpSync(join(opt, "sealift"), join(chrootDirectory, "opt/sealift"), { recursive: true, verbatimSymlinks: true });
      for (const name of ["good.tar", "bad.tar", "trust"])
        cpSync(join(work, name), join(chrootDirectory, name), { recursive: true });
    });

    function inside(args: readonly string[], user = "0"): Result {
      const mounts = `mount --bind /dev/null "${chrootDirectory}/dev/null" && mount -t proc proc "${chrootDirectory}/proc" && mount -t tmpfs -o mode=1777 tmpfs "${chrootDirectory}/tmp"`;
      const enter = `exec env -i PATH=/bin chroot --userspec=${user}:${user} --groups= "${chrootDirectory}" "$@"`;
      const path = process.env["PATH"];
      return run(
        "unshare",
        ["--mount", "--net", "sh", "-c", `${mounts} && ${enter.replace("chroot", "/usr/sbin/chroot")}`, "sh", ...args],
        { env: { PATH: path } },
      );
    }

    const hostLibatomic = (): string[] => {
      const found = run("find", [chrootDirectory, "-name", "libatomic.so.1", "-not", "-path", "*/opt/sealift/*"]);
      return found.stdout
        .trim()
        .split("\n")
        .filter((path) => path !== "");
    };

    test("has no npm, no network and no checkout", () => {
      assert.notEqual(inside(["/bin/sh", "-c", "command -v npm"]).status, 0);
      const route = inside(["/bin/sh", "-c", 'while read -r line; do echo "$line"; done </proc/net/route']);
      assert.equal(route.stdout.trim().split("\n").length, 1, "only the table's head line");
      assert.notEqual(inside(["/bin/sh", "-c", "[ -e /opt/sealift/current/.git ]"]).status, 0);
    });

    for (const [who, user] of [
      ["root", "0"],
      ["an ordinary user", NOBODY],
    ] as const) {
      test(`allows the good bundle and denies the flipped one, as ${who}`, () => {
        const verify = ["/opt/sealift/current/sealift", "verify", "--trust", "/trust", "--json"];
        const good = inside([...verify, "/good.tar"], user);
        assert.equal(good.status, 0, good.stderr + good.stdout);
        assert.equal((JSON.parse(good.stdout) as { decision: string }).decision, "allow");
        const bad = inside([...verify, "/bad.tar"], user);
        assert.equal(bad.status, 3, bad.stderr);
      });
    }

    test("brings its own libatomic, so that a host without it verifies too", () => {
      for (const library of hostLibatomic()) rmSync(library);
      for (const user of ["0", NOBODY]) {
        const good = inside(["/opt/sealift/current/sealift", "verify", "--trust", "/trust", "/good.tar"], user);
        assert.equal(good.status, 0, good.stderr + good.stdout);
      }
    });

    test("exits 4 without Node or its library, and repairs nothing", () => {
      const current = join(chrootDirectory, "opt/sealift/current");
      assert.deepEqual(hostLibatomic(), []);
      const kits = join(current, "lib/libatomic.so.1");
      renameSync(kits, `${kits}.away`);
      const library = inside(["/opt/sealift/current/sealift", "--version"]);
      assert.equal(library.status, 4);
      assert.match(library.stderr, /LAUNCHER_LIBRARY_MISSING.*libatomic/);
      renameSync(`${kits}.away`, kits);

      rmSync(join(current, "node_modules/.bin/node"));
      const incomplete = inside(["/opt/sealift/current/sealift", "verify", "/good.tar"]);
      assert.equal(incomplete.status, 4);
      assert.match(incomplete.stderr, /^sealift: error \[LAUNCHER_INCOMPLETE\]: .*\n {2}hint: /);
      assert.equal(incomplete.stdout, "");
      assert.equal(existsSync(join(current, "node_modules/.bin/node")), false);
    });
  });
});

/** A root file system of the host's shell, the three tools that the launcher calls, and what they and Node link. */
function makeRootFileSystem(directory: string, node: string): void {
  for (const name of ["bin", "proc", "tmp", "opt", "dev"]) mkdirSync(join(directory, name), { recursive: true });
  const programs = ["sh", "readlink", "dirname", "cmp", "head"].map((name) => {
    const path = execFileSync("sh", ["-c", `readlink -f "$(command -v ${name})"`], { encoding: "utf8" }).trim();
    copyFileSync(path, join(directory, "bin", name));
    return path;
  });
  const libraries = new Set<string>();
  for (const program of [...programs, node]) {
    for (const [, path] of run("ldd", [program]).stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g))
      libraries.add(path as string);
  }
  for (const library of libraries) {
    mkdirSync(join(directory, dirname(library)), { recursive: true });
    copyFileSync(library, join(directory, library));
  }
  // A place for the mount.
  writeFileSync(join(directory, "dev/null"), "");
}
