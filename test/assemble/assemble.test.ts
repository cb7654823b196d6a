import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { lockPath, readApplianceDirectory } from "../../bundles/assemble/appliance-directory.ts";
import { type Assembled, assemble } from "../../bundles/assemble/assemble.ts";
import { refreshLock } from "../../bundles/assemble/lock.ts";
import {
  DOCUMENT_MAX_BYTES,
  fileOrder,
  groupBlobs,
  leftOut,
  readLayoutIndex,
  readRelease,
} from "../../bundles/layout/contents.ts";
import { blobName, closeStore, openLayout } from "../../bundles/layout/layout.ts";
import { type Digest, digestOf } from "../../bundles/model/digest.ts";
import { measureFirmwareForTdx } from "../../bundles/model/release-attestation.ts";
import { renderTestModel } from "../../bundles/source/test-model.ts";
import { parseSbom } from "../../sbom/document.ts";
import { scratch } from "../support/scratch.ts";
import { smallRelease, smallRules, writeSmallBundle } from "../support/small-bundle.ts";
import { smallOvmf } from "../support/small-ovmf.ts";
import { smallTdvf } from "../support/small-tdvf.ts";
import { coded } from "../support/test-trust.ts";

const LOCKED_AT = new Date("2026-03-04T05:06:07.890Z");

const APPLIANCE = {
  schemaVersion: 1,
  appliance: "test",
  channel: "stable",
  upgradeFrom: ">=0.9.0 <1.0.0",
  images: { gateway: { layout: "images.tar#gateway" }, audit: { layout: "images.tar#audit" } },
  files: { model: { path: "model.bin", mediaType: "application/octet-stream" } },
  compose: "compose.yaml",
  configSchema: "config.schema.json",
};

/** A Compose file whose service `a` has this image and members. */
const composeFile = (image: string, members: object = {}): string =>
  JSON.stringify({
    services: { a: { image, ...members }, front: { image: "gateway" } },
    "x-sealift": smallRules("a"),
  });

/** An appliance whose images come out of another bundle: no network, no engine. */
async function appliance(t: TestContext, changes: object = {}, compose = composeFile("audit")) {
  const root = await scratch(t);
  await writeSmallBundle(join(root, "images.tar"), smallRelease());
  await writeFile(join(root, "model.bin"), "some weights");
  await writeFile(join(root, "compose.yaml"), compose);
  await writeFile(join(root, "config.schema.json"), '{"type":"object"}');
  const path = join(root, "appliance.yaml");
  await writeFile(path, JSON.stringify({ ...APPLIANCE, ...changes }));
  return { root, path };
}

async function lock(path: string, root: string): Promise<void> {
  await refreshLock({
    directory: await readApplianceDirectory(path),
    platforms: ["linux/amd64"],
    cacheDir: join(root, "cache"),
    now: LOCKED_AT,
    onProgress: () => {},
  });
}

async function build(
  path: string,
  root: string,
  name = "out.tar",
  version = "1.0.0",
  leaveOut: ReadonlySet<Digest> = new Set(),
): Promise<Assembled> {
  return assemble({
    leaveOut,
    directory: await readApplianceDirectory(path),
    version,
    platform: "linux/amd64",
    out: join(root, name),
    cacheDir: join(root, "cache"),
    sealiftVersion: "0.1.0",
    ignoreBuiltLayers: false,
    onProgress: () => {},
  });
}

test("builds a bundle whose files are those of its release, in canonical order, and nothing else", async (t) => {
  const { root, path } = await appliance(t);
  await lock(path, root);
  const assembled = await build(path, root);
  const { layout, store } = openLayout(join(root, "out.tar"));
  t.after(() => closeStore(store));
  const release = readRelease(layout, readLayoutIndex(layout).release);
  assert.equal(release.descriptor.digest, assembled.digest);
  assert.deepEqual(
    layout.files.map((file) => file.name),
    fileOrder(groupBlobs(release, [])),
  );
  assert.equal(release.manifest.created, "2026-03-04T05:06:07Z");
  assert.deepEqual(release.manifest.files, [
    {
      name: "model",
      digest: release.files.get("model")?.descriptor.digest,
      mediaType: "application/octet-stream",
      size: 12,
    },
  ]);
  const template = JSON.parse(layout.read(release.manifest.compose, DOCUMENT_MAX_BYTES).toString("utf8"));
  assert.equal(template.services.front.image, `gateway@${release.images.get("gateway")?.descriptor.digest}`);
  for (const image of release.manifest.images) {
    const sbom = parseSbom(layout.read(image.sbom, DOCUMENT_MAX_BYTES));
    assert.deepEqual(
      sbom.components.flatMap(({ purl }) => (purl?.startsWith("pkg:deb") ? [purl.split("?")[0]] : [])),
      ["pkg:deb/debian/base-files@13.8"],
    );
    const provenance = JSON.parse(layout.read(image.provenance, DOCUMENT_MAX_BYTES).toString("utf8"));
    assert.equal(provenance.runDetails.builder.id, "https://sealift.dev/builder/v0.1.0");
    assert.ok(provenance.buildDefinition.resolvedDependencies.length > 0);
  }
});

