import assert from "node:assert/strict";
import { readdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { BundleWriter } from "../../bundles/layout/bundle-writer.ts";
import { digestOf } from "../../bundles/model/digest.ts";
import { OCI_IMAGE_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST } from "../../bundles/model/media-types.ts";
import { parseManifest } from "../../bundles/model/oci.ts";
import { SealiftError } from "../../bundles/model/sealift-error.ts";
import { type RegistryOptions, registrySource } from "../../bundles/source/registry.ts";
import type { ImageSource, SourceContext, SourcedImage } from "../../bundles/source/source.ts";
import { type FakeRegistry, fakeRegistry } from "../support/fake-registry.ts";
import { bytesOf, type ForeignImage, foreignImage, foreignIndex, sourceContext } from "../support/foreign-images.ts";
import { scratch } from "../support/scratch.ts";

interface Setting {
  readonly registry: FakeRegistry;
  readonly directory: string;
  readonly context: SourceContext;
  readonly source: (reference: string, options?: RegistryOptions) => ImageSource;
  readonly push: (image: ForeignImage, ...tags: string[]) => void;
}

async function setting(t: TestContext): Promise<Setting> {
  const registry = await fakeRegistry(t);
  const directory = await scratch(t);
  return {
    registry,
    directory,
    context: sourceContext(directory),
    source: (reference, options = {}) =>
      registrySource(`${registry.host}/${reference}`, {
        dockerConfig: join(directory, "config.json"),
        retryDelayMs: 1,
        idleMs: 2000,
        ...options,
      }),
    push: (image, ...tags) => {
      for (const blob of [image.config, ...image.layers]) registry.putBlob(blob);
      registry.putManifest(image.mediaType, image.bytes, ...tags);
    },
  };
}

async function carry(source: ImageSource, context: SourceContext): Promise<SourcedImage> {
  return source.load(await source.lock(context), context);
}

async function layersOf(image: SourcedImage): Promise<Buffer[]> {
  const all: Buffer[] = [];
  for (const { blob } of image.layers) all.push(await bytesOf(blob.open()));
  return all;
}

test("carries an OCI image byte for byte and locks the digest that its tag had", async (t) => {
  const { registry, context, source, push } = await setting(t);
  const image = foreignImage();
  push(image, "1.2");
  const from = source("team/app:1.2");
  const lock = await from.lock(context);
  assert.deepEqual(lock, { kind: "registry", reference: `${registry.host}/team/app:1.2`, digest: image.digest });
  push(foreignImage({ content: Buffer.from("moved") }), "1.2");
  const loaded = await from.load(lock, context);
  assert.deepEqual(loaded.manifest, image.bytes);
  assert.deepEqual(loaded.config, image.config);
  assert.deepEqual(await layersOf(loaded), image.layers);
  assert.deepEqual(loaded.materials, [
    { uri: `docker://${registry.host}/team/app:1.2`, digest: { sha256: image.digest.slice(7) } },
  ]);
});

test("takes a reference by digest and checks the manifest's bytes against it", async (t) => {
  const { registry, context, source, push } = await setting(t);
  const image = foreignImage();
  push(image);
  assert.deepEqual((await carry(source(`team/app@${image.digest}`), context)).manifest, image.bytes);
  registry.manifests.set(image.digest, { mediaType: image.mediaType, bytes: Buffer.from(`${image.bytes} `) });
  await assert.rejects(source(`team/app@${image.digest}`).lock(context), { code: "SOURCE_DIGEST_MISMATCH" });
});

test("locks the platform's manifest of an index, and passes over attestations and variants", async (t) => {
  for (const docker of [false, true]) {
    const { registry, context, source, push, directory } = await setting(t);
    const [amd64, arm64, old] = [
      foreignImage({ docker }),
      foreignImage({ docker, architecture: "arm64" }),
      foreignImage({ docker, architecture: "arm64", content: Buffer.from("v7") }),
    ];
    for (const image of [amd64, arm64, old]) push(image);
    const index = foreignIndex(
      [
        [{ os: "linux", architecture: "arm64", variant: "v7" }, old],
        [{ os: "linux", architecture: "arm64", variant: "v8" }, arm64],
        [{ os: "linux", architecture: "amd64" }, amd64],
      ],
      docker,
    );
    registry.putManifest("application/octet-stream", index, "latest");
    const digestOn = async (platform: string): Promise<unknown> => {
      const lock = await source("app").lock(sourceContext(directory, platform));
      return lock.kind === "registry" && lock.digest;
    };
    assert.equal(await digestOn("linux/amd64"), amd64.digest);
    assert.equal(await digestOn("linux/arm64"), arm64.digest);
    await assert.rejects(source("app").lock({ ...context, platform: "linux/riscv64" }), {
      code: "SOURCE_PLATFORM_MISSING",
    });
  }
});

test("refuses an index whose entry lies about the platform", async (t) => {
  const { registry, context, source, push } = await setting(t);
  const arm64 = foreignImage({ architecture: "arm64" });
  push(arm64);
  registry.putManifest("x/y", foreignIndex([[{ os: "linux", architecture: "amd64" }, arm64]]), "latest");
  await assert.rejects(source("app").lock(context), { code: "SOURCE_PLATFORM_MISSING" });
});

test("writes a Docker schema 2 manifest anew with OCI names and names the old digest as material", async (t) => {
  const { context, source, push } = await setting(t);
  const image = foreignImage({ docker: true });
  push(image, "v1");
  const lock = await source("app:v1").lock(context);
  assert.equal(lock.kind === "registry" && lock.digest, image.digest);
  const loaded = await source("app:v1").load(lock, context);
  const manifest = parseManifest(loaded.manifest);
  assert.equal(manifest.mediaType, OCI_MANIFEST);
  assert.equal(manifest.config.mediaType, OCI_IMAGE_CONFIG);
  assert.deepEqual(
    manifest.layers.map((layer) => layer.mediaType),
    [OCI_LAYER_GZIP, OCI_LAYER_GZIP],
  );
  assert.deepEqual(
    manifest.layers.map((layer) => layer.digest),
    image.layers.map((layer) => digestOf(layer)),
  );
  assert.notEqual(digestOf(loaded.manifest), image.digest);
  assert.deepEqual(loaded.config, image.config);
  assert.equal(loaded.materials[0]?.digest["sha256"], image.digest.slice(7));
  assert.deepEqual((await carry(source("app:v1"), context)).manifest, loaded.manifest);
});

test("refuses what is not a plain image", async (t) => {
  const { registry, context, source, push } = await setting(t);
  const subject = { mediaType: OCI_MANIFEST, digest: digestOf("x"), size: 1 };
  for (const [what, image] of [
    ["an artifact", foreignImage({ manifest: { artifactType: "text/plain" } })],
    ["a referrer", foreignImage({ manifest: { subject } })],
    ["no layers", foreignImage({ manifest: { layers: [] } })],
    ["foreign layers", foreignImage({ layerType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" })],
    ["encrypted layers", foreignImage({ layerType: "application/vnd.oci.image.layer.v1.tar+gzip+encrypted" })],
    [
      "a chart",
      foreignImage({ manifest: { config: { ...subject, mediaType: "application/vnd.cncf.helm.config.v1+json" } } }),
    ],
  ] as const) {
    push(image, "odd");
    await assert.rejects(source("app:odd").lock(context), { code: "SOURCE_UNSUPPORTED" }, what);
  }
  const huge = foreignImage({
    manifest: { layers: [{ mediaType: OCI_LAYER_GZIP, digest: digestOf("x"), size: 2 ** 50 }] },
  });
  push(huge, "huge");
  await assert.rejects(source("app:huge").lock(context), { code: "SOURCE_TOO_LARGE" });
  push(
    foreignImage({ manifest: { layers: [{ mediaType: OCI_LAYER_GZIP, digest: digestOf("x"), size: 1 }] } }),
    "short",
  );
  await assert.rejects(source("app:short").lock(context), { code: "SOURCE_UNSUPPORTED" });
  for (const [text, code] of [
    ["not json", "OCI_MALFORMED"],
    ['{"schemaVersion":1,"fsLayers":[]}', "OCI_MALFORMED"],
  ] as const) {
    registry.putManifest(OCI_MANIFEST, Buffer.from(text), "bad");
    await assert.rejects(source("app:bad").lock(context), { code });
  }
});

test("stops reading a manifest, a configuration or a layer that is larger than allowed", async (t) => {
  const { registry, context, source, push } = await setting(t);
  registry.putManifest(OCI_MANIFEST, Buffer.alloc(4 * 1024 * 1024 + 1, " "), "big");
  await assert.rejects(source("app:big").lock(context), { code: "SOURCE_TOO_LARGE" });
  const image = foreignImage();
  push(image, "v1");
  const loaded = await carry(source("app:v1"), context);
  registry.blobs.set(
    digestOf(image.layers[1] as Buffer),
    Buffer.concat([image.layers[1] as Buffer, Buffer.from("more")]),
  );
  await assert.rejects(bytesOf((loaded.layers[1] as SourcedImage["layers"][0]).blob.open()), {
    code: "SOURCE_TOO_LARGE",
  });
  registry.blobs.set(digestOf(image.config), Buffer.concat([image.config, Buffer.from(" ")]));
  await assert.rejects(source("app:v1").lock(context), { code: "SOURCE_TOO_LARGE" });
});

test("leaves no bundle behind when a layer has the wrong digest", async (t) => {
  const { registry, context, source, push, directory } = await setting(t);
  const image = foreignImage();
  push(image, "v1");
  const loaded = await carry(source("app:v1"), context);
  const layer = image.layers[1] as Buffer;
  const wrong = Buffer.from(layer);
  wrong[20] = (wrong[20] ?? 0) ^ 1;
  registry.blobs.set(digestOf(layer), wrong);
  const writer = await BundleWriter.create(join(directory, "out.tar"));
  await assert.rejects(writer.writeBlob((loaded.layers[1] as SourcedImage["layers"][0]).blob), {
    code: "LAYOUT_DIGEST_MISMATCH",
  });
  assert.deepEqual(await readdir(directory), []);
  registry.blobs.set(digestOf(image.config), Buffer.from(image.config.toString().replace("1:1", "0:0")));
  await assert.rejects(source("app:v1").lock(context), { code: "SOURCE_DIGEST_MISMATCH" });
});

for (const ranges of [true, false]) {
  test(`takes up a blob where the connection broke, ${ranges ? "by Range" : "although the registry gives no ranges"}`, async (t) => {
    const { registry, context, source, push } = await setting(t);
    const image = foreignImage({ content: Buffer.from(Array.from({ length: 400_000 }, (_, i) => (i * 7919) % 251)) });
    push(image, "v1");
    const loaded = await carry(source("app:v1"), context);
    const layer = image.layers[1] as Buffer;
    let cuts = 0;
    const asked: (string | undefined)[] = [];
    registry.before = (request, response) => {
      if (!request.url?.endsWith(digestOf(layer))) return false;
      asked.push(request.headers.range);
      if (!ranges) delete request.headers.range;
      if (cuts === 3) return false;
      cuts += 1;
      const start = Number(/\d+/.exec(request.headers.range ?? "")?.[0] ?? 0);
      const step = Math.ceil(layer.length / 4);
      const end = ranges ? start + step : step * cuts;
      const headers =
        ranges && start > 0 ? { "content-range": `bytes ${start}-${layer.length - 1}/${layer.length}` } : {};
      response.writeHead(ranges && start > 0 ? 206 : 200, { "content-length": layer.length - start, ...headers });
      response.write(layer.subarray(start, end), () => setTimeout(() => response.destroy(), 20));
      return true;
    };
    assert.deepEqual(await bytesOf((loaded.layers[1] as SourcedImage["layers"][0]).blob.open()), layer);
    assert.equal(asked.length, 4);
    assert.equal(asked[0], undefined);
    assert.match(asked[3] ?? "", /^bytes=\d+-$/);
  });
}

test("gives up on a registry that breaks every connection without a byte", async (t) => {
  const { registry, context, source, push } = await setting(t);
  const image = foreignImage();
  push(image, "v1");
  const loaded = await carry(source("app:v1"), context);
  registry.before = (_, response) => {
    response.destroy();
    return true;
  };
  const count = registry.requests.length;
  await assert.rejects(bytesOf((loaded.layers[0] as SourcedImage["layers"][0]).blob.open()), {
    code: "SOURCE_UNREACHABLE",
  });
  assert.ok(registry.requests.length - count <= 10);
  await assert.rejects(source("app:v1").lock(context), { code: "SOURCE_UNREACHABLE" });
  await registry.close();
  await assert.rejects(source("app:v1").lock(context), { code: "SOURCE_UNREACHABLE" });
});

test("gives up on a registry that says nothing", async (t) => {
  const { registry, context, source, push } = await setting(t);
  push(foreignImage(), "v1");
  registry.before = () => true;
  await assert.rejects(source("app:v1", { idleMs: 30 }).lock(context), { code: "SOURCE_UNREACHABLE" });
});

test("refuses a Range answer for another range", async (t) => {
  const { registry, context, source, push } = await setting(t);
  const image = foreignImage();
  push(image, "v1");
  const loaded = await carry(source("app:v1"), context);
  registry.before = (request, response) => {
    if (request.headers.range === undefined) {
      response.writeHead(200, { "content-length": (image.layers[0] as Buffer).length });
      response.write((image.layers[0] as Buffer).subarray(0, 10), () => setTimeout(() => response.destroy(), 20));
    } else {
      response.writeHead(206, { "content-range": "bytes 0-9/10" }).end("0123456789");
    }
    return true;
  };
  await assert.rejects(bytesOf((loaded.layers[0] as SourcedImage["layers"][0]).blob.open()), {
    code: "SOURCE_RESPONSE_UNUSABLE",
  });
});

test("waits when the registry asks for it, and tries again after a server error", async (t) => {
  const { registry, context, source, push } = await setting(t);
  push(foreignImage(), "v1");
  const answers = [429, 503];
  registry.before = (_, response) => {
    const status = answers.shift();
    if (status === undefined) return false;
    response.writeHead(status, { "retry-after": "0" }).end();
    return true;
  };
  await carry(source("app:v1"), context);
  assert.equal(answers.length, 0);
  registry.before = (_, response) => {
    response.writeHead(500).end();
    return true;
  };
  await assert.rejects(source("app:v1").lock(context), { code: "SOURCE_RESPONSE_UNUSABLE" });
});

const LOGIN = { user: "ann", password: "s3cret:with:colons" };
const BASIC = `Basic ${Buffer.from(`${LOGIN.user}:${LOGIN.password}`).toString("base64")}`;

async function writeLogin(directory: string, host: string): Promise<void> {
  await writeFile(join(directory, "config.json"), JSON.stringify({ auths: { [host]: { auth: BASIC.slice(6) } } }));
}

test("gets a token for the repository with the login from config.json and sends it on", async (t) => {
  const { registry, context, source, push, directory } = await setting(t);
  push(foreignImage(), "v1");
  await writeLogin(directory, registry.host);
  registry.before = (request, response) => {
    if (request.url?.startsWith("/token?")) {
      const query = new URL(request.url, "http://x").searchParams;
      const good = request.headers.authorization === BASIC && query.get("scope") === "repository:team/app:pull";
      response.writeHead(good && query.get("service") === "reg" ? 200 : 401).end('{"token":"t0ken"}');
      return true;
    }
    if (request.headers.authorization === "Bearer t0ken") return false;
    const challenge = `Bearer realm="http://${registry.host}/token",service="reg",scope="repository:team/app:pull"`;
    response.writeHead(401, { "www-authenticate": challenge }).end();
    return true;
  };
  const loaded = await carry(source("team/app:v1"), context);
  assert.equal((await layersOf(loaded)).length, 2);
  const tokens = registry.requests.filter((request) => request.line.includes("/token"));
  assert.equal(tokens.length, 2, "one for lock, one for load");
});

test("answers a Basic challenge, and says so when the login is refused", async (t) => {
  const { registry, context, source, push, directory } = await setting(t);
  push(foreignImage(), "v1");
  registry.before = (request, response) => {
    if (request.headers.authorization === BASIC) return false;
    response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    return true;
  };
  await assert.rejects(source("app:v1").lock(context), { code: "SOURCE_UNAUTHORIZED" });
  await writeLogin(directory, registry.host);
  await carry(source("app:v1"), context);
  registry.before = (_, response) => {
    response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    return true;
  };
  await assert.rejects(source("app:v1").lock(context), (error: unknown) => {
    assert.ok(error instanceof SealiftError && error.code === "SOURCE_UNAUTHORIZED");
    assert.ok(!JSON.stringify([error.message, error.hints]).includes("s3cret"));
    return true;
  });
});

test("runs no credential helper and says that one is named", async (t) => {
  const { registry, context, source, push, directory } = await setting(t);
  push(foreignImage(), "v1");
  registry.before = (_, response) => {
    response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    return true;
  };
  for (const config of [
    { credHelpers: { [registry.host]: "evil" } },
    { credsStore: "evil" },
    { auths: { [registry.host]: { identitytoken: "t" } } },
  ]) {
    await writeFile(join(directory, "config.json"), JSON.stringify(config));
    await assert.rejects(source("app:v1").lock(context), (error: unknown) => {
      assert.ok(error instanceof SealiftError && error.code === "SOURCE_UNAUTHORIZED");
      assert.match(error.hints.join(), /helper|store|token/);
      return true;
    });
  }
});

test("never shows what stands in a config.json that it cannot read", async (t) => {
  const { registry, context, source, push, directory } = await setting(t);
  push(foreignImage(), "v1");
  for (const text of ['{"auths": s3cret}', JSON.stringify({ auths: { [registry.host]: { auth: "s3cret" } } })]) {
    await writeFile(join(directory, "config.json"), text);
    await assert.rejects(source("app:v1").lock(context), (error: unknown) => {
      assert.ok(error instanceof SealiftError && error.code === "SOURCE_CREDENTIALS_UNREADABLE");
      assert.ok(!error.message.includes("s3cret"));
      return true;
    });
  }
});

test("follows a redirect to another host without the credentials", async (t) => {
  const { registry, context, source, push, directory } = await setting(t);
  const image = foreignImage();
  push(image, "v1");
  await writeLogin(directory, registry.host);
  const seen: (string | undefined)[] = [];
  const store = createServer((request, response) => {
    seen.push(request.headers.authorization ?? request.headers.cookie);
    response.end(registry.blobs.get(request.url?.slice(1) as never));
  });
  await new Promise<void>((resolve) => store.listen(0, "127.0.0.1", resolve));
  t.after(() => store.close());
  const bound = store.address() as { port: number };
  registry.before = (request, response) => {
    if (request.headers.authorization !== BASIC) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
      return true;
    }
    const blob = /\/blobs\/(.*)$/.exec(request.url ?? "")?.[1];
    if (blob === undefined) return false;
    response.writeHead(307, { location: `http://127.0.0.1:${bound.port}/${blob}` }).end();
    return true;
  };
  const loaded = await carry(source("app:v1"), context);
  assert.deepEqual(await layersOf(loaded), image.layers);
  assert.ok(seen.length >= 3);
  assert.deepEqual(new Set(seen), new Set([undefined]));
});

test("follows no redirect and asks no token service over plain HTTP beyond this machine, and no circle", async (t) => {
  const { registry, context, source, push, directory } = await setting(t);
  push(foreignImage(), "v1");
  await writeLogin(directory, registry.host);
  for (const location of [
    "http://198.51.100.7/x",
    "file:///etc/passwd",
    "//198.51.100.7/x",
    "http://[",
    `http://${registry.host}/v2/app/manifests/v1`,
  ]) {
    registry.before = (_, response) => {
      response.writeHead(302, { location }).end();
      return true;
    };
    await assert.rejects(source("app:v1").lock(context), { code: "SOURCE_RESPONSE_UNUSABLE" }, location);
  }
  for (const challenge of ['Bearer realm="http://198.51.100.7/token"', "Bearer", "Negotiate", ""]) {
    registry.before = (_, response) => {
      response.writeHead(401, { "www-authenticate": challenge }).end();
      return true;
    };
    await assert.rejects(source("app:v1").lock(context), { code: "SOURCE_RESPONSE_UNUSABLE" }, challenge);
  }
});

test("refuses a token service's answer that is no token", async (t) => {
  const { registry, context, source, push } = await setting(t);
  push(foreignImage(), "v1");
  for (const [status, body, code] of [
    [200, "{}", "SOURCE_RESPONSE_UNUSABLE"],
    [200, '{"token":"a\\r\\nb: c"}', "SOURCE_RESPONSE_UNUSABLE"],
    [200, "no", "SOURCE_RESPONSE_UNUSABLE"],
    [500, "", "SOURCE_RESPONSE_UNUSABLE"],
    [403, "", "SOURCE_UNAUTHORIZED"],
  ] as const) {
    registry.before = (request, response) => {
      if (request.url?.startsWith("/token")) response.writeHead(status).end(body);
      else response.writeHead(401, { "www-authenticate": `Bearer realm="http://${registry.host}/token"` }).end();
      return true;
    };
    await assert.rejects(source("app:v1").lock(context), { code }, body);
  }
});

test("says what is not there and what the lock was not written for", async (t) => {
  const { registry, context, source, push } = await setting(t);
  await assert.rejects(source("app:none").lock(context), { code: "SOURCE_NOT_FOUND" });
  const image = foreignImage();
  push(image, "v1");
  const lock = await source("app:v1").lock(context);
  await assert.rejects(source("app:v2").load(lock, context), { code: "SOURCE_LOCK_STALE" });
  await assert.rejects(source("app:v1").load({ kind: "layout", digest: image.digest }, context), {
    code: "SOURCE_LOCK_STALE",
  });
  registry.manifests.clear();
  await assert.rejects(source("app:v1").load(lock, context), { code: "SOURCE_NOT_FOUND" });
});
