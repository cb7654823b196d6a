/**
 * Files that are not as packaged: ours beside `dpkg --verify` and `rpm --verify`, on packages that they installed
 * themselves and that were changed since. apk is no Debian package: what it recorded is compared in the unit tests alone.
 */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmod, link, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { file, propertiesOf, sbomOf } from "../support/layer-tar.ts";
import { skipWithout, testCache } from "../support/peers.ts";
import { scratch } from "../support/scratch.ts";

const hasDpkg = spawnSync("dpkg-deb", ["--version"]).status === 0 && process.getuid?.() === 0;

const FILES = {
  "usr/bin/tool": "#!/bin/sh\n",
  "usr/lib/tool/empty": "",
  "usr/lib/tool/a b": "a name with a space",
  "usr/lib/tool/gone": "to be removed",
  "usr/share/tool/data": "x".repeat(200_000),
  "opt/tool/lib.so": "library",
  "etc/tool.conf": "a=1\n",
};

async function write(root: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
}

/** Installs the package "tool" into `root` by dpkg alone. */
async function install(directory: string, root: string): Promise<void> {
  const tree = join(directory, "tree");
  const control =
    "Package: tool\nVersion: 1.0-1\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: a tool\n";
  await write(tree, FILES);
  const md5sums = "find usr opt -type f -print0 | xargs -0 md5sum";
  const sums = execFileSync("sh", ["-c", md5sums], { cwd: tree, encoding: "utf8" });
  await write(tree, { "DEBIAN/control": control, "DEBIAN/conffiles": "/etc/tool.conf\n", "DEBIAN/md5sums": sums });
  await chmod(join(tree, "DEBIAN"), 0o755);
  execFileSync("dpkg-deb", ["--build", "--root-owner-group", tree, join(directory, "tool.deb")], { stdio: "ignore" });
  await write(root, { "var/lib/dpkg/status": "", "var/lib/dpkg/available": "" });
  execFileSync("dpkg", [`--root=${root}`, "--force-script-chrootless", "-i", join(directory, "tool.deb")], {
    stdio: "ignore",
  });
}

/** What dpkg says has another digest, configuration apart. */
function changedByDpkg(root: string): string[] {
  const { stdout } = spawnSync("dpkg", [`--root=${root}`, "--verify", "tool"], { encoding: "utf8" });
  return [...stdout.matchAll(/^\?\?5\?{6} {3}(\/.*)$/gm)].map(([, path = ""]) => path).sort();
}

async function changedByUs(root: string, distribution = "debian"): Promise<string[]> {
  const system = execFileSync("tar", ["-C", root, "-cf", "-", "."], { maxBuffer: 2 ** 28 });
  const os = file("etc/os-release", `ID=${distribution}\nVERSION_ID=9\n`);
  const { components } = await sbomOf(Buffer.concat([os, system]));
  const tool = components.find(({ name }) => name === "tool");
  return tool ? propertiesOf(tool, "sealift:package:changed-file") : assert.fail("the package is not listed");
}

test("the files that are told are those that dpkg --verify finds", {
  skip: !hasDpkg && "no dpkg here, or not root",
}, async (context) => {
  const directory = await scratch(context);
  const root = join(directory, "root");
  await install(directory, root);
  assert.deepEqual(changedByDpkg(root), []);
  assert.deepEqual(await changedByUs(root), []);

  await write(root, {
    "usr/bin/tool": "#!/bin/sh\necho changed\n",
    "usr/lib/tool/empty": "no longer",
    "usr/lib/tool/a b": "changed",
    "usr/share/tool/data": `${"x".repeat(199_999)}y`,
    "etc/tool.conf": "a=2\n",
    "usr/lib/tool/new": "of nobody",
  });
  await rm(join(root, "usr/lib/tool/gone"));
  // A hardlink to what is no longer the package's own bytes.
  await rm(join(root, "opt/tool/lib.so"));
  await link(join(root, "usr/lib/tool/new"), join(root, "opt/tool/lib.so"));
  await symlink("usr/bin", join(root, "bin"));
  const truth = changedByDpkg(root);
  assert.equal(truth.length, 5, truth.join());
  assert.deepEqual(await changedByUs(root), truth);
});

const SPEC = `Name: tool
Version: 1.0
Release: 1.el9
Summary: a tool
License: MIT
BuildArch: noarch
%description
A tool.
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/share/tool %{buildroot}/etc
for path in usr/bin/tool usr/share/tool/data usr/share/tool/gone usr/share/tool/log etc/tool.conf; do
  echo $path >%{buildroot}/$path
done
%files
/usr/bin/tool
/usr/share/tool/data
/usr/share/tool/gone
%verify(not md5 size mtime) /usr/share/tool/log
%config /etc/tool.conf
`;

test("of rpm's packages they are those that rpm --verify finds", {
  skip: skipWithout("rpm") || (process.getuid?.() !== 0 && "not root"),
}, async (context) => {
  const directory = await scratch(context);
  const [root, top] = [join(directory, "root"), join(directory, "top")];
  const home = join(testCache(), "peers/rpm/usr");
  const libraries = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map((triplet) => join(home, "lib", triplet)).join(":");
  const env = {
    ...process.env,
    RPM_CONFIGDIR: join(home, "lib/rpm"),
    LD_LIBRARY_PATH: libraries,
    PATH: `${join(home, "bin")}:${process.env["PATH"]}`,
  };
  const rpm = (program: string, ...args: readonly string[]): string =>
    spawnSync(join(home, "bin", program), args, { encoding: "utf8", env }).stdout;
  const inRoot = [`--root=${root}`, "--dbpath=/var/lib/rpm", "--nodeps"];
  await write(directory, { "tool.spec": SPEC });
  await mkdir(root);
  const quiet = ["--define", `_topdir ${top}`, "--define", "_build_id_links none"];
  rpm("rpmbuild", ...quiet, "-bb", join(directory, "tool.spec"));
  rpm("rpm", ...inRoot, "--nosignature", "-i", join(top, "RPMS/noarch/tool-1.0-1.el9.noarch.rpm"));
  // What images have: nothing left in the write-ahead log.
  const database = new DatabaseSync(join(root, "var/lib/rpm/rpmdb.sqlite"));
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();

  const truth = (): string[] =>
    [...rpm("rpm", ...inRoot, "--verify", "tool").matchAll(/^..5\S* {4}(\/.*)$/gm)].map(([, path = ""]) => path).sort();
  assert.deepEqual(truth(), []);
  assert.deepEqual(await changedByUs(root, "rocky"), []);
  const changed = { "usr/bin/tool": "x", "usr/share/tool/data": "y", "usr/share/tool/log": "z", "etc/tool.conf": "a" };
  await write(root, changed);
  await rm(join(root, "usr/share/tool/gone"));
  assert.deepEqual(truth(), ["/usr/bin/tool", "/usr/share/tool/data"]);
  assert.deepEqual(await changedByUs(root, "rocky"), truth());
});