test("gives the same bytes twice, from different directories", async (t) => {
  const one = await appliance(t);
  const two = await appliance(t);
  for (const { root, path } of [one, two]) {
    await lock(path, root);
    await build(path, root);
  }
  const [a, b] = await Promise.all([one, two].map(({ root }) => readFile(join(root, "out.tar"))));
  assert.equal(digestOf(a as Buffer), digestOf(b as Buffer));
});

test("a release carries the launch digests of its appliance, and one that asks for none says nothing of it", async (t) => {
  const octets = "application/octet-stream";
  const { root, path } = await appliance(t, {
    files: { ovmf: { path: "OVMF.fd", mediaType: octets }, kernel: { path: "vmlinuz", mediaType: octets } },
    attestation: {
      sevSnp: [
        {
          vmm: "qemu",
          firmware: "ovmf",
          kernel: { file: "kernel" },
          commandLine: "console=ttyS0",
          vcpus: [1, 2],
          cpus: ["EPYC-v4", "EPYC-Milan"],
        },
        { vmm: "ec2", firmware: "ovmf", vcpus: [4] },
      ],
    },
  });
  await writeFile(join(root, "OVMF.fd"), smallOvmf());
  await writeFile(join(root, "vmlinuz"), "kernel");
  await lock(path, root);
  const { release } = await build(path, root);
  const [qemu, ec2] = release.attestation?.sevSnp ?? [];
  assert.deepEqual(qemu?.firmware, { file: "ovmf", digest: digestOf(smallOvmf()) });
  assert.deepEqual(qemu?.kernel, { file: "kernel", digest: digestOf(Buffer.from("kernel")) });
  assert.deepEqual(
    qemu?.measurements.map(({ vcpus, cpu }) => `${vcpus} ${cpu}`),
    ["1 EPYC-v4", "2 EPYC-v4", "1 EPYC-Milan", "2 EPYC-Milan"],
  );
  assert.deepEqual(Object.keys(ec2?.measurements[0] ?? {}), ["vcpus", "digest"]);
  const digests = [qemu, ec2].flatMap((launch) => launch?.measurements.map(({ digest }) => digest) ?? []);
  assert.equal(new Set(digests).size, 5);
  const plain = await appliance(t);
  await lock(plain.path, plain.root);
  assert.ok(!("attestation" in (await build(plain.path, plain.root)).release));
});

test("a release carries the MRTDs of firmware for TDX", async (t) => {
  const octets = "application/octet-stream";
  const { root, path } = await appliance(t, {
    files: { tdvf: { path: "TDVF.fd", mediaType: octets } },
    attestation: { tdx: [{ firmware: "tdvf" }] },
  });
  await writeFile(join(root, "TDVF.fd"), smallTdvf());
  await lock(path, root);
  const { release } = await build(path, root);
  const firmware = { file: "tdvf", digest: digestOf(smallTdvf()) };
  assert.deepEqual(release.attestation, { tdx: [{ firmware, measurements: measureFirmwareForTdx(smallTdvf()) }] });
});

test("a firmware without tables for SEV-SNP, or without a place for the kernel, is refused before anything is written", async (t) => {
  const launch = { vmm: "qemu", firmware: "ovmf", vcpus: [1], cpus: ["EPYC-v4"] };
  const kernel = { digest: digestOf(Buffer.from("kernel")) };
  const cases: readonly (readonly [Buffer, object])[] = [
    [Buffer.alloc(4096), launch],
    [smallOvmf({ takesKernel: false }), { ...launch, kernel }],
  ];
  const attestations = [...cases.map(([image, sevSnp]) => [image, { sevSnp: [sevSnp] }] as const)];
  for (const [image, attestation] of [...attestations, [smallOvmf(), { tdx: [{ firmware: "ovmf" }] }] as const]) {
    const { root, path } = await appliance(t, {
      files: { ovmf: { path: "OVMF.fd", mediaType: "application/octet-stream" } },
      attestation,
    });
    await writeFile(join(root, "OVMF.fd"), image);
    await lock(path, root);
    await assert.rejects(build(path, root), coded("ATTEST_OVMF_MALFORMED"));
    assert.deepEqual(
      (await readdir(root)).filter((name) => name.startsWith("out.tar")),
      [],
    );
  }
});

