import assert from "node:assert/strict";
import { Readable } from "node:stream";
import test from "node:test";
import { differences } from "../../../installer/lifecycle/fsck/image-files.ts";
import { FileTree } from "../../../sbom/generate/file-tree.ts";
import { scanLayer } from "../../../sbom/generate/layer-scan.ts";
import { directory, END, file, header } from "../../support/layer-tar.ts";

const link = (path: string, linkpath: string): Buffer => header({ path, linkpath, size: 0, type: "SymbolicLink" });

async function tree(...entries: readonly Buffer[]): Promise<FileTree> {
  const stream = Readable.from([Buffer.concat([...entries, END])]);
  return FileTree.of([await scanLayer(stream, "application/vnd.oci.image.layer.v1.tar")]);
}

const IMAGE = [directory("etc"), file("etc/conf", "a=1"), file("bin/tool", "run", 0o755), link("bin/sh", "tool")];

async function found(...entries: readonly Buffer[]): Promise<string[]> {
  const places = ["etc/hosts", "run/secrets/key", "data"];
  return [...differences((await tree(...IMAGE)).root, (await tree(...entries)).root, "", places)];
}

test("a container with the image's files, and what the engine and mounts put there, differs in nothing", async () => {
  const stubs = [
    file("etc/hosts"),
    directory("run"),
    directory("run/secrets"),
    file("run/secrets/key"),
    directory("data"),
  ];
  assert.deepEqual(await found(...IMAGE, ...stubs), []);
});

test("other bytes, another kind, a link that leads elsewhere, an execute bit, and what is gone are each told", async () => {
  const changed = [file("etc/conf", "a=2"), file("bin/tool", "run"), link("bin/sh", "/tmp/sh")];
  assert.deepEqual(await found(...changed), [
    '"/etc/conf": has other bytes',
    '"/bin/tool": may be executed, or may no more',
    '"/bin/sh": leads elsewhere',
  ]);
  assert.deepEqual(await found(directory("etc/conf"), file("bin/tool", "run", 0o755), file("bin/sh", "tool")), [
    '"/etc/conf": is a directory, want a file',
    '"/bin/sh": is a file, want a symlink',
  ]);
  assert.deepEqual(await found(file("etc/conf", "a=1")), ['"/bin": is gone']);
});

test("what the image does not have is told, also under a place where something is mounted", async () => {
  const strange = [file("etc/cron", "evil"), file("data/left", "x"), file("etc/hosts", "1.2.3.4 x"), directory("opt")];
  assert.deepEqual(await found(...IMAGE, ...strange), [
    '"/etc/cron": is not of the image',
    '"/etc/hosts": is not of the image',
    '"/data/left": is not of the image',
    '"/opt": is not of the image',
  ]);
});
