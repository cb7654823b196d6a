/** The registry source and `bundle build` against the real docker-registry, filled by oras and skopeo. */
import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { readLayoutIndex, readRelease } from "../../bundles/layout/contents.ts";
import { closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { DOCKER_MANIFEST, OCI_INDEX } from "../../bundles/model/media-types.ts";
import { registrySource } from "../../bundles/source/registry.ts";
import { sealift } from "../support/command-line.ts";
import { bytesOf, type ForeignImage, foreignImage, foreignIndex, sourceContext } from "../support/foreign-images.ts";
import { run, stop } from "../support/offline-namespace.ts";
import { requirePeer, skipWithout } from "../support/peers.ts";
import { freePort, startRegistry } from "../support/registry.ts";
import { scratch } from "../support/scratch.ts";
import { smallRelease, smallRules, writeSmallBundle } from "../support/small-bundle.ts";

describe("images in the real registry", { skip: skipWithout("oras", "skopeo", "registry") }, () => {
  let directory: string;
  let host: string;
  let registry: ChildProcessWithoutNullStreams;
  const cleanup: (() => Promise<void>)[] = [];
  const small = smallRelease();
  const gateway = small.release.images.get("gateway")?.descriptor.digest as Digest;

  before(async () => {
    directory = await scratch({ after: (work) => void cleanup.push(work) });
    host = `127.0.0.1:${await freePort()}`;
    registry = await startRegistry((program, args) => spawn(program, args), join(directory, "registry"), host);
    cleanup.unshift(() => stop(registry));
    await writeSmallBundle(join(directory, "b.tar"), small);
  });
  after(async () => {
    for (const work of cleanup) await work();
  });

  const tool = async (name: "oras" | "skopeo", ...args: string[]): Promise<string> => {
    const env = { PATH: process.env["PATH"], HOME: directory, TMPDIR: directory };
    const { code, stdout, stderr } = await run(requirePeer(name), args, { cwd: directory, env });
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const source = (reference: string) =>
    registrySource(`${host}/${reference}`, { dockerConfig: join(directory, "none.json") });
  const put = async (path: string, type: string, bytes: Buffer): Promise<void> => {
    const response = await fetch(`http://${host}/v2/${path}`, {
      method: "PUT",
      headers: { "content-type": type },
      body: new Uint8Array(bytes),
    });
    assert.equal(response.status, 201, await response.text());
  };
  const pushBlob = async (repository: string, bytes: Buffer): Promise<void> => {
    const begun = await fetch(`http://${host}/v2/${repository}/blobs/uploads/`, { method: "POST" });
    const place = new URL(begun.headers.get("location") ?? "", `http://${host}`);
    place.searchParams.set("digest", digestOf(bytes));
    const response = await fetch(place, { method: "PUT", body: new Uint8Array(bytes) });
    assert.equal(response.status, 201, await response.text());
  };
  const push = async (repository: string, image: ForeignImage): Promise<void> => {
    for (const bytes of [image.config, ...image.layers]) await pushBlob(repository, bytes);
    await put(`${repository}/manifests/${image.digest}`, image.mediaType, image.bytes);
  };

  test("an image that oras pushed is carried byte for byte", async () => {
    await tool("oras", "cp", "--from-oci-layout", "b.tar:gateway", "--to-plain-http", `${host}/pushed/oras:1`);
    const lock = await source("pushed/oras:1").lock(sourceContext(directory));
    assert.deepEqual(lock, { kind: "registry", reference: `${host}/pushed/oras:1`, digest: gateway });
    const loaded = await source("pushed/oras:1").load(lock, sourceContext(directory));
    assert.deepEqual(loaded.manifest, small.blobs.get(gateway));
    for (const { descriptor, blob } of loaded.layers) {
      assert.deepEqual(await bytesOf(blob.open()), small.blobs.get(descriptor.digest));
    }
  });

  test("an image that skopeo pushed in Docker's format is converted and keeps its layers", async () => {
    const gzip = foreignImage();
    await push("made/gzip", gzip);
    await tool(
      "skopeo",
      ...["--insecure-policy", "copy", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false"],
      ...[`docker://${host}/made/gzip@${gzip.digest}`, `docker://${host}/pushed/skopeo:1`],
    );
    const raw = await tool("skopeo", "inspect", "--raw", "--tls-verify=false", `docker://${host}/pushed/skopeo:1`);
    assert.equal((JSON.parse(raw) as { mediaType: string }).mediaType, DOCKER_MANIFEST);
    const lock = await source("pushed/skopeo:1").lock(sourceContext(directory));
    assert.equal(lock.kind === "registry" && lock.digest, digestOf(raw));
    const loaded = await source("pushed/skopeo:1").load(lock, sourceContext(directory));
    assert.ok(!loaded.manifest.includes("docker"));
    assert.equal(loaded.materials[0]?.digest["sha256"], digestOf(raw).slice(7));
    for (const [i, { blob }] of loaded.layers.entries()) assert.deepEqual(await bytesOf(blob.open()), gzip.layers[i]);
  });

  test("a multi-platform image is locked to the manifest of each platform", async () => {
    const [amd64, arm64] = [foreignImage(), foreignImage({ architecture: "arm64" })];
    const unknown = foreignImage({ architecture: "unknown" });
    for (const image of [amd64, arm64, unknown]) await push("made/multi", image);
    const index = foreignIndex([
      [{ os: "linux", architecture: "arm64" }, arm64],
      [{ os: "linux", architecture: "amd64" }, amd64],
    ]);
    await put("made/multi/manifests/2", OCI_INDEX, index);
    for (const [platform, image] of [
      ["linux/amd64", amd64],
      ["linux/arm64", arm64],
    ] as const) {
      const lock = await source(`made/multi:2@${digestOf(index)}`).lock(sourceContext(directory, platform));
      assert.equal(lock.kind === "registry" && lock.digest, image.digest);
    }
  });

  test("bundle lock and bundle build carry it, a layout's and a bundle's image, and the bundle holds their bytes", async () => {
    await tool("oras", "cp", "--from-oci-layout", "b.tar:gateway", "--to-plain-http", `${host}/pushed/oras:1`);
    await tool("skopeo", "--insecure-policy", "copy", "oci-archive:b.tar:audit", "oci:layout:audit");
    const work = join(directory, "appliance");
    await mkdir(work);
    const images = {
      gateway: { registry: `${host}/pushed/oras:1` },
      audit: { layout: "../layout#audit" },
      copy: { layout: "../b.tar#gateway" },
    };
    const services = Object.fromEntries(Object.keys(images).map((name) => [name, { image: name }]));
    const template = { services: { ...services, front: { image: "gateway" } }, "x-sealift": smallRules("gateway") };
    await writeFile(join(work, "compose.yaml"), JSON.stringify(template));
    await writeFile(join(work, "config.schema.json"), '{"type":"object"}');
    const file = join(work, "appliance.yaml");
    const names = { appliance: "demo", channel: "stable", compose: "compose.yaml", configSchema: "config.schema.json" };
    await writeFile(file, JSON.stringify({ schemaVersion: 1, ...names, images }));
    const environment = { SEALIFT_CACHE: join(directory, "cache"), DOCKER_CONFIG: directory };
    const locked = await sealift(["bundle", "lock", "--appliance", file, "--platform", "linux/amd64"], environment);
    assert.equal(locked.exit, 0, locked.stderr);
    const out = join(directory, "built.tar");
    const build = [
      "bundle",
      "build",
      "--appliance",
      file,
      "--version",
      "1.0.0",
      "--platform",
      "linux/amd64",
      "--out",
      out,
    ];
    const built = await sealift(build, environment);
    assert.equal(built.exit, 0, built.stderr);
    const { layout, store } = openLayout(out);
    try {
      const release = readRelease(layout, readLayoutIndex(layout).release);
      assert.equal(release.images.get("gateway")?.descriptor.digest, gateway);
      assert.equal(release.images.get("copy")?.descriptor.digest, gateway);
      assert.equal(
        release.images.get("audit")?.descriptor.digest,
        small.release.images.get("audit")?.descriptor.digest,
      );
    } finally {
      closeStore(store);
    }
    const text = await readFile(join(work, "appliance.lock.json"), "utf8");
    assert.ok(text.includes(gateway));
  });
});