test("another version, lock or file is another release", async (t) => {
  const { root, path } = await appliance(t);
  await lock(path, root);
  const digests = new Set([(await build(path, root)).digest, (await build(path, root, "b.tar", "1.0.1")).digest]);
  await writeFile(join(root, "model.bin"), "other weights");
  digests.add((await build(path, root, "c.tar")).digest);
  assert.equal(digests.size, 3);
});

test("needs a lock, one for these images, and one for this platform", async (t) => {
  const { root, path } = await appliance(t);
  await assert.rejects(build(path, root), coded("LOCK_MISSING"));
  await lock(path, root);
  const written = await readFile(join(root, "appliance.lock.json"), "utf8");
  await writeFile(join(root, "appliance.lock.json"), written.replace('"linux/amd64":', '"linux/arm64":'));
  const otherPlatform = {
    code: "LOCK_STALE",
    message: 'lock: got platform "linux/amd64", want one of ["linux/arm64"]',
  };
  await assert.rejects(build(path, root), otherPlatform);
  await writeFile(join(root, "appliance.lock.json"), written);
  await writeFile(path, JSON.stringify({ ...APPLIANCE, images: { gateway: APPLIANCE.images.gateway } }));
  await assert.rejects(build(path, root), coded("LOCK_STALE"));
  await writeFile(join(root, "appliance.lock.json"), '{"schemaVersion":1}');
  await assert.rejects(build(path, root), coded("LOCK_MALFORMED"));
  await writeFile(join(root, "appliance.lock.json"), "{");
  await assert.rejects(build(path, root), coded("LOCK_MALFORMED"));
});

test("refuses an image that is no longer the one in the lock", async (t) => {
  const { root, path } = await appliance(t);
  await lock(path, root);
  await writeSmallBundle(join(root, "images.tar"), smallRelease({ created: "2027-01-01T00:00:00Z" }));
  await assert.rejects(build(path, root), (error: { code?: string }) => /^SOURCE_/.test(error.code ?? ""));
  assert.ok(!(await readdir(root)).some((name) => name.startsWith("out.tar")));
});

test("a lock that cannot be written is told, leaves the one before and nothing beside it", async (t) => {
  const { root, path } = await appliance(t);
  await lock(path, root);
  const before = await readFile(lockPath(path));
  // Stands for any failure after the new file was written.
  await rm(lockPath(path));
  await mkdir(join(lockPath(path), "in the way"), { recursive: true });
  await assert.rejects(lock(path, root), coded("LOCK_WRITE_FAILED"));
  assert.ok(!(await readdir(root)).some((name) => name.endsWith(".new")));
  await rm(lockPath(path), { recursive: true });
  await writeFile(lockPath(path), before);
  await mkdir(`${lockPath(path)}.new`);
  await assert.rejects(lock(path, root), coded("LOCK_WRITE_FAILED"));
  assert.deepEqual(await readFile(lockPath(path)), before);
});

test("carries a file that the builder writes itself, without anything beside the appliance file", async (t) => {
  const files = { model: { generated: "sealift-test-model", mediaType: "application/octet-stream" } };
  const { root, path } = await appliance(t, { files });
  await rm(join(root, "model.bin"));
  await lock(path, root);
  const { release } = await build(path, root);
  assert.deepEqual(
    release.files.map(({ name, size }) => [name, size]),
    [["model", renderTestModel().length]],
  );
});

const refused: readonly (readonly [string, string, object, string?])[] = [
  ["a generated file that nobody knows", "APPLIANCE_MALFORMED", { files: { a: { generated: "x", mediaType: "a/b" } } }],
  [
    "a file that is beside it and generated",
    "APPLIANCE_MALFORMED",
    { files: { a: { path: "model.bin", generated: "sealift-test-model", mediaType: "a/b" } } },
  ],
  ["an unknown member", "APPLIANCE_MALFORMED", { surprise: 1 }],
  ["two sources for an image", "APPLIANCE_MALFORMED", { images: { a: { layout: "x", registry: "y" } } }],
  ["a name with a slash", "APPLIANCE_MALFORMED", { images: { "../a": { layout: "x" } } }],
  ["a file that is not there", "APPLIANCE_FILE_MISSING", { files: { model: { path: "none", mediaType: "a/b" } } }],
  ["a Compose file that is not there", "APPLIANCE_FILE_MISSING", { compose: "none.yaml" }],
  ["a tag in the Compose file", "COMPOSE_REFUSED", {}, composeFile("nginx:latest")],
  ["a privileged service", "COMPOSE_REFUSED", {}, composeFile("audit", { privileged: true })],
  ["a mount of the host", "COMPOSE_REFUSED", {}, composeFile("audit", { volumes: ["/var/run/docker.sock:/s"] })],
  ["Compose YAML that is none", "APPLIANCE_MALFORMED", {}, "services: [\n"],
  [
    "an alias bomb",
    "APPLIANCE_MALFORMED",
    {},
    `a: &a [1,1]\n${Array.from({ length: 9 }, (_, i) => `b${i}: &b${i} [*${i ? `b${i - 1}` : "a"},*${i ? `b${i - 1}` : "a"},*${i ? `b${i - 1}` : "a"}]`).join("\n")}\nservices: {}\n`,
  ],
];

for (const [what, code, changes, compose] of refused) {
  test(`refuses ${what} and leaves nothing behind`, async (t) => {
    const { root, path } = await appliance(t, changes, compose);
    await assert.rejects(async () => {
      await lock(path, root);
      await build(path, root);
    }, coded(code));
    assert.ok(!(await readdir(root)).some((name) => name.startsWith("out.tar")));
  });
}

test("refuses a version that is not semver, and an appliance file that is not there", async (t) => {
  const { root, path } = await appliance(t);
  await lock(path, root);
  for (const version of ["1.0", "v1.0.0", "1.0.0+build", "01.0.0", ""]) {
    await assert.rejects(build(path, root, "out.tar", version), coded("VERSION_MALFORMED"));
  }
  await assert.rejects(build(join(root, "none.yaml"), root), coded("APPLIANCE_NOT_FOUND"));
});

test("a thin bundle is the same release without the layers and files that are said to be there", async (t) => {
  const { root, path } = await appliance(t);
  await lock(path, root);
  const whole = await build(path, root);
  assert.deepEqual(whole.leftOut, { blobs: 0, bytes: 0 });
  const { layout, store } = openLayout(join(root, "out.tar"));
  t.after(() => closeStore(store));
  const release = readRelease(layout, readLayoutIndex(layout).release);
  const { payload, documents } = groupBlobs(release, []);
  const sizeOf = (digests: readonly Digest[]) =>
    digests.reduce((sum, digest) => sum + (layout.blob(digest)?.size ?? 0), 0);
  for (const leaveOut of [payload, payload.slice(1)]) {
    // What is no layer and no file stays, also if it is named, and what the release has not is no matter.
    const named = new Set<Digest>([...leaveOut, ...documents, digestOf("something else")]);
    const thin = await build(path, root, "thin.tar", "1.0.0", named);
    assert.equal(thin.digest, whole.digest);
    assert.deepEqual(thin.leftOut, { blobs: leaveOut.length, bytes: sizeOf(leaveOut) });
    assert.equal(thin.payloadBytes, whole.payloadBytes - sizeOf(leaveOut));
    const opened = openLayout(join(root, "thin.tar"));
    t.after(() => closeStore(opened.store));
    const gone = new Set(leaveOut.map(blobName));
    assert.deepEqual(
      opened.layout.files.map(({ name }) => name),
      layout.files.map(({ name }) => name).filter((name) => !gone.has(name)),
    );
    assert.deepEqual(
      leftOut(opened.layout, readRelease(opened.layout, readLayoutIndex(opened.layout).release)),
      leaveOut,
    );
  }
});

test("a layer that is left out is checked as one that is written", async (t) => {
  const { root, path } = await appliance(t);
  await lock(path, root);
  await build(path, root);
  const { layout, store } = openLayout(join(root, "out.tar"));
  t.after(() => closeStore(store));
  const release = readRelease(layout, readLayoutIndex(layout).release);
  const [layer] = release.images.get("audit")?.manifest.layers ?? [];
  assert.ok(layer);
  const images = join(root, "images.tar");
  const bytes = await readFile(images);
  const at = bytes.indexOf(layout.read(layer.digest, DOCUMENT_MAX_BYTES));
  bytes[at + layer.size - 1] = (bytes[at + layer.size - 1] as number) ^ 1;
  await writeFile(images, bytes);
  await assert.rejects(build(path, root, "thin.tar", "1.0.0", new Set([layer.digest])));
  assert.deepEqual(
    (await readdir(root)).filter((name) => name.startsWith("thin")),
    [],
  );
});
